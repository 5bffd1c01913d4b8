// Package sqlfile parses .sql files with several named statements, so that the program,
// the benchmarks and editors use the same files.
//
// A line "-- name: x" starts statement x. {{word}} is a placeholder for an identifier
// that the caller supplies. Values are always bound as parameters.
package sqlfile

import (
	"fmt"
	"strings"
)

// Statements are the statements of a file, by name.
type Statements map[string]string

// Parse splits the text of a file into statements. It panics if a name is missing or
// repeated, since the files are compiled into the program.
func Parse(text string) Statements {
	s := Statements{}
	parts := strings.Split("\n"+text, "\n-- name: ")
	if strings.TrimSpace(parts[0]) != "" {
		panic(fmt.Sprintf("sqlfile: text before the first name: %.40q", parts[0]))
	}
	for _, part := range parts[1:] {
		name, body, _ := strings.Cut(part, "\n")
		name = strings.TrimSpace(name)
		if _, repeated := s[name]; name == "" || repeated {
			panic(fmt.Sprintf("sqlfile: name %q is empty or repeated", name))
		}
		s[name] = strings.TrimSpace(body)
	}
	return s
}

// Get returns a statement with its placeholders replaced. words are pairs of placeholder
// and identifier. Get panics if the statement does not exist or a placeholder remains.
func (s Statements) Get(name string, words ...string) string {
	text, ok := s[name]
	if !ok {
		panic(fmt.Sprintf("sqlfile: no statement %q", name))
	}
	for i := 0; i+1 < len(words); i += 2 {
		text = strings.ReplaceAll(text, "{{"+words[i]+"}}", words[i+1])
	}
	if strings.Contains(text, "{{") {
		panic(fmt.Sprintf("sqlfile: statement %q has a placeholder without a replacement", name))
	}
	return text
}
