package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	resumptions = 2               // of a reading that makes no headway
	firstWait   = time.Second / 4 // before the first one; it doubles
)

// Object is one version of an object, read from its first byte to its last. It is
// for one goroutine.
type Object struct {
	ctx      context.Context // of the reading
	stores   *Stores
	location Location

	request  *request
	answer   answer // its reader is nil where there is none
	version  version
	size     int64
	at       int64 // bytes read
	failures int   // since the last byte
	end      error // once there is nothing more to read
}

// Read opens an object. ctx holds for all of the reading. Close it after use.
func (s *Stores) Read(ctx context.Context, l Location) (*Object, error) {
	o := &Object{ctx: ctx, stores: s, location: l}
	if err := o.open(); err != nil {
		return nil, err
	}
	return o, nil
}

// Version is that of what is read, as a listing has it.
func (o *Object) Version() Version {
	return Version{Size: o.size, Tag: strings.Trim(o.version.tag, quotes)}
}

// Read reads on. Errors are those of the package; they stay.
func (o *Object) Read(p []byte) (n int, err error) {
	for o.end == nil && len(p) > 0 {
		err = o.request.wait(func() (err error) {
			n, err = o.answer.Read(p)
			return err
		})
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
			o.end = &storeError{o.location, ErrChanged, err}
		case o.at == o.size:
			o.end = io.EOF
		default:
			if o.end = o.resume(err); o.end == nil {
				continue
			}
		}
		return n, o.end
	}
	return 0, o.end
}

// open asks for the object from where the reading is. The first answer decides on
// the version.
func (o *Object) open() (err error) {
	o.hangUp()
	if o.request, err = o.stores.request(o.ctx, o.location, silence); err != nil {
		return err
	}
	r, resumed := o.request, o.version != version{}
	err = r.do(func() (err error) {
		o.answer, err = r.store.get(r.ctx, o.location.key, o.version.tag, o.at)
		return err
	})
	switch {
	case err != nil:
		if known, ok := errors.AsType[*storeError](err); ok && resumed && Permanent(err) {
			known.kind = ErrChanged // it was there, and could be read
		}
		o.hangUp()
		return err
	case !resumed:
		o.version, o.size = o.answer.version, o.answer.size
	case o.answer.version != o.version || o.answer.size != o.size:
		return &storeError{o.location, ErrChanged, errors.New("another version is there")}
	}
	return nil
}

// resume takes the reading up where it broke off, after waiting a little longer each
// time that it gives nothing.
func (o *Object) resume(broken error) error {
	if o.failures == resumptions && o.ctx.Err() == nil {
		return &storeError{o.location, ErrShort, fmt.Errorf("it ends at byte %d of %d: %w", o.at, o.size, broken)}
	}
	select {
	case <-o.ctx.Done():
		return fmt.Errorf("%s: %w", o.location, context.Cause(o.ctx))
	case <-time.After(firstWait << o.failures):
	}
	o.failures++
	return o.open()
}

func (o *Object) hangUp() {
	if o.request != nil {
		o.request.cancel(nil)
	}
	if o.answer.ReadCloser != nil {
		_ = o.answer.Close() // it was only read
		o.answer.ReadCloser = nil
	}
}

// Close ends the reading.
func (o *Object) Close() error {
	o.hangUp()
	if o.end == nil {
		o.end = fmt.Errorf("%s: the reading is over", o.location)
	}
	return nil
}
