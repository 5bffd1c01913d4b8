//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opentax/tally/internal/civil"
)

const (
	workers  = 2
	maxTries = 50 // of a command that faults disturb
)

// night has workers carry out the runs of one or three dates. A worker that is killed is
// started again.
func (s *step) night(ctx context.Context, w *world) error {
	dates, err := s.deliver(w)
	if err != nil {
		return err
	}
	first, last := dates[0].String(), dates[len(dates)-1].String()
	if err := s.enqueue(w, first, last); err != nil {
		return err
	}
	running := make([]*process, workers)
	for began := time.Now(); ; time.Sleep(pollPause) {
		if err := s.staff(w, running); err != nil {
			return err
		}
		left, err := w.list(ctx, `SELECT logical_date || ' ' || status FROM etl_run_status
			WHERE kind <> 'manual' AND logical_date BETWEEN $1 AND $2 AND status NOT IN ('succeeded', 'failed')`, first, last)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return s.dismiss(w, running)
		}
		if time.Since(began) > patience {
			err := fmt.Errorf("not finished after %v: %v", patience, left)
			for _, p := range running {
				_, stopping := p.stop()
				err = errors.Join(err, stopping, errors.New(p.output.String()))
			}
			return err
		}
	}
}

func (s *step) enqueue(w *world, first, last string) error {
	for try := 1; ; try++ {
		r, err := w.run(&step{}, []string{"backfill", "--from", first, "--to", last, "--config", w.path("nights.yaml")})
		switch {
		case err == nil && r.code == 0:
			return nil
		case err != nil || r.undisturbed || try == maxTries:
			return errors.Join(err, fmt.Errorf("backfill: exit status %d: %s", r.code, r.output))
		}
		time.Sleep(pollPause)
	}
}

// staff starts the workers that are not running.
func (s *step) staff(w *world, running []*process) (err error) {
	for i, p := range running {
		if p != nil && !p.hasEnded() {
			continue
		}
		if p != nil {
			p.gate.close()
		}
		if running[i], err = w.start(s, "work", "--config", w.path("nights.yaml")); err != nil {
			return err
		}
	}
	return nil
}

// dismiss stops the workers.
func (s *step) dismiss(w *world, running []*process) error {
	for _, p := range running {
		code, err := p.stop()
		if err != nil {
			return err
		}
		if w.calm && code != 0 {
			return fmt.Errorf("a worker ended with exit status %d: %s", code, p.output.String())
		}
		if w.calm {
			s.calm.bytes = max(s.calm.bytes, p.gate.bytes())
		}
		if p.fault != nil && !p.fault.struck.Load() {
			s.faults = append(s.faults, p.fault)
		}
	}
	return nil
}

// deliver writes the files of one date or three, some of which are bad.
func (s *step) deliver(w *world) (dates []civil.Date, err error) {
	const apart = 3
	date := firstDate() + civil.Date(apart*s.number)
	for i := range 1 + 2*s.random.IntN(2) {
		dates = append(dates, date+civil.Date(i))
	}
	for _, date := range dates {
		for _, source := range []string{"night-keep", "night-replace"} {
			content := s.rows(source)
			if s.random.IntN(8) == 0 {
				content = "no header\n" + content[len(csvHead):]
			}
			if _, err := s.write(w, source, date.String()+".csv", content); err != nil {
				return nil, err
			}
		}
	}
	return slices.Clip(dates), nil
}
