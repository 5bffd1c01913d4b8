package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/swaggest/swgui/v5emb"

	"github.com/opentax/tally/api/console"
)

const docsPath = "/docs"

// mountPages serves the embedded Swagger UI with a page of our own (swgui's has inline scripts,
// which the policy forbids), and a page for each type of problem.
func (s *service) mountPages(mux *http.ServeMux) {
	s.pages.Mount(mux)
	mux.Handle("GET "+docsPath, s.still("docs.html", console.Page{Title: "API", Path: docsPath}))
	mux.Handle("GET "+docsPath+"/{asset}", v5emb.New(documentTitle, documentPath+".json", docsPath))
	mux.Handle("GET "+docsPath+"/{$}", http.RedirectHandler(docsPath, http.StatusSeeOther))
	s.mountProblemPages(mux)
}

func (s *service) mountProblemPages(mux *http.ServeMux) {
	type entry struct {
		Type, Title, Help string
		Status            int
	}
	var all []entry
	for _, k := range kinds {
		e := entry{k.uri(), k.title, k.help, k.status}
		all = append(all, e)
		mux.Handle("GET "+e.Type, s.still("problem.html", console.Page{Title: e.Title, Data: e}))
	}
	mux.Handle("GET "+problemsPath+"{$}", s.still("problems.html", console.Page{Title: "Types of problem", Data: all}))
}

// still answers with a page that is always the same.
func (s *service) still(file string, page console.Page) http.Handler {
	if s.Console != nil {
		page.Jobs = s.Console.Jobs
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.pages.Write(w, http.StatusOK, file, page); err != nil {
			s.problemOf(r.Context(), err).write(w)
		}
	})
}

// mountConsole serves the console, or leads to the docs where there is none.
func (s *service) mountConsole(mux *http.ServeMux) {
	if s.Console == nil {
		mux.Handle("GET /{$}", http.RedirectHandler(docsPath, http.StatusSeeOther))
		return
	}
	config := *s.Console
	config.Summaries, config.Receipt = s.Summaries, s.Proofs.Receipt
	config.Viewer = func(r *http.Request) console.Viewer {
		known := requestOf(r.Context())
		return console.Viewer{Name: known.actor, Origin: known.origin, Operator: known.operator}
	}
	config.Problem = func(ctx context.Context, err error) console.Problem {
		return s.problemOf(ctx, err).withRequestID(requestID(ctx)).page()
	}
	console.Mount(mux, s.pages, config)
}

// page is the problem for people.
func (p *Problem) page() console.Problem {
	return console.Problem{Status: p.Status, Type: p.Type, Title: p.Title, Detail: p.Detail, RequestID: p.RequestID}
}

// onPage reports whether a request is for a page of the console, whose errors are pages too.
func (s *service) onPage(r *http.Request) bool {
	return s.Console != nil && (r.URL.Path == console.Root || strings.HasPrefix(r.URL.Path, console.Prefix))
}
