package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gocloud.dev/blob"
)

// errSilent is why an answer that stands still is given up.
var errSilent = errors.New("nothing more has come")

// Object is one version of an object, read from its first byte to its last. It is
// for one goroutine.
type Object struct {
	ctx     context.Context // of the reading
	name    string
	bucket  *blob.Bucket
	key     string
	version version
	size    int64

	patience time.Duration
	answer   *blob.Reader // the answer that is being read, nil: there is none
	timer    *time.Timer  // ends an answer that stands still
	cancel   context.CancelCauseFunc
	at       int64 // bytes read
	failures int   // since the last byte
	end      error // once there is nothing more to read
}

// Read opens an object. ctx holds for all of the reading. Close it after use.
func (s *Stores) Read(ctx context.Context, l Location) (*Object, error) {
	b, err := s.bucket(ctx, l)
	if err != nil {
		return nil, err
	}
	o := &Object{ctx: ctx, name: l.String(), bucket: b, key: l.key, patience: s.patience()}
	if err := o.open(); err != nil {
		if err = o.goOn(err); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Size is the object's length in bytes.
func (o *Object) Size() int64 { return o.size }

// Read reads on. Errors are those of the package; they stay.
func (o *Object) Read(p []byte) (int, error) {
	if o.end != nil || len(p) == 0 {
		return 0, o.end
	}
	for {
		o.timer.Reset(o.patience)
		n, err := o.answer.Read(p)
		o.timer.Stop()
		if o.at += int64(n); n > 0 {
			o.failures = 0
			if err == nil || o.at < o.size {
				return n, nil // what is wrong comes back at the next call
			}
		}
		switch {
		case err == nil:
			continue
		case o.at > o.size, o.at == o.size && !errors.Is(err, io.EOF): // the latter is a checksum that does not fit
			o.end = &answer{o.name, ErrChanged, err}
		case o.at == o.size:
			o.end = io.EOF
		default:
			if err = o.goOn(err); err == nil {
				continue
			}
			o.end = err
		}
		return n, o.end
	}
}

// open asks for the object from where the reading is. The first answer decides on
// the version.
func (o *Object) open() error {
	o.hangUp()
	ctx, cancel := context.WithCancelCause(o.ctx)
	o.cancel, o.timer = cancel, time.AfterFunc(o.patience, func() { cancel(errSilent) })
	got, err := o.bucket.NewRangeReader(ctx, o.key, o.at, -1, &blob.ReaderOptions{BeforeRead: o.version.pin})
	o.timer.Stop()
	if err != nil {
		o.hangUp()
		return err
	}
	o.answer = got
	switch v := versionOf(got); {
	case o.version == version{}:
		o.version, o.size = v, got.Size()
	case v != o.version || got.Size() != o.size:
		return &answer{o.name, ErrChanged, errors.New("another version is there")}
	}
	return nil
}

// goOn takes the reading up where it broke off, after waiting a little longer each
// time that it gives nothing.
func (o *Object) goOn(broken error) error {
	for {
		heard := o.answer != nil
		err := o.judge(broken, heard)
		if !Away(err) {
			return err
		}
		if o.failures == tries-1 {
			if heard {
				return &answer{o.name, ErrShort, fmt.Errorf("it ends at byte %d of %d: %w", o.at, o.size, broken)}
			}
			return err
		}
		if err := wait(o.ctx, o.failures); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		o.failures++
		if broken = o.open(); broken == nil {
			return nil
		}
	}
}

// judge says what it means that a request failed, or an answer broke off.
func (o *Object) judge(broken error, heard bool) error {
	if _, known := errors.AsType[*answer](broken); known {
		return broken
	}
	if heard && o.ctx.Err() == nil {
		return &AwayError{o.name, broken} // it has answered, so that nothing but the way is at fault
	}
	err := explain(o.ctx, o.name, broken)
	if known, ok := errors.AsType[*answer](err); ok && o.version != (version{}) {
		known.kind = ErrChanged // it was there, and could be read
	}
	return err
}

// hangUp ends the answer that is being read.
func (o *Object) hangUp() {
	if o.cancel != nil {
		o.timer.Stop()
		o.cancel(nil)
	}
	if o.answer != nil {
		_ = o.answer.Close() // it was only read
		o.answer = nil
	}
}

// Close ends the reading.
func (o *Object) Close() error {
	o.hangUp()
	if o.end == nil {
		o.end = fmt.Errorf("%s: the reading is over", o.name)
	}
	return nil
}
