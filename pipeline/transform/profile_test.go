package transform

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/synthetic"
)

// TestCheckGolden profiles testdata/check/*.csv. Where the outcome differs from
// the .txt or .json beside it, the new one is left with .got after its name: to
// accept it, rename it.
func TestCheckGolden(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/check/*.csv")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, path := range inputs {
		p, err := Check(t.Context(), nil, bucket.Path(path), Rules{}, logicalDate)
		require.NoError(t, err)
		p.Path = filepath.ToSlash(p.Path)
		var text, document bytes.Buffer
		require.NoError(t, p.WriteText(&text))
		e := json.NewEncoder(&document)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		require.NoError(t, e.Encode(p))
		base := strings.TrimSuffix(path, ".csv")
		golden(t, base+".txt", text.Bytes())
		golden(t, base+".json", document.Bytes())
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err == nil && bytes.Equal(want, got) {
		return
	}
	require.NoError(t, os.WriteFile(path+".got", got, 0o600))
	assert.Equal(t, string(want), string(got), "%s: see %s.got", path, path)
}

// TestCheckAddsUp compares a profile with what the reader says row by row.
func TestCheckAddsUp(t *testing.T) {
	t.Parallel()
	content := generated(t, synthetic.File{Rows: 30_000, Users: 500, Seed: 5})
	for name, extra := range map[string]string{
		"as generated": "",
		"contradicted": "Z,1,5,27/11/2024\nZ,1,,01/02/2024\nZ,1,5,01/02/1850\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "in.csv", append(bytes.Clone(content), extra...))
			p, err := Check(t.Context(), nil, bucket.Path(path), Rules{}, logicalDate)
			require.NoError(t, err)
			want := recount(t, path)
			assert.Equal(t, want[0], p.Valid)
			assert.Equal(t, p.Read, p.Valid+p.Rejected)
			var rejected int64
			for _, f := range p.Faults {
				rejected += f.Count
				for fault := Fault(1); fault <= LastFault; fault++ {
					if fault.String() == f.Fault {
						assert.Equal(t, want[fault], f.Count, f.Fault)
					}
				}
			}
			assert.Equal(t, p.Rejected, rejected)
			assert.EqualValues(t, 500+min(1, len(extra)), p.Users)
			assert.Equal(t, p.Read, sum(p.DateShapes))
			assert.Equal(t, p.Read, sum(p.AmountShapes))
		})
	}
}

// recount reads a file twice: once for what it shows, once by it.
func recount(t *testing.T, path string) (count [LastFault + 1]int64) {
	t.Helper()
	conventions := Rules{}.Assume(&Learned{})
	for range 2 {
		f, err := extract.Open(t.Context(), nil, bucket.Path(path), extract.Dialect{})
		require.NoError(t, err)
		r, err := newReadingReader(f, Reading{LogicalDate: logicalDate, Conventions: conventions})
		require.NoError(t, err)
		count = [LastFault + 1]int64{}
		var row Row
		for r.Next(&row) == nil {
			count[row.Faults.First()]++
		}
		conventions = Rules{}.Resolve(&Learned{}, &r.Findings().Evidence)
		require.NoError(t, f.Close())
	}
	return count
}

// write puts content into a read-only file.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o400))
	return path
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func requireCode(t *testing.T, code string, err error) {
	t.Helper()
	var bad *extract.FileError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, code, bad.Code, err)
	require.NotEmpty(t, bad.Path)
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func sum(shapes []ShapeCount) (n int64) {
	for _, s := range shapes {
		n += s.Count
	}
	return n
}

func TestCheckSampleFile(t *testing.T) {
	t.Parallel()
	const path = "../../../shared/data/assignment.csv"
	if _, err := os.Stat(path); err != nil {
		t.Skip("the sample file is not part of the project: ", err)
	}
	p, err := Check(t.Context(), nil, bucket.Path(path), Rules{}, logicalDate)
	require.NoError(t, err)
	assert.EqualValues(t, 1015, p.Read)
	assert.EqualValues(t, 809, p.Valid)
	assert.Equal(t, []FaultCount{
		{"missing_amount", 199, 199, 3, "TXN749110,1716,,2024-06-28"},
		{"missing_date", 7, 11, 191, "TXN425819,1966,0.0,"},
	}, p.Faults)
	for i, want := range []struct {
		setting, choice string
		cells           [4]int64
	}{
		{"slash", "mdy", [...]int64{146, 0, 10, 98}}, {"dash", "dmy", [...]int64{0, 159, 4, 85}}, {"decimal", "point", [...]int64{816, 0, 0, 0}},
	} {
		assert.Equal(t, want.setting, p.Conventions[i].Setting)
		assert.Equal(t, want.choice, p.Conventions[i].Choice)
		assert.Equal(t, FromFile, p.Conventions[i].Origin)
		assert.Equal(t, want.cells, cells(p.Conventions[i].Counts))
	}
	assert.Empty(t, p.Hints)
	assert.Empty(t, p.Warnings)
	assert.False(t, p.Exceeded)
}

func TestCheckBounds(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(head)
	for i := range 500 { // each amount and each user's page is another one
		fmt.Fprintf(&b, "A,%d,%s,%s\n", i<<16+1, strings.Repeat("x", i%20)+strings.Repeat("9.", i/20), strings.Repeat("é", i))
	}
	p, err := Check(t.Context(), nil, bucket.Path(write(t, "in.csv", []byte(b.String()))), Rules{RejectLimit: "499"}, logicalDate)
	require.NoError(t, err)
	assert.Len(t, p.AmountShapes, maxShapes+1)
	assert.EqualValues(t, 500, sum(p.AmountShapes))
	assert.True(t, p.Exceeded)
	var text strings.Builder
	require.NoError(t, p.WriteText(&text))
	assert.Contains(t, text.String(), "a load would refuse the file")
	for _, s := range p.DateShapes {
		assert.LessOrEqual(t, len(s.Example), exampleLength+len("…"))
		assert.Less(t, len(s.Shape), 40, s.Shape)
	}

	var u userSet
	for i := range int32(maxPages + 10) {
		u.add(i << 16)
		u.add(i << 16)
	}
	u.add(1)
	assert.EqualValues(t, maxPages+1, u.count)
	assert.True(t, u.full)
	assert.Len(t, u.pages, maxPages)
}

func TestCheckHeaderOnly(t *testing.T) {
	t.Parallel()
	p, err := Check(t.Context(), nil, bucket.Path(write(t, "in.csv", []byte(head))), Rules{}, logicalDate)
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, p.WriteText(&text))
	assert.Contains(t, text.String(), "no faults")
	assert.Contains(t, text.String(), "0 of 0 rows are valid")
	assert.False(t, p.Exceeded)
}

func TestCheckErrors(t *testing.T) {
	t.Parallel()
	_, err := Check(t.Context(), nil, bucket.Path(filepath.Join(t.TempDir(), "none")), Rules{}, logicalDate)
	requireCode(t, extract.CodeNotFound, err)
	_, err = Check(t.Context(), nil, bucket.Path(write(t, "in.csv", gzipped(t, generated(t, synthetic.File{Rows: 5000}))[:20_000])), Rules{}, logicalDate)
	requireCode(t, extract.CodeTruncated, err)
	_, err = Check(t.Context(), nil, bucket.Path(write(t, "in.csv", []byte(head))), Rules{Dash: "x"}, logicalDate)
	require.ErrorContains(t, err, "rules: dash")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errFull)
	_, err = Check(ctx, nil, bucket.Path(write(t, "in.csv", []byte(head))), Rules{}, logicalDate)
	require.ErrorIs(t, err, errFull)
	require.ErrorIs(t, (&Profile{}).WriteText(full{}), errFull)
}
