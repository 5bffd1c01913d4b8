// Package sqlfile reads .sql files that hold several named statements, so that
// SQL lives in files of its own that an editor, a benchmark and the program read
// alike.
//
// A line "-- name: x" starts statement x. {{word}} stands for a relation or
// column that the caller names; values are never written into the text.
package sqlfile

import (
	"fmt"
	"strings"
)

const marker = "-- name: "

// Statements are the statements of one file by their names.
type Statements map[string]string

// Parse splits a file's text. It panics on a file in which a name is missing or
// repeated: the files are part of the program.
func Parse(text string) Statements {
	s := Statements{}
	for i, part := range strings.Split("\n"+text, "\n"+marker) {
		name, body, _ := strings.Cut(part, "\n")
		if i == 0 {
			if strings.TrimSpace(part) != "" {
				panic(fmt.Sprintf("sqlfile: text before the first name: %.40q", part))
			}
			continue
		}
		name = strings.TrimSpace(name)
		if _, repeated := s[name]; name == "" || repeated {
			panic(fmt.Sprintf("sqlfile: name %q is empty or repeated", name))
		}
		s[name] = strings.TrimSpace(body)
	}
	return s
}

// Get returns a statement with each {{word}} replaced; words are pairs of word
// and replacement. It panics on a name or word that is not there.
func (s Statements) Get(name string, words ...string) string {
	text, ok := s[name]
	if !ok {
		panic(fmt.Sprintf("sqlfile: no statement %q", name))
	}
	for i := 0; i+1 < len(words); i += 2 {
		text = strings.ReplaceAll(text, "{{"+words[i]+"}}", words[i+1])
	}
	if strings.Contains(text, "{{") {
		panic(fmt.Sprintf("sqlfile: statement %q has a word that was not given", name))
	}
	return text
}
