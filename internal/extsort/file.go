package extsort

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

const fileBuffer = 32 << 10 // bytes per file

// createFile creates a temporary file. It unlinks the file, if the system allows that
// for an open file, so that a killed process leaves no files.
func createFile() (*os.File, error) {
	f, err := os.CreateTemp("", "tally-sort-*")
	if err == nil {
		_ = os.Remove(f.Name()) // otherwise Close removes it
	}
	return f, err
}

// explain adds the purpose of the file, and how to change its folder.
func explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("temporary file for sorting (set TMPDIR to change its folder): %w", err)
}

func (c *chunk) write(f *os.File) error {
	w := bufio.NewWriterSize(f, fileBuffer)
	for _, e := range c.entries {
		n := uint32(binary.LittleEndian.Uint16(c.records[e.at:]))
		if _, err := w.Write(c.records[e.at : e.at+2+n]); err != nil {
			return err
		}
	}
	return w.Flush()
}

func readFile(f *os.File) run {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, math.MaxInt64), fileBuffer)
	var record []byte
	return func() ([]byte, error) {
		length, err := r.Peek(2)
		if len(length) == 0 && errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err == nil {
			n := int(binary.LittleEndian.Uint16(length))
			record = slices.Grow(record[:0], n+2)[:n+2]
			_, err = io.ReadFull(r, record)
		}
		if err != nil {
			return nil, explain(err)
		}
		return record[2:], nil
	}
}
