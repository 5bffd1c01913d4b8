package api

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

func TestMoney(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0.00", "-0": "0.00", "1": "1.00", "-3": "-3.00", "10240.5": "10240.50", "10240.50": "10240.50",
		"0.1250": "0.125", "0.0001": "0.0001", "1.2300": "1.23", "1.2000": "1.20",
		"-0.5": "-0.50", "123456789012345.6789": "123456789012345.6789",
		"99999999999999999999999999999999.9999": "99999999999999999999999999999999.9999",
	} {
		got, err := json.Marshal(money.MustParse(in))
		require.NoError(t, err)
		assert.Equal(t, want, string(got), in)
	}
}

func TestDateAndObject(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(map[string]any{
		"day":   civil.MustParse("2024-02-29"),
		"rules": json.RawMessage(`{"decimal": "comma", "limit": 1.50}`),
	})
	require.NoError(t, err)
	assert.Equal(t, `{"day":"2024-02-29","rules":{"decimal":"comma","limit":1.50}}`, string(got))
}
