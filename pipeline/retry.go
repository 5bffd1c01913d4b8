package pipeline

import (
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
)

// Retryable says whether what failed with err may succeed when it is tried again:
// the database or an object store was away.
func Retryable(err error) bool { return postgres.Retryable(err) || SourceAway(err) }

// SourceAway says that err is about an object store that did not answer, or not now.
// It says nothing about the files there.
func SourceAway(err error) bool { return bucket.Away(err) }
