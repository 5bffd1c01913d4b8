//go:build unix

package bench

import (
	"flag"
	"fmt"
	"testing"
)

var (
	tortureSeed    = flag.Uint64("seed", 1, "Torture: seed of the history and of its faults")
	tortureKills   = flag.Int("kills", 8, "Torture: processes that are killed")
	tortureCrashes = flag.Int("crashes", 2, "Torture: crashes of the database")
)

// TestTorture carries out a random history twice: in one database undisturbed, in the other
// while processes are killed, the database crashes, connections are cut, the disk is full
// and the clock jumps. An operation that failed is repeated until it is done. Both must
// always have the same content, and tally verify and tally audit verify must find nothing:
//
//	go test ./bench -run Torture -seed 7 -kills 500 -crashes 50 -timeout 2h -v
//
// The seed decides the operations, the data and the place of each fault, counted in bytes
// that the process has exchanged with the database. What is left to chance is only how the
// operations of several processes interleave.
func TestTorture(t *testing.T) {
	h := newHistory(*tortureSeed, *tortureKills, *tortureCrashes)
	arena := newArena(t, h.seed, diskMiB)
	calm, storm := arena.world("calm"), arena.world("storm")
	for i, p := range h.phases {
		for _, w := range []*world{calm, storm} {
			err := p.carryOut(t.Context(), w)
			if err == nil {
				err = w.check(t.Context())
			}
			if err != nil {
				t.Fatalf("phase %d of %d, %s: %v\n%s", i+1, len(h.phases), w.name, err, h.rerun())
			}
		}
		if diff, err := differences(t.Context(), calm, storm); diff != "" || err != nil {
			t.Fatalf("phase %d of %d: the databases differ: %v%s\n%s", i+1, len(h.phases), err, diff, h.rerun())
		}
		t.Logf("phase %d of %d: %s", i+1, len(h.phases), storm.told())
	}
	if err := storm.finish(t.Context()); err != nil {
		t.Fatalf("at the end: %v\n%s", err, h.rerun())
	}
	t.Logf("seed %d: %d operations, %s", h.seed, h.steps, storm.told())
	if missed := h.faults - storm.count(); missed > h.faults/10 && !t.Failed() {
		t.Errorf("%d of %d faults found nothing to disturb", missed, h.faults)
	}
}

// rerun is the command that repeats the history.
func (h *history) rerun() string {
	return fmt.Sprintf("again: go test ./bench -run Torture -seed %d -kills %d -crashes %d", h.seed, h.kills, h.crashes)
}
