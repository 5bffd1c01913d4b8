package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
)

var (
	// ErrUnavailable says that a store gives no answer, or none about what was asked for:
	// trying again later may help.
	ErrUnavailable error = unavailable{}
	// ErrChanged says that an object is not any more what it was when its reading
	// began: it was written anew or removed, or what arrived is not what the store
	// has.
	ErrChanged = errors.New("the object changed while it was read")
	// ErrShort says that a store answers and yet does not give an object's end.
	ErrShort = errors.New("the store gives less than the whole object")
	// ErrSetup says that a store cannot be asked at all, for want of credentials, of a
	// region or the like. It is nothing about an object.
	ErrSetup = errors.New("the object store is not set up")
	// errRefused is an answer that is about the request.
	errRefused = errors.New("the object store refuses the request")
)

type unavailable struct{}

func (unavailable) Error() string { return "the object store is unavailable" }

// Retryable is true; see postgres.Retryable, which asks.
func (unavailable) Retryable() bool { return true }

// storeError is what a store's answer, or its silence, means.
type storeError struct {
	location Location
	kind     error // fs.ErrNotExist, fs.ErrPermission, or one of the package's own
	err      error
}

func (e *storeError) Error() string {
	return fmt.Sprintf("%s: %s (%s)", e.location, e.kind, redacted(e.err))
}

func (e *storeError) Unwrap() []error { return []error{e.kind, e.err} }

// Permanent reports whether a store has answered, and not as one that may answer otherwise
// later: there are no credentials, or not the right ones, or no such bucket.
func Permanent(err error) bool {
	known, ok := errors.AsType[*storeError](err)
	return ok && !errors.Is(known.kind, ErrUnavailable) && !errors.Is(known.kind, ErrChanged) && !errors.Is(known.kind, ErrShort)
}

// explain distinguishes a store's answers from its silence. What the caller has cancelled
// is no one's failure.
func (r *request) explain(err error) error {
	if err == nil {
		return nil
	}
	if r.caller.Err() != nil {
		return fmt.Errorf("%s: %w", r.location, context.Cause(r.caller))
	}
	kind := ErrUnavailable
	switch status := r.store.status(err); status {
	case http.StatusNotFound:
		kind = fs.ErrNotExist
	case http.StatusForbidden, http.StatusUnauthorized:
		kind = fs.ErrPermission
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		kind = ErrChanged
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusConflict:
	default:
		if status >= http.StatusMultipleChoices && status < http.StatusInternalServerError {
			kind = errRefused
		}
	}
	return &storeError{r.location, kind, err}
}

// signatures are parameters of web addresses.
var signatures = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']*`)

func redacted(err error) string { return signatures.ReplaceAllString(err.Error(), "$1") }

// Redact is an error that may be logged and noted: its text is without the parameters of
// web addresses, which can be signatures.
func Redact(err error) error {
	if err == nil {
		return nil
	}
	return redactedError{err}
}

type redactedError struct{ error }

func (e redactedError) Error() string { return redacted(e.error) }

func (e redactedError) Unwrap() error { return e.error }
