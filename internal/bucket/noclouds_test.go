//go:build !allstores

package bucket_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
)

func run(m *testing.M) int { return m.Run() }

// A program without the clients of Google and Azure says how to get one that has them.
func TestStoresThatAreNotBuiltIn(t *testing.T) {
	t.Parallel()
	for location, advice := range map[string]string{
		"gs://lake/a.csv":     "s3://lake/…?endpoint=https://storage.googleapis.com with an HMAC key",
		"azblob://lake/a.csv": "build it with -tags allstores, or use the image",
	} {
		_, err := new(bucket.Stores).Read(t.Context(), at(t, location))
		require.ErrorIs(t, err, bucket.ErrSetup)
		require.ErrorContains(t, err, advice)
		assert.Contains(t, err.Error(), "built without the clients of Google and Azure")
		assert.True(t, bucket.Permanent(err))
	}
}
