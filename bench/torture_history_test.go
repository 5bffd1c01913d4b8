//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// A lane is a sequence of operations on ids, files and a source of its own. Lanes go on at
// the same time; as they share users, days and months, but no ids, the order of their
// operations does not change the result.
const (
	laneKeep    = "keep"    // by hand; the first row of an id is kept
	laneReplace = "replace" // by hand; corrections: replace
	laneNights  = "night"   // runs of dates, by workers
	laneFresh   = "fresh"   // rows of new months, while old ones are retired
)

// history is what happens, in phases. Between two phases nothing is going on.
type history struct {
	seed           uint64
	kills, crashes int
	faults, steps  int
	phases         []*phase
}

// phase has two groups of lanes. Those of a group go on at the same time.
type phase struct{ first, second []*lane }

type lane struct {
	name  string
	steps []*step
}

// step is an operation, and what it came to in the undisturbed history.
type step struct {
	lane          string
	number, phase int
	kind          string
	random        *rand.Rand
	faults        []*fault

	calm struct {
		code    int
		bytes   int64 // exchanged with the database
		content map[string][]string
	}
}

func (s *step) String() string {
	return fmt.Sprintf("step %s %d (%s)", s.lane, s.number, s.kind)
}

const (
	handSteps  = 6 // of a lane by hand, in a phase
	nightSteps = 2
	phaseSteps = 2*handSteps + nightSteps + 4
	minPhases  = 2
)

// newHistory plans as many operations as there are faults. Besides the kills and crashes,
// connections are cut, the disk is full, and the clock jumps.
func newHistory(seed uint64, kills, crashes int) *history {
	h := &history{seed: seed, kills: kills, crashes: crashes}
	random := rand.New(rand.NewPCG(seed, 0))
	faults := planFaults(random, kills, crashes)
	h.faults = len(faults)
	numbers := map[string]int{}
	var all []*step
	for i := range max(minPhases, (len(faults)+phaseSteps-1)/phaseSteps) {
		plan := func(name string, kinds ...string) *lane {
			l := &lane{name: name}
			for _, kind := range kinds {
				numbers[name]++
				s := &step{lane: name, number: numbers[name], phase: i, kind: kind}
				l.steps = append(l.steps, s)
				all = append(all, s)
			}
			return l
		}
		p := &phase{
			first: []*lane{
				plan(laneKeep, handKinds(random)...), plan(laneReplace, handKinds(random)...),
				plan(laneNights, slices.Repeat([]string{"night"}, nightSteps)...),
			},
			second: []*lane{plan(laneFresh, "load"), plan("export", "export"), plan("rebuild", "rebuild"), plan("retire", "retire")},
		}
		h.phases = append(h.phases, p)
	}
	h.steps = len(all)
	for _, f := range faults {
		s := all[random.IntN(len(all))]
		s.faults = append(s.faults, f)
	}
	return h
}

// randomOf is the random source of a step, whatever happens in others.
func randomOf(seed uint64, lane string, number int) *rand.Rand {
	hash := fnv.New64a()
	fmt.Fprint(hash, lane, number)
	return rand.New(rand.NewPCG(seed, hash.Sum64()))
}

// handKinds are the operations of a phase by hand, the first of which is a load.
func handKinds(random *rand.Rand) []string {
	kinds := strings.Fields("load load load load again replay replay fix fix settle settle discard revert revert reload")
	list := []string{"load"}
	for len(list) < handSteps {
		list = append(list, kinds[random.IntN(len(kinds))])
	}
	return list
}

func (p *phase) carryOut(ctx context.Context, w *world) error {
	for _, group := range [][]*lane{p.first, p.second} {
		errs := make([]error, len(group)+1)
		var all sync.WaitGroup
		for i, l := range group {
			all.Go(func() { errs[i] = l.carryOut(ctx, w) })
		}
		all.Wait()
		w.quiet()
		errs[len(group)] = w.failure()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) carryOut(ctx context.Context, w *world) error {
	for _, s := range l.steps {
		s.random = randomOf(w.seed, s.lane, s.number)
		if !w.calm {
			s.faults = append(w.leftOver(l.name), s.faults...)
		}
		do := s.byCommand
		if s.kind == "night" {
			do = s.night
		}
		err := do(ctx, w)
		if err == nil {
			err = s.compare(ctx, w)
		}
		if err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
		w.leave(l.name, s.faults)
	}
	return nil
}

// compare compares what the lane has led to with the undisturbed history. Beside the
// retirement of months the rows of other lanes are not what they were.
func (s *step) compare(ctx context.Context, w *world) error {
	if !slices.Contains([]string{laneKeep, laneReplace, laneNights}, s.lane) {
		return nil
	}
	content, err := w.contentOf(ctx, s.lane)
	if err != nil {
		return err
	}
	if w.calm {
		s.calm.content = content
		return nil
	}
	var diff strings.Builder
	for table, rows := range content {
		compareRows(&diff, table, s.calm.content[table], rows)
	}
	s.calm.content = nil
	if diff.Len() > 0 {
		return fmt.Errorf("it has not led to what it leads to undisturbed:%s", &diff)
	}
	return nil
}

// byCommand is an operation that is one command. It is repeated until it is done; one that
// nothing disturbed has to succeed.
func (s *step) byCommand(ctx context.Context, w *world) error {
	args, err := s.command(ctx, w)
	if args == nil || err != nil {
		return err // there is nothing to do
	}
	for try := 1; ; try++ {
		r, err := w.run(s, args)
		switch {
		case err != nil:
			return err
		case w.calm:
			if s.calm.code, s.calm.bytes = r.code, r.bytes; r.code > 1 {
				return fmt.Errorf("tally %s: exit status %d: %s", strings.Join(args, " "), r.code, r.output)
			}
			return nil
		case r.code == 0 || r.undisturbed && r.code == s.calm.code || try > 1 && wasDone(r.output):
			return nil
		case r.undisturbed || try == maxTries:
			return fmt.Errorf("tally %s: attempt %d, which nothing disturbed: exit status %d: %s", strings.Join(args, " "), try, r.code, r.output)
		}
		time.Sleep(pollPause)
	}
}

// wasDone reports whether a command failed because it is done.
func wasDone(output string) bool {
	return strings.Contains(output, "is not open: it was ") || strings.Contains(output, "was reverted already")
}
