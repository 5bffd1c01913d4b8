package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/transform"
)

// namesIn are the names in the first column of a section's table, in its order.
func namesIn(t *testing.T, section string) (names []string) {
	t.Helper()
	content, err := os.ReadFile("../../docs/reading.md")
	require.NoError(t, err)
	_, text, found := strings.Cut(string(content), "\n## "+section+"\n")
	require.True(t, found, section)
	text, _, _ = strings.Cut(text, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(text, -1) {
		names = append(names, strings.Split(strings.Trim(row[1], "`"), "`, `")...)
	}
	return names
}

// The documentation lists every fault of a row, and every code of a file's error.
func TestFaultsAreDocumented(t *testing.T) {
	t.Parallel()
	var faults []string
	for f := transform.Fault(1); f <= transform.LastFault; f++ {
		faults = append(faults, f.String())
	}
	assert.ElementsMatch(t, faults, namesIn(t, "Faults of a row"))

	files, err := filepath.Glob("../../pipeline/*/*.go")
	require.NoError(t, err)
	var codes []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, code := range regexp.MustCompile(`(?m)^(?:const |\t)Code\w+ += "(\w+)"`).FindAllStringSubmatch(string(content), -1) {
			codes = append(codes, code[1])
		}
	}
	assert.Greater(t, len(codes), 10)
	assert.ElementsMatch(t, codes, namesIn(t, "Errors of a file"))
}

// anchors are those of a page's headings, as GitHub makes them.
func anchors(page string) (all []string) {
	omitted := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, heading := range regexp.MustCompile("(?m)^#+ (.+)$").FindAllStringSubmatch(page, -1) {
		text := omitted.ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}

// Links between the pages lead to a file, and to a heading of it.
func TestLinksOfTheDocs(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	more, err := filepath.Glob("../../*.md")
	require.NoError(t, err)
	pages = append(pages, more...)
	contents, headings := map[string]string{}, map[string][]string{}
	for _, page := range pages {
		content, err := os.ReadFile(page)
		require.NoError(t, err)
		contents[page], headings[page] = string(content), anchors(string(content))
	}
	links, inPage := 0, regexp.MustCompile(`\]\(([^):]*)\)`)
	for _, page := range pages {
		for _, link := range inPage.FindAllStringSubmatch(contents[page], -1) {
			links++
			name, anchor, _ := strings.Cut(link[1], "#")
			target := page
			if name != "" {
				target = filepath.Join(filepath.Dir(page), name)
			}
			_, err := os.Stat(target)
			if !assert.NoError(t, err, "%s: %s", page, link[0]) || anchor == "" {
				continue
			}
			assert.Contains(t, headings[target], anchor, "%s: %s", page, link[0])
		}
	}
	assert.Greater(t, links, 50)
}
