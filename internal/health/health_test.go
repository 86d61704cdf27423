package health

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func get(t *testing.T, h http.Handler, path string) (int, Answer) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	var a Answer
	if err := json.NewDecoder(w.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return w.Code, a
}

// TestServe: one check that fails is enough, is named, and the others are told with ?verbose.
func TestServe(t *testing.T) {
	var wrong error
	well := Check{"loop", "whether it comes round", func(context.Context) error { return nil }}
	store := Check{"store", "whether it answers", func(context.Context) error { return wrong }}
	mux := http.NewServeMux()
	Serve(mux, []Check{well}, []Check{well, store})
	if code, a := get(t, mux, "/readyz"); code != 200 || a.Status != "ok" || a.Checks != nil {
		t.Errorf("all well: %d %+v", code, a)
	}
	wrong = errors.New("no answer")
	if code, a := get(t, mux, "/readyz"); code != 503 || a.Status != "store: no answer" {
		t.Errorf("the store is away: %d %+v", code, a)
	}
	if code, a := get(t, mux, "/healthz"); code != 200 || a.Status != "ok" {
		t.Errorf("the process lives all the same: %d %+v", code, a)
	}
	code, a := get(t, mux, "/readyz?verbose")
	want := []Result{{"loop", "whether it comes round", "ok"}, {"store", "whether it answers", "no answer"}}
	if code != 503 || len(a.Checks) != 2 || a.Checks[0] != want[0] || a.Checks[1] != want[1] {
		t.Errorf("in detail: %d %+v", code, a)
	}
}
