package neutronapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
	a, _ := longList(t)
	for range cap(a.turns) {
		a.turns <- struct{}{}
	}
	short := httptest.NewRecorder()
	a.ServeHTTP(short, httptest.NewRequest(http.MethodGet, "/v2.0/ports?limit=10", nil))
	if short.Code != http.StatusOK {
		t.Errorf("a short list: %d", short.Code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.inTurn(ctx, true, func() { t.Error("done out of turn") }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for range cap(a.turns) {
		testutil.Receive(t, "a turn", a.turns)
	}
	func() {
		defer func() { _ = recover() }()
		_ = a.inTurn(t.Context(), true, func() { panic("a defect") })
	}()
	if len(a.turns) != 0 {
		t.Error("a defect keeps its turn")
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
		if len(a.turns) != 0 {
			t.Error("its turn is still taken")
		}
	}()
	a.ServeHTTP(gone{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/v2.0/ports", nil))
	t.Error("the list went on")
}
