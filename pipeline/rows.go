package pipeline

import "encoding/binary"

// rows is what a load gathers of a block.
type rows struct {
	keep   func(b []byte, r *Row) []byte // encodes a rejected row
	read   int64
	faults [faultEnd]int64 // rejected rows by their first fault; valid ones at 0
	valid  []byte          // packed, each after its length in two bytes
	reject []byte
}

func (r *rows) reset() {
	*r = rows{keep: r.keep, valid: r.valid[:0], reject: r.reject[:0]}
}

func (r *rows) add(_ *Reader, row *Row) {
	r.read++
	r.faults[row.Faults.First()]++
	if row.Faults != 0 {
		r.reject = r.keep(r.reject, row)
		return
	}
	from := len(r.valid)
	r.valid = appendPacked(append(r.valid, 0, 0), row)
	binary.LittleEndian.PutUint16(r.valid[from:], uint16(len(r.valid)-from-2))
}

// each gives the valid rows.
func (r *rows) each(yield func(packed) error) error {
	for b := r.valid; len(b) > 0; {
		n := 2 + int(binary.LittleEndian.Uint16(b))
		if err := yield(packed(b[2:n])); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
