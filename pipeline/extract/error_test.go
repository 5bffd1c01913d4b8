package extract

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileErrorSaysAll(t *testing.T) {
	t.Parallel()
	err := error(&FileError{Path: "in/a.csv", Line: 1, Column: "amount", Code: CodeMissingColumn,
		Detail: "the header has \"a,b\"", Hint: "rename it", Err: io.ErrUnexpectedEOF})
	require.EqualError(t, err, `in/a.csv: line 1: missing_column amount: the header has "a,b": unexpected EOF (rename it)`)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	var bad *FileError
	require.ErrorAs(t, err, &bad)
}
