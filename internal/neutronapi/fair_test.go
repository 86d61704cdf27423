package neutronapi

import (
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/testutil"
)

// members lets in members of the project that the token names; "none" is nobody's.
type members struct{}

func (members) Authenticate(r *http.Request) (identity.Caller, error) {
	project, role, _ := strings.Cut(r.Header.Get("X-Auth-Token"), "/")
	if project == "none" {
		return identity.Caller{}, model.Errf(model.KindUnavailable, "ServiceUnavailable", "nobody can say")
	}
	return identity.Caller{UserID: "u-" + project, ProjectID: model.ProjectID(project), Roles: []string{role}}, nil
}

func (members) Challenge() string { return "" }

func fairAPI() *API {
	log := slog.New(slog.DiscardHandler)
	return New(site.New(sitetest.New(), site.Options{Logger: log}), Options{Logger: log, Authenticator: members{}})
}

// as sends a request and returns the answer when it is there.
func (a *API) as(token, method, path string, body io.Reader) <-chan *httptest.ResponseRecorder {
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		r := httptest.NewRequest(method, path, body)
		r.Header.Set("X-Auth-Token", token)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		done <- w
	}()
	return done
}

func (a *API) wants(t *testing.T, what string, answer <-chan *httptest.ResponseRecorder, status int) *httptest.ResponseRecorder {
	t.Helper()
	w := testutil.Receive(t, what, answer)
	if w.Code != status {
		t.Errorf("%s: %d %s", what, w.Code, w.Body)
	}
	return w
}

// holdAll takes what one name may have of a gate.
func holdAll(t *testing.T, g *fair.Gate, who string) (release func()) {
	t.Helper()
	release, ok := g.Try(who, math.MaxInt64)
	if !ok {
		t.Fatal("somebody has some of it")
	}
	return release
}

// TestProjectsShareWork: while a project has as much in hand as it may, its next
// requests wait, and others' are served, reads and writes, small and large.
func TestProjectsShareWork(t *testing.T) {
	a := fairAPI()
	const network = `{"network":{}}`
	bulk := `{"networks":[` + strings.TrimSuffix(strings.Repeat(`{"name":"x"},`, 20), ",") + `]}`
	reads, writes := holdAll(t, a.gates.reads, "project busy"), holdAll(t, a.gates.writes, "project busy")
	read := a.as("busy/reader", "GET", "/v2.0/networks", nil)
	testutil.Eventually(t, "the project's read to wait", func() bool { return a.gates.reads.Waiting() == 1 })
	var late []<-chan *httptest.ResponseRecorder
	for i := range 12 {
		late = append(late, a.as("busy/member", "POST", "/v2.0/networks", strings.NewReader(network)))
		testutil.Eventually(t, "the project's requests to wait", func() bool { return a.gates.writes.Waiting() == i+1 })
	}
	a.wants(t, "another's list", a.as("quiet/member", "GET", "/v2.0/networks", nil), 200)
	a.wants(t, "another's create", a.as("quiet/member", "POST", "/v2.0/networks", strings.NewReader(network)), 201)
	a.wants(t, "another's bulk", a.as("quiet/member", "POST", "/v2.0/networks", strings.NewReader(bulk)), 201)
	if n := a.gates.writes.Waiting(); n != 12 {
		t.Errorf("%d of the project's requests wait", n)
	}
	writes()
	reads()
	a.wants(t, "the project's own list", read, 200)
	for _, l := range late {
		a.wants(t, "the project's own", l, 201)
	}
	idle(t, a)
}

// TestProjectsShareRoom is the same of room for large bodies, which is bounded for
// each project and in all, and for how long one waits for it.
func TestProjectsShareRoom(t *testing.T) {
	a := fairAPI()
	large := `{"network":{"name":"x"` + strings.Repeat(" ", 2*smallBody) + `}}`
	release := holdAll(t, a.gates.bodies, "project busy")
	own := a.as("busy/member", "POST", "/v2.0/networks", strings.NewReader(large))
	testutil.Eventually(t, "the project's body to wait", func() bool { return a.gates.bodies.Waiting() == 1 })
	a.wants(t, "another's large body", a.as("quiet/member", "POST", "/v2.0/networks", strings.NewReader(large)), 201)
	a.wants(t, "a small one of its own", a.as("busy/member", "POST", "/v2.0/networks", strings.NewReader(`{"network":{}}`)), 201)
	// Who may not create reads that, and waits for nothing.
	a.wants(t, "a reader's", a.as("busy/reader", "POST", "/v2.0/networks", strings.NewReader(large)), 403)
	id := "3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f"
	for _, path := range []string{"networks/" + id, "networks/" + id + "/tags", "routers/" + id + "/add_extraroutes", "routers/" + id + "/add_router_interface", "subnetpools/" + id + "/add_prefixes"} {
		a.wants(t, path, a.as("busy/member", "PUT", "/v2.0/"+path, strings.NewReader(large)), 404)
	}
	release()
	a.wants(t, "the project's own", own, 201)
	idle(t, a)

	a.gates.bodies = fair.NewGate(fair.Options{Capacity: 1, Wait: 1})
	release = holdAll(t, a.gates.bodies, "others")
	defer release()
	w := a.wants(t, "a body without room", a.as("quiet/member", "POST", "/v2.0/networks", strings.NewReader(large)), 503)
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w = a.wants(t, "a token that nobody can judge", a.as("none", "GET", "/v2.0/networks", nil), 503)
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// A client that reads its answer slowly has no place among the requests worked on.
func TestSlowReaderHoldsNothing(t *testing.T) {
	a, _ := longList(t)
	hold, wrote := make(chan struct{}), make(chan struct{}, 100)
	for _, path := range []string{"/v2.0/ports", "/v2.0/ports?limit=1", "/v2.0/networks/none"} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.ServeHTTP(slow{httptest.NewRecorder(), wrote, hold}, httptest.NewRequest("GET", path, nil))
		}()
		testutil.Receive(t, "the begin of an answer", wrote)
		idle(t, a)
		hold <- struct{}{}
		if path == "/v2.0/ports" {
			close(hold)
		}
		testutil.Receive(t, "its end", done)
		if path == "/v2.0/ports" {
			hold = make(chan struct{})
		}
		for len(wrote) > 0 {
			<-wrote
		}
	}
}

type slow struct {
	*httptest.ResponseRecorder
	wrote chan<- struct{}
	hold  <-chan struct{}
}

func (s slow) Write(b []byte) (int, error) {
	s.wrote <- struct{}{}
	<-s.hold
	return s.ResponseRecorder.Write(b)
}

// TestMeasure: what is counted of a text is never less than what is made of it.
func TestMeasure(t *testing.T) {
	for text, want := range map[string]size{
		`{}`: {2, 1, 1}, `[[],[]]`: {5, 0, 2}, `{"a":[1,2,{"b":"c,{[\"\\"}]}`: {6, 2, 3}, `"\\"`: {1, 0, 0}, ``: {1, 0, 0}, `"`: {1, 0, 0}, `"\`: {1, 0, 0}, `]]{`: {2, 1, 0},
	} {
		if got := measure([]byte(text)); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// FuzzMeasure holds measure to what the decoder makes.
func FuzzMeasure(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":"c"}]}`, `[[[[]]]]`, `"\u0022,{"`, `{"a":{},"a":{}}`, "[\"\\\\\",{}]", `{"routers":[{},{}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if json.Unmarshal(b, &v) != nil {
			return
		}
		var count func(v any, depth int) size
		count = func(v any, depth int) size {
			out := size{values: 1, depth: depth}
			add := func(x any) {
				in := count(x, depth+1)
				out.values, out.objects, out.depth = out.values+in.values, out.objects+in.objects, max(out.depth, in.depth)
			}
			switch v := v.(type) {
			case []any:
				out.depth = depth + 1
				for _, x := range v {
					add(x)
				}
			case map[string]any:
				out.depth = depth + 1
				out.objects = 1
				for _, x := range v {
					add(x)
				}
			}
			return out
		}
		got, least := measure(b), count(v, 0)
		if got.values < least.values || got.objects < least.objects || got.depth < least.depth {
			t.Errorf("%q: %+v, and the decoder makes %+v", b, got, least)
		}
	})
}
