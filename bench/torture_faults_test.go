//go:build unix

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// faultKind is what disturbs an operation.
type faultKind string

const (
	kill  faultKind = "kills"                   // of the process, with SIGKILL
	cut   faultKind = "cut connections"         // of the process
	crash faultKind = "crashes of the database" // with SIGKILL, or an immediate shutdown
	full  faultKind = "full disks"              // of the database, for a moment
	jump  faultKind = "jumps of the clock"      // of the database, for a moment
	short           = 500 * time.Millisecond    // a moment
	block           = 256 << 10                 // bytes that fill the disk at once
)

// fault happens once, when the process has exchanged a share of the bytes that the step took
// undisturbed.
type fault struct {
	kind   faultKind
	at     float64
	size   int           // kinds of crashes; blocks of the disk that stay free
	jump   time.Duration // of the clock
	struck atomic.Bool
}

// planFaults plans some more kills and crashes than asked for, since some of the last ones will
// find nothing to disturb.
func planFaults(random *rand.Rand, kills, crashes int) (all []*fault) {
	jumps := []time.Duration{-40 * 24 * time.Hour, -time.Hour, time.Hour, 40 * 24 * time.Hour}
	for _, of := range []struct {
		kind faultKind
		n    int
	}{{kill, kills + kills/25}, {crash, crashes + crashes/25}, {cut, (kills + 3) / 4}, {full, (crashes + 3) / 4}, {jump, (crashes + 3) / 4}} {
		for range of.n {
			all = append(all, &fault{kind: of.kind, at: random.Float64(), size: random.IntN(4), jump: jumps[random.IntN(len(jumps))]})
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// strike carries out the process's fault. The gate waits for it.
func (p *process) strike() {
	<-p.started
	f, w := p.fault, p.world
	if f.kind == full && w.disk == "" {
		f.kind = cut
	}
	f.struck.Store(true)
	w.tally(f.kind)
	switch f.kind {
	case kill:
		_ = p.command.Process.Kill() // it has ended by itself, perhaps
		<-p.ended
	case cut:
		p.gate.cut()
	case crash:
		w.disturb(func() {}, func() { w.crash(f.size) })
	case full:
		ballast := filepath.Join(w.disk, "ballast")
		w.disturb(func() { w.fail(fill(ballast, f.size)) }, func() {
			time.Sleep(short)
			w.fail(os.Remove(ballast))
			w.server.Revive()
		})
	case jump:
		w.disturb(func() { w.fail(w.setClock(f.jump)) }, func() {
			time.Sleep(short)
			w.fail(w.setClock(0))
		})
	}
}

func (w *world) crash(how int) {
	if how%2 == 0 {
		w.server.Kill()
	} else {
		w.server.Quit()
	}
	w.server.Start()
}

// fill fills the disk but for some blocks.
func fill(path string, free int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	zeros, size := make([]byte, block), int64(0)
	for err == nil {
		var n int
		n, err = file.Write(zeros)
		size += int64(n)
	}
	if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return err
	}
	return file.Truncate(max(0, size-int64(free)*block))
}

func (w *world) setClock(by time.Duration) error {
	sql := fmt.Sprintf("WITH set AS (UPDATE torture_clock SET jump = interval '%d seconds' RETURNING jump) SELECT jump::text FROM set", int64(by.Seconds()))
	_, err := w.list(context.Background(), sql)
	return err
}

// disturb begins a fault of the server, which ends later; one at a time.
func (w *world) disturb(begin, end func()) {
	w.disaster.Lock()
	w.note(1)
	begin()
	w.faults.Go(func() {
		defer w.disaster.Unlock()
		defer w.note(-1)
		end()
	})
}

// disasters says how many faults of the server are active, and how many there were.
type disasters struct{ active, total int }

func (w *world) disasters() disasters {
	w.mu.Lock()
	defer w.mu.Unlock()
	return disasters{w.active, w.total}
}

func (w *world) note(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active, w.total = w.active+n, w.total+1
}

func (w *world) tally(kind faultKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[kind]++
}

// quiet waits until no fault is active.
func (w *world) quiet() { w.faults.Wait() }

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = err
	}
}

func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// leave keeps faults for the lane's next step.
func (w *world) leave(lane string, faults []*fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left[lane] = faults
}

func (w *world) leftOver(lane string) []*fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left[lane]
}

func (w *world) count() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, of := range w.counts {
		n += of
	}
	return n
}

func (w *world) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []string
	for _, kind := range []faultKind{kill, crash, cut, full, jump} {
		parts = append(parts, fmt.Sprint(w.counts[kind], " ", kind))
	}
	return strings.Join(parts, ", ")
}
