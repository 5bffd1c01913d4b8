// Package panics turns panics of goroutines into errors: no one else recovers them, and one that is
// not recovered ends the process with all its other work.
package panics

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Panic is the error of a function that panicked.
type Panic struct {
	value any
	stack []byte
}

// Error describes the value.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// LogValue also has the stack.
func (p *Panic) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%v\n%s", p, p.stack)) }

// Recover sets *err to a [*Panic] if the function that defers it panics.
func Recover(err *error) {
	if value := recover(); value != nil {
		*err = &Panic{value, debug.Stack()}
	}
}
