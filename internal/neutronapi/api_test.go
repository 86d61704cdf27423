package neutronapi_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi/openapitest"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
)

// server is an API over a store in memory, called without a network.
type server struct {
	t    testing.TB
	st   *sitetest.Store
	site *site.Site
	h    http.Handler

	checker *openapitest.Checker // see described
}

func newServer(t testing.TB) *server { return newLimitedServer(t, site.Limits{}) }

func newLimitedServer(t testing.TB, limits site.Limits) *server {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st := sitetest.New()
	s := site.New(st, site.Options{Logger: log, Limits: limits})
	return &server{t: t, st: st, site: s, h: neutronapi.New(s, neutronapi.Options{Logger: log})}
}

// reopened is the same store behind an API with other limits.
func (s *server) reopened(limits site.Limits) *server {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	rules := site.New(s.st, site.Options{Logger: log, Limits: limits})
	return &server{t: s.t, st: s.st, site: rules, h: neutronapi.New(rules, neutronapi.Options{Logger: log})}
}

// object is a decoded JSON object.
type object map[string]any

// call sends a request as the clients do and returns the status and the body.
func (s *server) call(method, path, body string) (int, object) {
	s.t.Helper()
	status, out, _ := s.callWith(method, path, body, nil)
	return status, out
}

func (s *server) callWith(method, path, body string, header http.Header) (int, object, http.Header) {
	s.t.Helper()
	req := httptest.NewRequest(method, "http://site"+path, strings.NewReader(body))
	req.Header.Set("X-Auth-Token", "notused")
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header[k] = v
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, req)
	s.checkDescribed(method, path, body, w.Code, w.Body.Bytes())
	var out object
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			s.t.Fatalf("%s %s: reply is no JSON: %s", method, path, w.Body)
		}
	}
	if id := w.Header().Get("X-Openstack-Request-Id"); !strings.HasPrefix(id, "req-") {
		s.t.Errorf("%s %s: request id %q", method, path, id)
	}
	return w.Code, out, w.Header()
}

// want is call with the status that must come; it returns the object inside.
func (s *server) want(status int, method, path, body string) object {
	s.t.Helper()
	got, out := s.call(method, path, body)
	if got != status {
		s.t.Fatalf("%s %s %s: status %d, want %d: %v", method, path, body, got, status, out)
	}
	if len(out) == 1 {
		for _, v := range out {
			if m, ok := v.(map[string]any); ok {
				return m
			}
		}
	}
	return out
}

// post creates and returns the id.
func (s *server) post(path, body string) string {
	s.t.Helper()
	return s.want(201, "POST", path, body).str("id")
}

// wantError checks status, type and a part of the message.
func (s *server) wantError(status int, typ, message, method, path, body string) {
	s.t.Helper()
	got, out := s.call(method, path, body)
	e, _ := out["NeutronError"].(map[string]any)
	if got != status || e["type"] != typ {
		s.t.Errorf("%s %s %.200s: %d %v, want %d %s", method, path, body, got, out, status, typ)
		return
	}
	if m, _ := e["message"].(string); !strings.Contains(m, message) {
		s.t.Errorf("%s %s %.200s: message %q, want %q in it", method, path, body, m, message)
	}
	if d, ok := e["detail"].(string); !ok || d != "" {
		s.t.Errorf("%s %s: detail %v", method, path, e["detail"])
	}
}

func (o object) str(key string) string {
	s, _ := o[key].(string)
	return s
}

func (o object) list(key string) []any {
	l, _ := o[key].([]any)
	return l
}

// fill replaces $name by values, so that bodies read as they are sent.
func fill(body string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(body) }
