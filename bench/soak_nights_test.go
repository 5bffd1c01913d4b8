//go:build unix

package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
)

// sums are count and sum of rows, in cents.
type sums struct{ rows, cents int64 }

const (
	cycle        = 20 // nights, in which each trouble comes once
	ordinaryRows = 500
	enormousRows = 200_000
	outage       = 15 * time.Second
)

// next is a night: files, trouble, and the request for its run.
func (s *soak) next() {
	s.night++
	if len(s.later) > 0 && s.night%cycle == 12 {
		for _, do := range s.later {
			do()
		}
		s.later = nil
	}
	switch s.night % cycle {
	case 2:
		s.bad()
	case 5:
		s.halfWritten()
	case 8:
		s.poisoned()
	case 11:
		if s.night/cycle%2 == 0 {
			s.put(fmt.Sprintf("enormous%d", s.night), enormousRows)
		}
	case 14:
		name, rows := s.file(fmt.Sprintf("late%d", s.night), ordinaryRows)
		s.afterwards(settleTime, func() error { return s.write(name, rows) })
	case 16:
		s.world.crash(s.night / cycle)
	case 17:
		if s.night/cycle%2 == 0 {
			s.world.server.Stop()
			s.world.server.Start()
		}
	case 18:
		s.store.Stop()
		s.afterwards(outage, func() error { s.store.Start(); return nil })
	}
	s.fillDisk()
	s.deliver()
}

// deliver has an ordinary file in both sources, and asks for the run.
func (s *soak) deliver() {
	date := (firstDate() + civil.Date(s.night)).String()
	s.put(fmt.Sprintf("inbox%d", s.night), ordinaryRows)
	name, rows := s.file(fmt.Sprintf("bank%d", s.night), ordinaryRows)
	s.store.Write("bank/"+date+"/"+name, []byte(rows))
	s.request(date)
}

// fillDisk fills the disk twice, at a third and at two thirds of the time.
func (s *soak) fillDisk() {
	n := len(s.calamity)
	if n > 0 && time.Since(s.calamity[n-1]) < 4*outage || s.world.disk == "" {
		return
	}
	if n < 2 && time.Since(s.began) > *soakTime*time.Duration(n+1)/3 {
		s.calamity = append(s.calamity, time.Now())
		ballast := filepath.Join(s.world.disk, "ballast")
		if err := fill(ballast, 1); err != nil {
			s.t.Fatal(err)
		}
		s.afterwards(outage, func() error {
			err := os.Remove(ballast)
			s.world.server.Revive()
			return err
		})
	}
}

// afterwards does something in a while.
func (s *soak) afterwards(wait time.Duration, do func() error) {
	s.pending.Go(func() {
		time.Sleep(wait)
		if err := do(); err != nil {
			s.failed <- err
		}
	})
}

// file makes the rows of a file, which are expected from now on.
func (s *soak) file(name string, rows int64) (fileName, content string) {
	random := rand.New(rand.NewPCG(uint64(s.night), uint64(rows)))
	var b strings.Builder
	b.WriteString(csvHead)
	of := sums{rows: rows}
	for i := range rows {
		cents := random.Int64N(100_000)
		of.cents += cents
		fmt.Fprintf(&b, "%s-%d,%d,%d.%02d,%s\n", name, i, 1+random.IntN(1000), cents/100, cents%100, firstDate()+civil.Date(s.night-random.IntN(20)))
	}
	s.expected[name] = of
	return name + ".csv", b.String()
}

// put writes a file into the inbox at once, by renaming it.
func (s *soak) put(name string, rows int64) {
	s.t.Helper()
	file, content := s.file(name, rows)
	if err := s.write(file, content); err != nil {
		s.t.Fatal(err)
	}
}

func (s *soak) write(name, content string) error {
	hidden := s.world.path("inbox", "."+name)
	if err := os.WriteFile(hidden, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(hidden, s.world.path("inbox", name))
}

// bad is a file without a header, which is corrected some nights later.
func (s *soak) bad() { s.wrong("bad", func(content string) string { return content[len(csvHead):] }) }

// poisoned is a file that the database refuses, until it is corrected.
func (s *soak) poisoned() {
	s.wrong("poisoned", func(content string) string {
		return content + fmt.Sprintf("poison%d,%d,1,2024-01-01\n", s.night, poisonousUser)
	})
}

func (s *soak) wrong(kind string, change func(string) string) {
	name, content := s.file(fmt.Sprint(kind, s.night), ordinaryRows)
	if err := s.write(name, change(content)); err != nil {
		s.t.Fatal(err)
	}
	s.troubled[s.world.path("inbox", name)] = true
	s.later = append(s.later, func() {
		if err := s.write(name, content); err != nil {
			s.t.Fatal(err)
		}
	})
}

// halfWritten is a file whose writer pauses within a number.
func (s *soak) halfWritten() {
	name, content := s.file(fmt.Sprintf("half%d", s.night), ordinaryRows)
	half := strings.LastIndex(content[:len(content)/2], ".") + 2
	path := s.world.path("inbox", name)
	if err := os.WriteFile(path, []byte(content[:half]), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.afterwards(2*settleTime, func() error {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = file.WriteString(content[half:])
		return err
	})
}
