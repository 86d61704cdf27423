package neutronapi_test

import (
	"encoding/json"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
)

// callers is an authenticator with a caller for each token.
type callers map[string]identity.Caller

func (c callers) Authenticate(r *http.Request) (identity.Caller, error) {
	if caller, ok := c[r.Header.Get("X-Auth-Token")]; ok {
		return caller, nil
	}
	if r.Header.Get("X-Auth-Token") == "down" {
		return identity.Caller{}, model.Errf(model.KindUnavailable, "ServiceUnavailable", "Keystone does not answer.")
	}
	return identity.Caller{}, model.Errf(model.KindUnauthenticated, "Unauthorized", "no")
}

func (callers) Challenge() string { return `Keystone uri="http://keystone.example:5000/v3"` }

// newAuthServer is newServer with an authenticator.
func newAuthServer(t testing.TB, c callers, edit ...func(*neutronapi.Options)) *server {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st := sitetest.New()
	s := site.New(st, site.Options{Logger: log})
	opts := neutronapi.Options{Logger: log, Authenticator: c}
	for _, e := range edit {
		e(&opts)
	}
	return &server{t: t, st: st, site: s, h: neutronapi.New(s, opts)}
}

func token(name string) http.Header { return http.Header{"X-Auth-Token": {name}} }

func TestUnauthenticated(t *testing.T) {
	s := newAuthServer(t, callers{"good": {ProjectID: "p", Roles: []string{"admin"}}})
	for _, path := range []string{"/v2.0/networks", "/v2.0", "/v2.0/", "/nowhere", "/v2.0/networks.json", "//v2.0/extensions"} {
		status, out, h := s.callWith("GET", path, "", token("bad"))
		e, _ := out["error"].(map[string]any)
		if status != 401 || e["title"] != "Unauthorized" || e["code"] != float64(401) {
			t.Errorf("%s: %d %v", path, status, out)
		}
		if got := h.Get("WWW-Authenticate"); got != `Keystone uri="http://keystone.example:5000/v3"` {
			t.Errorf("%s: challenge %q", path, got)
		}
	}
	if status, _, _ := s.callWith("GET", "/", "", token("bad")); status != 200 {
		t.Errorf("discovery without a token: %d", status)
	}
	if status, _, _ := s.callWith("POST", "/", "", token("bad")); status != 401 {
		t.Errorf("POST / without a token: %d", status)
	}
	if status, out, _ := s.callWith("GET", "/v2.0/networks", "", token("down")); status != 503 {
		t.Errorf("without Keystone: %d %v", status, out)
	}
	if status, _, _ := s.callWith("GET", "/v2.0/networks", "", token("good")); status != 200 {
		t.Errorf("with a token: %d", status)
	}
}

// What a request creates belongs to the caller's project.
func TestOwnerIsTheCaller(t *testing.T) {
	s := newAuthServer(t, callers{"p": {ProjectID: "p", Roles: []string{"admin"}}})
	status, out, _ := s.callWith("POST", "/v2.0/networks", `{"network":{}}`, token("p"))
	net, _ := out["network"].(map[string]any)
	if status != 201 || net["project_id"] != "p" || net["tenant_id"] != "p" {
		t.Errorf("%d %v", status, out)
	}
}

// A caller goes with the context of the request, with the request's id.
func TestCallerInContext(t *testing.T) {
	var got identity.Caller
	extra := func(r *http.Request) (any, error) {
		var ok bool
		if got, ok = identity.From(r.Context()); !ok || !strings.HasPrefix(got.RequestID, "req-") {
			t.Error("no caller with the request's id")
		}
		return nil, nil
	}
	with := func(o *neutronapi.Options) {
		o.Extra = []neutronapi.Extra{{Method: "GET", Path: "/v2.0/extra", Name: "extra", Reply: &openapi.Schema{}, Answer: extra}}
	}
	s := newAuthServer(t, callers{"p": {UserID: "u", ProjectID: "p", Roles: []string{"admin"}}}, with)
	if s.callWith("GET", "/v2.0/extra", "", token("p")); got.UserID != "u" {
		t.Errorf("caller %+v", got)
	}
	open := newAuthServer(t, nil, with, func(o *neutronapi.Options) { o.Authenticator = nil })
	if open.callWith("GET", "/v2.0/extra", "", nil); !got.Admin || got.ProjectID != neutronapi.DefaultProject || got.Method != "none" {
		t.Errorf("caller without authentication: %+v", got)
	}
}

func projectID(s string) model.ProjectID { return model.ProjectID(s) }

func mapKeys(m map[string]string) iter.Seq[string] { return maps.Keys(m) }

func text(o object) string {
	b, _ := json.Marshal(o)
	return string(b)
}

// FuzzWithoutToken asks for whatever without a token: only what is for everybody is
// answered otherwise than with 401, however the path is written.
func FuzzWithoutToken(f *testing.F) {
	for _, x := range []string{"/", "//", "/.", "/..", "/.json", "/openapi.json", "/openapi.json/", "//openapi.json", "/%6fpenapi.json", "/openapi.json%2f..%2fv2.0",
		"/v2.0/networks/../../openapi.json", "/v2.0/networks/..%2f..%2fopenapi.json", "/openapi.json/../v2.0/networks", "/openapi.json.json", "/v2.0/networks?x=/openapi.json",
		"*", "http://site/v2.0", "/v2.0/networks/%00", "/%2f", "/;/v2.0", "/v2.0//networks", "/V2.0/networks", "/?/v2.0/networks"} {
		for _, method := range []string{"GET", "POST", "HEAD", "CONNECT", "OPTIONS"} {
			f.Add(method, x)
		}
	}
	route, path := "", ""
	s := newAuthServer(f, everyCaller(), func(o *neutronapi.Options) {
		o.Observe = func(x neutronapi.Observation) { route, path = x.Route, x.Path }
	})
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, &http.Request{Method: method, URL: u, Host: "site", Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1"})
		public := (route == "/{$}" || route == "/openapi.json") && (method == "GET" || method == "HEAD") && w.Code == 200
		// Slashes and the like are made one by ServeMux, for what is there for everybody.
		moved := w.Code/100 == 3 && (w.Header().Get("Location") == "/" || w.Header().Get("Location") == "/openapi.json")
		if w.Code != 401 && !public && !moved {
			t.Errorf("%s %s: %d by %q of %q, %v: %s", method, target, w.Code, route, path, w.Header(), w.Body)
		}
	})
}
