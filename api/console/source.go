package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/opentax/tally/jobs/ledger"
)

const (
	sourcesPath  = "/console/sources"
	sourcesShown = 25
)

// sourcesPage is the sources of which files were read, by name.
type sourcesPage struct {
	Sources  []sourceView
	Currency []ledger.Convention // the marks of loaded amounts
	Before   bool                // there are sources before
	After    string              // the last source, if there are more
}

type sourceView struct {
	ledger.Source
	Settings string // of its last file and what was learned since, as tally.yaml has them
	Learned  []learned
}

// learned is a convention that a file has proven.
type learned struct {
	ledger.Convention
	Meaning      string
	Contradicted bool // another file has proven the other choice
	Set          bool // the settings decide it
}

// Setting is the line of tally.yaml.
func (l learned) Setting() string { return l.Convention.Convention + ": " + l.Value }

func (c *console) sources(w http.ResponseWriter, r *http.Request) error {
	all, err := c.Ledger.Sources(r.Context())
	if err != nil {
		return err
	}
	var p sourcesPage
	for _, s := range all {
		if s.Name <= r.FormValue("after") {
			p.Before = true
			continue
		}
		if len(p.Sources) == sourcesShown {
			p.After = p.Sources[sourcesShown-1].Name
			break
		}
		view, err := newSourceView(s)
		if err != nil {
			return err
		}
		p.Sources = append(p.Sources, view)
	}
	for _, s := range all[:min(1, len(all))] { // each has the currency's
		p.Currency = slices.DeleteFunc(slices.Clone(s.Conventions), func(c ledger.Convention) bool { return c.Convention != "currency" })
	}
	return c.show(w, r, "sources.html", "Sources", sourcesPath, p)
}

func newSourceView(s ledger.Source) (view sourceView, err error) {
	view.Source = s
	settings := map[string]json.RawMessage{}
	if err := json.Unmarshal(s.Settings, &settings); err != nil {
		return view, fmt.Errorf("read the settings of source %s: %w", s.Name, err)
	}
	values := map[string]int{}
	for _, c := range s.Conventions {
		values[c.Convention]++
	}
	lines := []string{}
	for _, c := range s.Conventions {
		if c.Source == "" {
			continue
		}
		_, set := settings[c.Convention]
		l := learned{Convention: c, Meaning: meaning(c), Contradicted: values[c.Convention] > 1, Set: set}
		view.Learned = append(view.Learned, l)
		if !l.Contradicted && !l.Set {
			lines = append(lines, l.Setting())
		}
	}
	delete(settings, "currency") // of the database
	delete(settings, "trust_rules")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		lines = append(lines, name+": "+yamlValue(settings[name]))
	}
	name := yamlText(s.Name)
	if s.Name == ledger.SourceManual { // it stands for no source of the settings
		name = "…"
	}
	view.Settings = "sources:\n  - name: " + name + "\n    path: …\n"
	for _, line := range lines {
		view.Settings += "    " + line + "\n"
	}
	return view, nil
}

// meaning shows a value as the convention reads it.
func meaning(c ledger.Convention) string {
	signs := map[string]string{"slash": "/", "dash": "-", "dot": "."}
	if sign := signs[c.Convention]; sign != "" {
		day := "2024-02-01"
		if c.Value == "mdy" {
			day = "2024-01-02"
		}
		return fmt.Sprintf("%s is %s", strings.Join([]string{"1", "2", "2024"}, sign), day)
	}
	if c.Value == "comma" {
		return "1,250 is 1.25, and 1.250 is 1250"
	}
	return "1,250 is 1250, and 1.250 is 1.25"
}

var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_/-]*$`)

// yamlValue is JSON as YAML, which has it as a part; words need no quotes.
func yamlValue(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return yamlText(text)
	}
	return string(value)
}

func yamlText(text string) string {
	words := []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
	if plainText.MatchString(text) && !slices.Contains(words, strings.ToLower(text)) {
		return text
	}
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string always encodes
	return strings.TrimSpace(quoted.String())
}
