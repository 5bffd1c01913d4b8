package api

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"

	"github.com/swaggest/swgui/v5emb"
)

const (
	docsPath        = "/docs"
	htmlContentType = "text/html; charset=utf-8"
	// contentPolicy keeps a page to this service: whatever a script or style
	// wanted from another host, the browser would refuse.
	contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

//go:embed console
var console embed.FS

// mountPages serves Swagger UI out of the program itself, with a page of our own
// around it (swgui's has inline scripts, which the policy refuses), and a page
// for each type of problem.
func mountPages(mux *http.ServeMux) error {
	for _, f := range [...]struct{ path, contentType, file string }{
		{docsPath, htmlContentType, "console/docs.html"},
		{docsPath + "/start.js", "text/javascript; charset=utf-8", "console/start.js"},
		{docsPath + "/page.css", "text/css; charset=utf-8", "console/page.css"},
	} {
		body, err := console.ReadFile(f.file)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.file, err)
		}
		mux.Handle("GET "+f.path, page(f.contentType, body))
	}
	mux.Handle("GET "+docsPath+"/{asset}", v5emb.New(documentTitle, documentPath+".json", docsPath))
	mux.Handle("GET "+docsPath+"/{$}", http.RedirectHandler(docsPath, http.StatusSeeOther))
	return mountProblemPages(mux)
}

func mountProblemPages(mux *http.ServeMux) error {
	pages, err := template.ParseFS(console, "console/problem*.html")
	if err != nil {
		return fmt.Errorf("parse the problems' pages: %w", err)
	}
	type entry struct {
		Type, Title, Help string
		Status            int
	}
	var all []entry
	for _, k := range kinds {
		all = append(all, entry{Type: k.uri(), Title: k.title, Help: k.help, Status: k.status})
	}
	write := func(path, name string, data any) error {
		var body bytes.Buffer
		if err := pages.ExecuteTemplate(&body, name, data); err != nil {
			return fmt.Errorf("render %s: %w", path, err)
		}
		mux.Handle("GET "+path, page(htmlContentType, body.Bytes()))
		return nil
	}
	for _, e := range all {
		if err := write(e.Type, "problem.html", e); err != nil {
			return err
		}
	}
	return write(problemsPath+"{$}", "problems.html", all)
}

// page answers with the same bytes every time, under the policy for pages.
func page(contentType string, body []byte) http.Handler {
	answer := constant(contentType, body)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", contentPolicy)
		answer.ServeHTTP(w, r)
	})
}
