package neutronapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/testutil"
)

// longList makes an API with ports enough for many pieces of a list.
func longList(t *testing.T) (*API, int) {
	t.Helper()
	a := newTestAPI()
	post := func(path, body string) string {
		t.Helper()
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		if w.Code != http.StatusCreated {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	var net struct{ Network struct{ ID string } }
	if err := json.Unmarshal([]byte(post("/v2.0/networks", `{"network":{}}`)), &net); err != nil {
		t.Fatal(err)
	}
	const each, n = 200, 1000
	port := `{"network_id":"` + net.Network.ID + `","name":"<&>é"}`
	for range n / each {
		post("/v2.0/ports", `{"ports":[`+strings.TrimSuffix(strings.Repeat(port+",", each), ",")+`]}`)
	}
	return a, n
}

// A list made in pieces is whole, with its links, and in order.
func TestLongListIsWhole(t *testing.T) {
	a, n := longList(t)
	for query, want := range map[string]int{"": n, "?limit=999": 999, "?limit=50": 50, "?sort_key=name&sort_dir=desc": n} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2.0/ports"+query, nil))
		var out struct {
			Ports []struct{ ID, Name string }
			Links []link `json:"ports_links"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Ports) != want || (len(out.Links) > 0) != strings.Contains(query, "limit") || out.Ports[0].Name != "<&>é" {
			t.Errorf("%q: %d ports, %d links", query, len(out.Ports), len(out.Links))
		}
		for i := 1; i < len(out.Ports); i++ {
			if out.Ports[i-1].ID >= out.Ports[i].ID {
				t.Fatalf("%q: out of order at %d", query, i)
			}
		}
	}
}

// TestTurns: while all turns for long lists are taken, short requests are served,
// and a client that goes gives up its place.
func TestTurns(t *testing.T) {
	a, n := longList(t)
	release := holdAll(t, a.gates.turns, "others")
	short := httptest.NewRecorder()
	a.ServeHTTP(short, httptest.NewRequest(http.MethodGet, "/v2.0/ports?limit=10", nil))
	if short.Code != http.StatusOK {
		t.Errorf("a short list: %d", short.Code)
	}
	get := func(ctx context.Context, query string) <-chan *httptest.ResponseRecorder {
		done := make(chan *httptest.ResponseRecorder, 1)
		go func() {
			w := httptest.NewRecorder()
			defer func() {
				if p := recover(); p != nil && (p != http.ErrAbortHandler || ctx.Err() == nil) {
					t.Error(p)
				}
				done <- w
			}()
			a.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/v2.0/ports"+query, nil))
		}()
		return done
	}
	waiting := func(n int) {
		t.Helper()
		testutil.Eventually(t, "the long lists to wait", func() bool { return a.gates.turns.Waiting() == n })
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := get(ctx, "")
	waiting(1)
	cancel()
	testutil.Receive(t, "the end of who gave up", gone)
	var lists []<-chan *httptest.ResponseRecorder
	for _, query := range []string{"", "?sort_key=name&sort_dir=asc", "?name=none"} {
		lists = append(lists, get(t.Context(), query))
	}
	waiting(len(lists))
	release()
	for i, l := range lists {
		w := testutil.Receive(t, "a list", l)
		if got := strings.Count(w.Body.String(), `"network_id"`); w.Code != http.StatusOK || i < 2 && got != n {
			t.Errorf("list %d: %d, %d ports", i, w.Code, got)
		}
	}
	idle(t, a)
}

// idle checks that nothing is held any more.
func idle(t *testing.T, a *API) {
	t.Helper()
	for name, g := range map[string]*fair.Gate{"bodies": a.gates.bodies, "memory": a.gates.memory, "reads": a.gates.reads, "writes": a.gates.writes, "turns": a.gates.turns} {
		if g.Held() != 0 || g.Waiting() != 0 {
			t.Errorf("%s: %d held, %d wait", name, g.Held(), g.Waiting())
		}
	}
}

// gone is a client that reads a piece and goes.
type gone struct{ *httptest.ResponseRecorder }

func (g gone) Write(b []byte) (int, error) {
	if g.Body.Len() > 0 {
		return 0, errors.New("broken pipe")
	}
	return g.ResponseRecorder.Write(b)
}

// A client that goes in the middle of a list ends it.
func TestClientGoes(t *testing.T) {
	a, _ := longList(t)
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("%v", p)
		}
		idle(t, a)
	}()
	a.ServeHTTP(gone{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/v2.0/ports", nil))
	t.Error("the list went on")
}
