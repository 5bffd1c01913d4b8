package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"
)

var (
	// ErrChanged says that an object is not any more what it was when its reading
	// began: it was written anew or removed, or what arrived is not what the store
	// has.
	ErrChanged = errors.New("the object changed while it was read")
	// ErrSetup says that a store cannot be asked at all, for want of credentials, of a
	// region or the like. It is nothing about an object.
	ErrSetup = errors.New("the object store is not set up")
	// ErrShort says that a store answers and yet does not give an object's end.
	ErrShort = errors.New("the store gives less than the whole object")
)

// AwayError is a store that gives no answer, or none about what was asked for:
// trying again later may help.
type AwayError struct {
	Name string // what was asked for
	Err  error
}

// Error names the object or folder and the reason.
func (e *AwayError) Error() string { return e.Name + ": the object store is away: " + plain(e.Err) }

// Unwrap is the reason.
func (e *AwayError) Unwrap() error { return e.Err }

// Retryable is true; see postgres.Retryable, which asks.
func (e *AwayError) Retryable() bool { return true }

// Refused tells that a store has answered, and not as one that may answer otherwise later:
// there are no credentials, or not the right ones, or no such bucket.
func Refused(err error) bool {
	switch gcerrors.Code(err) {
	case gcerrors.PermissionDenied, gcerrors.NotFound, gcerrors.InvalidArgument:
		return true
	}
	status := statusOf(err)
	return errors.Is(err, ErrSetup) || status == http.StatusForbidden || status == http.StatusUnauthorized || status == http.StatusNotFound
}

// Away tells that trying again later may help.
func Away(err error) bool {
	_, away := errors.AsType[*AwayError](err)
	return away
}

// secrets are parameters of web addresses, which can hold signatures.
var secrets = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']*`)

// plain is an error's text without what must not be shown.
func plain(err error) string { return secrets.ReplaceAllString(err.Error(), "$1") }

// Shown is an error that may be logged and noted: its text is without the parameters of
// web addresses, which can be signatures.
func Shown(err error) error {
	if err == nil {
		return nil
	}
	return shown{err}
}

type shown struct{ error }

// Error is the text that may be shown.
func (e shown) Error() string { return plain(e.error) }

// Unwrap is the error itself.
func (e shown) Unwrap() error { return e.error }

// answer is an error that a store has answered with.
type answer struct {
	name string
	kind error // fs.ErrNotExist, fs.ErrPermission, one of the package's own, or nil
	err  error
}

// Error names the object or folder and the reason.
func (e *answer) Error() string {
	if e.kind == nil {
		return e.name + ": " + plain(e.err)
	}
	return fmt.Sprintf("%s: %s (%s)", e.name, e.kind, plain(e.err))
}

// Unwrap is what kind of answer it was, and the store's own error.
func (e *answer) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// explain tells a store's answers from its silence. ctx is the caller's: what it
// has cancelled is nobody's failure.
func explain(ctx context.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	status := statusOf(err)
	switch code := gcerrors.Code(err); {
	case code == gcerrors.NotFound || status == http.StatusNotFound:
		return &answer{name, fs.ErrNotExist, err}
	case code == gcerrors.PermissionDenied || status == http.StatusForbidden || status == http.StatusUnauthorized:
		return &answer{name, fs.ErrPermission, err}
	case code == gcerrors.FailedPrecondition || status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable:
		return &answer{name, ErrChanged, err}
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests:
		return &AwayError{name, err}
	case status >= http.StatusMultipleChoices && status < http.StatusInternalServerError:
		return &answer{name, nil, err}
	}
	return &AwayError{name, err}
}

// statusOf is the HTTP status of a store's answer, 0 where there was none.
func statusOf(err error) int {
	var aws interface {
		error
		HTTPStatusCode() int
	}
	if errors.As(err, &aws) {
		return aws.HTTPStatusCode()
	}
	if azure, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return azure.StatusCode
	}
	if google, ok := errors.AsType[*googleapi.Error](err); ok {
		return google.Code
	}
	return 0
}
