package neutronapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/ratelimit"
)

// TestRate: each client has its own bucket, users by their identity, others by
// their address; who shows bad tokens runs out too.
func TestRate(t *testing.T) {
	now := time.Unix(0, 0)
	asked := 0
	s := newAuthServer(t, everyCaller(), func(o *neutronapi.Options) {
		o.Limiter = ratelimit.New(0.1, 2, func() time.Time { return now })
		inner := o.Authenticator
		o.Authenticator = counting{inner, &asked}
	})
	get := func(who string, want int) http.Header {
		t.Helper()
		status, out, h := s.callWith("GET", "/v2.0/networks", "", token(who))
		if status != want {
			t.Errorf("%s: %d, want %d", who, status, want)
		}
		if e, _ := out["NeutronError"].(map[string]any); status == 429 && e["type"] != "HTTPTooManyRequests" {
			t.Errorf("%v", out)
		}
		return h
	}
	get("a", 200)
	get("a", 200)
	if h := get("a", 429); h.Get("Retry-After") != "10" {
		t.Errorf("Retry-After: %s", h.Get("Retry-After"))
	}
	get("b", 200)
	get("nonsense", 401)
	get("nonsense", 401)
	asked = 0
	if get("nonsense", 429); asked != 0 {
		t.Error("a client without tokens left was asked about")
	}
	now = now.Add(10 * time.Second)
	get("a", 200)
	get("a", 429)
}

// TestRateByNetwork: addresses of one IPv6 network are one client, and no header that a
// client sends makes it another.
func TestRateByNetwork(t *testing.T) {
	s := newAuthServer(t, everyCaller(), func(o *neutronapi.Options) {
		o.Limiter = ratelimit.New(0.1, 2, func() time.Time { return time.Unix(0, 0) })
	})
	for i, x := range []struct {
		from string
		want int
	}{
		{"[2001:db8:0:1::1]:1", 401}, {"[2001:db8:0:1::2]:1", 401}, {"[2001:db8:0:1:ffff::3]:1", 429}, {"[2001:db8:0:2::1]:1", 401},
		{"192.0.2.1:1", 401}, {"[::ffff:192.0.2.1]:2", 401}, {"192.0.2.1:3", 429}, {"192.0.2.2:1", 401},
	} {
		r := httptest.NewRequest("GET", "/v2.0/networks", nil)
		r.RemoteAddr = x.from
		for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Client-Ip"} {
			r.Header.Set(name, fmt.Sprint("198.51.100.", i))
		}
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		if w.Code != x.want {
			t.Errorf("%s: %d, want %d", x.from, w.Code, x.want)
		}
	}
}

type counting struct {
	neutronapi.Authenticator
	asked *int
}

func (c counting) Authenticate(r *http.Request) (identity.Caller, error) {
	*c.asked++
	return c.Authenticator.Authenticate(r)
}

// TestObservations: what is told of requests, by outcome.
func TestObservations(t *testing.T) {
	var seen []neutronapi.Observation
	s := newAuthServer(t, everyCaller(), func(o *neutronapi.Options) {
		o.Observe = func(x neutronapi.Observation) { seen = append(seen, x) }
	})
	last := func(method, path, body, who string) neutronapi.Observation {
		t.Helper()
		s.callWith(method, path, body, token(who))
		o := seen[len(seen)-1]
		if o.Method != method || !strings.HasPrefix(o.RequestID, "req-") || !o.Client.IsValid() || o.Begin.IsZero() {
			t.Errorf("%+v", o)
		}
		return o
	}
	o := last("POST", "/v2.0/networks", `{"networks":[{"name":"a"},{"name":"b"}]}`, "a")
	if o.Status != 201 || o.Route != "/v2.0/networks" || o.Resource != "network" || len(o.IDs) != 2 || o.Caller.UserID != "u-a" {
		t.Errorf("a bulk: %+v", o)
	}
	id := o.IDs[0]
	for _, c := range []struct {
		method, path, body, who string
		status                  int
		route, resource         string
	}{
		{"GET", "/v2.0/networks/" + id, "", "a", 200, "/v2.0/networks/{id}", "network"},
		{"PUT", "/v2.0/networks/" + id, `{"network":{"name":"c"}}`, "a", 200, "/v2.0/networks/{id}", "network"},
		{"PUT", "/v2.0/networks/" + id, `{"network":{"mtu":"x"}}`, "a", 400, "/v2.0/networks/{id}", "network"},
		{"DELETE", "/v2.0/networks/" + id, "", "b", 404, "/v2.0/networks/{id}", "network"},
		{"PUT", "/v2.0/networks/" + id + "/tags/x", "", "a", 201, "/v2.0/networks/{id}/tags/{tag}", "network"},
		{"DELETE", "/v2.0/networks/" + id, "", "a", 204, "/v2.0/networks/{id}", "network"},
	} {
		o := last(c.method, c.path, c.body, c.who)
		if o.Status != c.status || o.Route != c.route || o.Resource != c.resource || !slices.Equal(o.IDs, []string{id}) {
			t.Errorf("%s %s: %+v", c.method, c.path, o)
		}
	}
	if o := last("DELETE", "/v2.0/nothing", "", "a"); o.Status != 404 || o.Route != "" {
		t.Errorf("%+v", o)
	}
	// What is refused before anything is looked at is told of with its route too.
	for who, status := range map[string]int{"nonsense": 401, "down": 503} {
		o := last("PUT", "/v2.0/networks/"+id, "{}", who)
		if o.Status != status || o.Caller.UserID != "" || o.Route != "/v2.0/networks/{id}" {
			t.Errorf("%+v", o)
		}
	}
	if o := last("POST", "/v2.0/nothing", "{}", "nonsense"); o.Status != 401 || o.Route != "" {
		t.Errorf("%+v", o)
	}
}
