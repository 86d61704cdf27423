// Package health answers over HTTP whether a process lives (/healthz) and whether it does
// its work (/readyz). An answer speaks of its checks alone: what none of them looks at may
// be as it likes.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Check is one thing that is looked at.
type Check struct {
	Name string
	Of   string                      // what is looked at, in words
	Look func(context.Context) error // nil: it is as it should be
}

// patience is how long all checks of an answer may take together. It is longer than what
// single checks give themselves.
const patience = 15 * time.Second

// Answer is what is answered: 200 where Status is "ok", else 503.
type Answer struct {
	// Status is "ok", or what is wrong, by check.
	Status string   `json:"status"`
	Checks []Result `json:"checks,omitempty"` // with ?verbose
}

// Result is what one check has found.
type Result struct {
	Name   string `json:"name"`
	Of     string `json:"of"`
	Status string `json:"status"` // "ok", or what is wrong
}

const ok = "ok"

// Serve adds /healthz and /readyz to mux.
func Serve(mux *http.ServeMux, live, ready []Check) {
	mux.HandleFunc("GET /healthz", handler(live))
	mux.HandleFunc("GET /readyz", handler(ready))
}

func handler(checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := look(r.Context(), checks)
		status := http.StatusOK
		if a.Status != ok {
			status = http.StatusServiceUnavailable
		}
		if !r.URL.Query().Has("verbose") {
			a.Checks = nil
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(a) // the client has gone if this fails
	}
}

// look makes all checks at once.
func look(ctx context.Context, checks []Check) Answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a := Answer{Status: ok, Checks: make([]Result, len(checks))}
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			a.Checks[i] = Result{c.Name, c.Of, ok}
			if err := c.Look(ctx); err != nil {
				a.Checks[i].Status = err.Error()
			}
		})
	}
	all.Wait()
	var wrong []string
	for _, c := range a.Checks {
		if c.Status != ok {
			wrong = append(wrong, c.Name+": "+c.Status)
		}
	}
	if len(wrong) > 0 {
		a.Status = strings.Join(wrong, "; ")
	}
	return a
}
