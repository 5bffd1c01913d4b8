package bucket

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

const (
	pageSize  = 1000             // the most that S3 gives at once
	tries     = 3                // of a page, and of a reading that makes no headway
	firstWait = time.Second / 4  // before the second try; it doubles
	silence   = 60 * time.Second // after which an answer is not waited for any more
)

// Exists tells whether there is an object of that name. A folder is none.
func (s *Stores) Exists(ctx context.Context, l Location) (bool, error) {
	if l.folder().key == l.key {
		return false, nil
	}
	b, err := s.bucket(ctx, l)
	if err != nil {
		return false, err
	}
	err = s.again(ctx, l.String(), func(ctx context.Context) error {
		_, err := b.Attributes(ctx, l.key)
		return err
	})
	if gcerrors.Code(err) == gcerrors.NotFound {
		return false, nil
	}
	return err == nil, err
}

// List gives the objects in a folder, and not in those below it, whose names are
// wanted, in order of their names. A
// folder of which nothing at all is there is fs.ErrNotExist.
func (s *Stores) List(ctx context.Context, folder Location, want func(name string) bool) ([]Location, error) {
	l := folder.folder()
	b, err := s.bucket(ctx, l)
	if err != nil {
		return nil, err
	}
	var found []string
	empty := true
	options := &blob.ListOptions{Prefix: l.key, Delimiter: "/"}
	for token := blob.FirstPageToken; len(token) > 0; {
		var page []*blob.ListObject
		// A page that fails is asked for once more, and not those before it.
		err := s.again(ctx, l.String(), func(ctx context.Context) error {
			objects, next, err := b.ListPage(ctx, token, pageSize, options)
			if err == nil {
				page, token = objects, next
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list %w", err)
		}
		for _, o := range page {
			empty = false
			// Some tools make an object of a folder's own name.
			if name := strings.TrimPrefix(o.Key, l.key); !o.IsDir && name != "" && want(name) {
				found = append(found, name)
			}
		}
	}
	if empty && l.key != "" {
		return nil, fmt.Errorf("%s: %w", l.String(), fs.ErrNotExist)
	}
	slices.Sort(found)
	objects := make([]Location, len(found))
	for i, name := range found {
		objects[i] = l.Join(name)
	}
	return objects, nil
}

// again does what a store may be asked for more than once, a few times while it
// is away. Each try has its time.
func (s *Stores) again(ctx context.Context, name string, do func(context.Context) error) error {
	for try := 0; ; try++ {
		timed, cancel := context.WithTimeout(ctx, s.patience())
		err := explain(ctx, name, do(timed))
		cancel()
		if err == nil || !Away(err) || try == tries-1 {
			return err
		}
		if err := wait(ctx, try); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// patience is how long nothing may come.
func (s *Stores) patience() time.Duration { return cmp.Or(s.silence, silence) }

// wait lets some time pass after so many failures before the last one.
func wait(ctx context.Context, failures int) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(firstWait << failures):
		return nil
	}
}
