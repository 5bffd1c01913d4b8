//go:build unix

package bench

import (
	"bytes"
	"fmt"
	programs "os/exec"
	"strings"
	"syscall"
	"time"
)

// process is a running program, whose connections go through a gate.
type process struct {
	world   *world
	command *programs.Cmd
	gate    *gate
	fault   *fault // may be nil
	output  bytes.Buffer
	started chan struct{}
	ended   chan struct{}
}

// result is how a process ended.
type result struct {
	code        int // −1: killed
	output      string
	bytes       int64 // exchanged with the database
	undisturbed bool
}

// start starts the program with the step's next fault.
func (w *world) start(s *step, args ...string) (*process, error) {
	gate, err := newGate(w.url())
	if err != nil {
		return nil, err
	}
	p := &process{world: w, gate: gate, started: make(chan struct{}), ended: make(chan struct{})}
	if len(s.faults) > 0 && !w.calm {
		p.fault, s.faults = s.faults[0], s.faults[1:]
		gate.arm(1+int64(p.fault.at*float64(s.calm.bytes)), func() { p.strike() })
	}
	if !strings.Contains(strings.Join(args, " "), "--config") {
		args = append(args, "--config", w.path("tally.yaml"))
	}
	p.command = programs.CommandContext(w.t.Context(), w.binary, append(args, "--data", w.dir, "--database-url", gate.url())...)
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	if err := p.command.Start(); err != nil {
		gate.close()
		return nil, err
	}
	close(p.started)
	go func() {
		_ = p.command.Wait() // its state has the reason
		close(p.ended)
	}()
	return p, nil
}

// wait waits until the process has ended. One that hangs is an error, with its goroutines.
func (p *process) wait() (int, error) {
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.command.Process.Signal(syscall.SIGQUIT)
		<-p.ended
		p.gate.close()
		return 0, fmt.Errorf("tally %v hangs: %s", p.command.Args[1:], p.output.String())
	}
	p.gate.close()
	return p.command.ProcessState.ExitCode(), nil
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop interrupts a worker, as an operator does.
func (p *process) stop() (int, error) {
	_ = p.command.Process.Signal(syscall.SIGTERM) // gone already, if it was killed
	return p.wait()
}

// run runs a command to its end.
func (w *world) run(s *step, args []string) (r result, err error) {
	before := w.disasters()
	p, err := w.start(s, args...)
	if err != nil {
		return r, err
	}
	if r.code, err = p.wait(); err != nil {
		return r, err
	}
	r.output, r.bytes = p.output.String(), p.gate.bytes()
	r.undisturbed = before == w.disasters() && before.active == 0
	if p.fault != nil {
		if !p.fault.struck.Load() {
			s.faults = append(s.faults, p.fault) // for the next attempt, or the next step
		} else if p.fault.kind != kill || r.code == -1 {
			r.undisturbed = false
		}
	}
	return r, nil
}
