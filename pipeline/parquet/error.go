package parquet

import (
	"errors"
	"fmt"
)

// SumError says that what was read does not agree with itself, so that the export would
// not either.
type SumError struct{ Table, Month, Read, Want string }

func (e *SumError) Error() string {
	of := e.Table
	if e.Month != "" {
		of += " of " + e.Month
	}
	return fmt.Sprintf("%s has %s, but %s: run tally verify", of, e.Read, e.Want)
}

// ValueError is a value that the export's types do not hold.
type ValueError struct {
	Key string // which row, such as "user_id 7"
	Err error
}

func (e *ValueError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *ValueError) Unwrap() error { return e.Err }

// Permanent reports whether an error of Export comes from the data or from the target's
// manifest, so that a retry would fail as well.
func Permanent(err error) bool {
	_, sum := errors.AsType[*SumError](err)
	_, value := errors.AsType[*ValueError](err)
	_, manifest := errors.AsType[*ManifestError](err)
	return sum || value || manifest || errors.Is(err, errUnknownMonth)
}
