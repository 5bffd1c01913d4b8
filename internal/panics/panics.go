// Package panics turns panics into errors. A panic that its own goroutine does not recover ends the
// process, with everything else that it does.
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
