package api

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/http"

	"github.com/swaggest/swgui/v5emb"
)

const docsPath = "/docs"

//go:embed console
var console embed.FS

// mountPages serves the embedded Swagger UI with a page of our own (swgui's has inline scripts,
// which the policy forbids), and a page for each type of problem.
func mountPages(mux *http.ServeMux) error {
	for path, file := range map[string]string{"": "docs.html", "/start.js": "start.js", "/page.css": "page.css"} {
		mux.HandleFunc("GET "+docsPath+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(contentPolicyHeader, pagePolicy)
			http.ServeFileFS(w, r, console, "console/"+file)
		})
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
	mount := func(path, name string, data any) {
		var body bytes.Buffer
		err = cmp.Or(err, pages.ExecuteTemplate(&body, name, data))
		answer := constant("text/html; charset=utf-8", body.Bytes())
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(contentPolicyHeader, pagePolicy)
			answer.ServeHTTP(w, r)
		})
	}
	type entry struct {
		Type, Title, Help string
		Status            int
	}
	var all []entry
	for _, k := range kinds {
		e := entry{k.uri(), k.title, k.help, k.status}
		all = append(all, e)
		mount(e.Type, "problem.html", e)
	}
	mount(problemsPath+"{$}", "problems.html", all)
	return err
}
