package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/summaries"
)

// Moment is a moment in a request, "" if omitted.
type Moment string

// Schema describes a moment to huma: RFC 3339, whose seconds may be omitted.
func (Moment) Schema(huma.Registry) *huma.Schema {
	shortest, longest := len("2024-06-30T00:00Z"), len("2024-06-30T00:00:00.000000000+00:00")
	return &huma.Schema{Type: huma.TypeString, Pattern: momentPattern, MinLength: &shortest, MaxLength: &longest}
}

const (
	momentPattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})$`
	asOfLocation  = "query.as_of"
	asOfMessage   = "must be a moment with its offset, as in 2024-06-30T00:00Z, that has come"
)

func (m Moment) parse() (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(form, string(m)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, invalid(ProblemError{Location: asOfLocation, Message: asOfMessage})
}

// pastSummary answers with the summary as of a former moment. A change that is being made
// has its time already, so even a former moment's answer can change for an instant; the
// client asks each time whether it has.
func (s *service) pastSummary(ctx context.Context, in *summaryInput, days summaries.Days) (*huma.StreamResponse, error) {
	moment, err := in.AsOf.parse()
	if err != nil {
		return nil, err
	}
	past, err := s.Summaries.AsOf(ctx, in.UserID, moment, days)
	if errors.Is(err, summaries.ErrFuture) {
		return nil, invalid(ProblemError{Location: asOfLocation, Message: asOfMessage})
	}
	if err != nil {
		return nil, err
	}
	body, checksum := summaryBody(&Summary{past.UserID, past.Transactions, past.Total, past.Average()})
	answer := summaryAnswer{renderedSummary: &renderedSummary{body: body, etag: []string{fmt.Sprintf(`"as-of-%d-%x"`, past.Change, checksum)}}}
	if answer.status = in.status(answer.etag[0], time.Time{}); answer.status == http.StatusPreconditionFailed {
		return nil, kindPrecondition.problem()
	}
	return answer.stream(), nil
}
