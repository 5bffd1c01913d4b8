package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
)

// minCompressed is from how many bytes on an answer is compressed: about what one
// packet holds.
const minCompressed = 1400

// compressed compresses what is worth it, for clients that take it. A summary never
// is, and does not pay for the asking. An entity tag would be that of the bytes
// before, so none goes with a compressed answer.
func compressed(next http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompressed), gzhttp.DropETag(), gzhttp.EnableZstd(false))
	if err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	slow := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/summary") {
			next.ServeHTTP(w, r)
			return
		}
		slow(w, r)
	}), nil
}
