package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/http"

	"github.com/opentax/tally/internal/chart"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/report"
)

// Policy is for pages with forms: scripts, styles and data from here only.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

//go:embed pages assets
var files embed.FS

// Pages are the service's pages, those of the API's docs too: one look for all.
type Pages struct{ templates map[string]*template.Template }

// Page is the content of the layout.
type Page struct {
	Title    string
	Path     string // of the menu's entry that it belongs to
	Viewer   Viewer
	Currency string
	Jobs     string // where River UI is
	Notice   string // of a change that was made
	Data     any
}

// Problem is an error for people.
type Problem struct {
	Status                         int
	Type, Title, Detail, RequestID string
}

// NewPages parses each page with the layout.
func NewPages() (*Pages, error) {
	names, err := files.ReadDir("pages")
	if err != nil {
		return nil, fmt.Errorf("list the console's pages: %w", err)
	}
	p := &Pages{map[string]*template.Template{}}
	for _, file := range names {
		name := file.Name()
		p.templates[name], err = template.New(name).Funcs(functions()).ParseFS(files, "pages/layout.html", "pages/"+name)
		if err != nil {
			return nil, fmt.Errorf("parse the console's page %s: %w", name, err)
		}
	}
	return p, nil
}

// Mount adds the styles and scripts.
func (p *Pages) Mount(mux *http.ServeMux) {
	for _, name := range []string{"page.css", "console.js", "start.js"} {
		mux.HandleFunc("GET "+Prefix+name, func(w http.ResponseWriter, r *http.Request) {
			if name == "page.css" { // after that of reports
				w.Header().Set("Content-Type", "text/css; charset=utf-8")
				_, _ = io.WriteString(w, report.StyleSheet()) // a client that is gone needs no answer
				own, _ := files.ReadFile("assets/" + name)
				_, _ = w.Write(own)
				charts, _ := chart.StyleSheet() // a constant, which its tests make
				_, _ = io.WriteString(w, charts)
				return
			}
			http.ServeFileFS(w, r, files, "assets/"+name)
		})
	}
}

// Render makes a page.
func (p *Pages) Render(file string, page Page) ([]byte, error) { return p.part(file, "layout", page) }

// part makes a part of a page.
func (p *Pages) part(file, name string, data any) ([]byte, error) {
	var body bytes.Buffer
	if err := p.templates[file].ExecuteTemplate(&body, name, data); err != nil {
		return nil, fmt.Errorf("make the page %s: %w", file, err)
	}
	return body.Bytes(), nil
}

// Write answers with a page.
func (p *Pages) Write(w http.ResponseWriter, status int, file string, page Page) error {
	body, err := p.Render(file, page)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", Policy)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
	return nil
}

// WriteProblem answers with the page of an error.
func (p *Pages) WriteProblem(w http.ResponseWriter, problem Problem) {
	if p.Write(w, problem.Status, "error.html", Page{Title: problem.Title, Data: problem}) != nil {
		http.Error(w, problem.Detail, problem.Status)
	}
}

// Menu is the navigation, in order.
func (Page) Menu() []Entry {
	return []Entry{
		{Root, "Tonight"},
		{"/console/nights", "Nights"},
		{"/console/rejects", "Rejects"},
		{usersPath, "Users"},
		{totalsPath, "Totals"},
		{sourcesPath, "Sources"},
		{healthPath, "Health"},
		{DropPath, "Drop a file"},
	}
}

// Entry is a page of the navigation.
type Entry struct{ Path, Name string }

// With is the frame of a part of the page, with data of its own.
func (p Page) With(data any) Page {
	p.Data = data
	return p
}

// Money writes an amount with its currency.
func (p Page) Money(amount money.Sum) string { return amountText(amount, p.Currency) }
