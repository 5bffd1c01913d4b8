package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// post sends a body, of JSON where no other type is said.
func post(h http.Handler, target, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRequestRun(t *testing.T) {
	t.Parallel()
	ended := time.Date(2024, 5, 9, 0, 0, 0, 0, time.UTC)
	runs := map[string]int64{}
	h := newHandler(t, Config{Runs: fakeRuns{request: func(_ context.Context, date *civil.Date, by, origin string) (ledger.Run, error) {
		assert.Equal(t, "anonymous", by)
		assert.Equal(t, "192.0.2.1:1234", origin)
		day := ended
		if date != nil {
			day = date.Time()
		}
		if day.After(ended) {
			return ledger.Run{}, ledger.ErrNotEnded
		}
		if day.Year() == 1999 {
			return ledger.Run{}, errors.New("secret")
		}
		key := day.Format(time.DateOnly)
		id, known := runs[key]
		if !known {
			id = int64(len(runs) + 1)
			runs[key] = id
		}
		return ledger.Run{ID: id, Kind: "backfill", LogicalDate: civil.Of(day), Status: "due", Created: !known}, nil
	}}})
	for _, c := range []struct {
		contentType, body string
		status            int
		location          string
	}{
		{"application/json", `{"logical_date":"2024-05-08"}`, http.StatusAccepted, "/runs/1"},
		{"application/json; charset=utf-8", `{"logical_date":"2024-05-08"}`, http.StatusOK, "/runs/1"},
		{"", "", http.StatusAccepted, "/runs/2"},
		{"application/json", "{}", http.StatusOK, "/runs/2"},
		{"application/json", `{"logical_date":"2024-05-09"}`, http.StatusOK, "/runs/2"},
	} {
		w := post(h, "/runs", c.contentType, c.body)
		require.Equal(t, c.status, w.Code, w.Body.String())
		assert.Equal(t, c.location, w.Header().Get("Location"))
		assert.Contains(t, w.Body.String(), `"status":"due"`)
	}
	for body, location := range map[string]string{
		`{"logical_date":"2024-05-10"}`: "body.logical_date", `{"logical_date":"2024-02-30"}`: "body.logical_date",
		`{"logical_date":"0000-01-01"}`: "body.logical_date", `{"logical_date":7}`: "body.logical_date", `{"date":"2024-05-08"}`: "body",
		`[]`: "body", `null`: "body", `{"logical_date":null}`: "body.logical_date", `{"logical_date":""}`: "body.logical_date",
		`{"logical_date":["2024-05-08"]}`: "body.logical_date", `{"LOGICAL_DATE":"2024-05-08"}`: "body", `{"logical_date":"2024-05-08","Logical_Date":"2024-05-08"}`: "body",
		`{"\u006cogical_date":null}`: "body.logical_date", `{"other":null}`: "body",
		`{"logical_date":"x` + strings.Repeat("y", 2000) + `"}`: "body.logical_date",
	} {
		w := post(h, "/runs", "application/json", body)
		p := requireProblem(t, w, http.StatusUnprocessableEntity, "invalid-request")
		require.NotEmpty(t, p.Errors, body)
		assert.Equal(t, location, p.Errors[0].Location, body)
		assert.NotContains(t, w.Body.String(), "yyyy")
	}
	requireProblem(t, post(h, "/runs", "application/json", "{"), http.StatusBadRequest, "bad-request")
	requireProblem(t, post(h, "/runs", "text/csv", "a,b"), http.StatusUnsupportedMediaType, "unsupported-media-type")
	requireProblem(t, post(h, "/runs", "application/json", `{"logical_date":"`+strings.Repeat("2", maxBodyBytes)+`"}`), http.StatusRequestEntityTooLarge, "content-too-large")
	requireProblem(t, post(h, "/runs?date=2024-05-08", "", ""), http.StatusUnprocessableEntity, "invalid-request")
	requireProblem(t, post(h, "/runs", "application/json", `{"logical_date":"1999-01-01"}`), http.StatusInternalServerError, "internal-error")
}
