package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// cloud is a Keystone and a Neutron, as far as a client sees them at log-in.
type cloud struct {
	*httptest.Server
	t        *testing.T
	auth     []byte   // body of the last log-in
	requests []string // to Neutron
	tokens   []string
	answer   func(w http.ResponseWriter, r *http.Request)
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{t: t}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/v3/auth/tokens" && r.Method == http.MethodPost:
			c.auth, _ = io.ReadAll(r.Body)
			if strings.Contains(string(c.auth), "wrong") {
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprint(w, `{"error":{"code":401,"title":"Unauthorized","message":"The request you have made requires authentication."}}`)
				return
			}
			w.Header().Set("X-Subject-Token", "issued")
			w.WriteHeader(http.StatusCreated)
			var endpoints []string
			for _, e := range [][2]string{{"public", "/neutron"}, {"internal", "/neutron-internal"}} {
				for _, region := range []string{"RegionOne", "RegionTwo"} {
					endpoints = append(endpoints, fmt.Sprintf(`{"interface":%q,"region":%q,"region_id":%[2]q,"url":%q,"id":"e"}`, e[0], region, c.URL+e[1]+"/"+region))
				}
			}
			fmt.Fprintf(w, `{"token":{"expires_at":"2099-01-01T00:00:00.000000Z","methods":["password"],"user":{"id":"u","name":"u","domain":{"id":"default","name":"Default"}},
				"catalog":[{"type":"network","name":"neutron","id":"n","endpoints":[%s]}]}}`, strings.Join(endpoints, ","))
		case r.URL.Path == "/v3/" || r.URL.Path == "/v3":
			fmt.Fprintf(w, `{"version":{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"%s/v3/"}]}}`, c.URL)
		case r.URL.Path == "/" && c.answer == nil:
			fmt.Fprintf(w, `{"versions":{"values":[{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"%s/v3/"}]}]}}`, c.URL)
		case strings.HasPrefix(r.URL.Path, "/neutron") && strings.HasSuffix(r.URL.Path, "/"):
			// The document of versions, as Neutron has it.
			fmt.Fprintf(w, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"%s%sv2.0/"}]}]}`, c.URL, r.URL.Path)
		default:
			c.requests = append(c.requests, r.Method+" "+r.URL.String())
			c.tokens = append(c.tokens, r.Header.Get("X-Auth-Token"))
			if c.answer != nil {
				c.answer(w, r)
				return
			}
			fmt.Fprint(w, `{"gateway_devices":[]}`)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func env(vars map[string]string) func(string) string { return func(k string) string { return vars[k] } }

// scope digs in the body of a log-in.
func (c *cloud) dig(path ...string) any {
	var v any
	if err := json.Unmarshal(c.auth, &v); err != nil {
		c.t.Fatalf("log-in %q: %v", c.auth, err)
	}
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func TestKeystone(t *testing.T) {
	openrc := func(c *cloud, more ...string) map[string]string {
		m := map[string]string{
			"OS_AUTH_URL": c.URL + "/v3", "OS_USERNAME": "operator", "OS_PASSWORD": "secret",
			"OS_PROJECT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Users", "OS_PROJECT_DOMAIN_ID": "projects",
			"OS_REGION_NAME": "RegionOne",
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	t.Run("openrc", func(t *testing.T) {
		c := newCloud(t)
		cl, err := New(t.Context(), Options{Getenv: env(openrc(c))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cl.List(t.Context(), GatewayDevices, nil); err != nil {
			t.Fatal(err)
		}
		if got := c.requests; !slices.Equal(got, []string{"GET /neutron/RegionOne/v2.0/gw/gateway_devices"}) {
			t.Errorf("requests: %q", got)
		}
		if c.tokens[0] != "issued" {
			t.Errorf("token %q was sent, want the one that was issued", c.tokens[0])
		}
		if d := c.dig("auth", "identity", "password", "user", "domain", "name"); d != "Users" {
			t.Errorf("user's domain %v, want Users", d)
		}
		if d := c.dig("auth", "scope", "project", "domain", "id"); d != "projects" {
			t.Errorf("project's domain %v, want projects: %s", d, c.auth)
		}
	})
	t.Run("region and interface", func(t *testing.T) {
		c := newCloud(t)
		cl, err := New(t.Context(), Options{Getenv: env(openrc(c, "OS_REGION_NAME", "RegionTwo", "OS_INTERFACE", "internal"))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cl.List(t.Context(), GatewayDevices, nil); err != nil {
			t.Fatal(err)
		}
		if got := c.requests[0]; got != "GET /neutron-internal/RegionTwo/v2.0/gw/gateway_devices" {
			t.Errorf("request: %q", got)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		c := newCloud(t)
		_, err := New(t.Context(), Options{Getenv: env(openrc(c, "OS_PASSWORD", "wrong"))})
		var api *APIError
		if !errors.As(err, &api) || api.Status != 401 || !strings.Contains(err.Error(), "requires authentication") || api.Hint() == "" {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("no clouds.yaml", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "clouds.yaml")
		_, err := New(t.Context(), Options{Getenv: env(map[string]string{"OS_CLOUD": "east", "OS_CLIENT_CONFIG_FILE": path})})
		var out interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), "no clouds.yaml in "+path) || !errors.As(err, &out) || !strings.Contains(out.Hint(), "Give --endpoint") {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("clouds.yaml without auth", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "clouds.yaml")
		for _, rest := range []string{"    region_name: R\n", "    auth:\n", "    auth: {}\n"} {
			if err := os.WriteFile(path, []byte("clouds:\n  east:\n"+rest), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := New(t.Context(), Options{Getenv: env(map[string]string{"OS_CLOUD": "east", "OS_CLIENT_CONFIG_FILE": path})})
			if err == nil || !strings.Contains(err.Error(), "cloud east: auth.auth_url is missing") {
				t.Errorf("%q: %v", rest, err)
			}
		}
	})
	t.Run("clouds.yaml", func(t *testing.T) {
		c := newCloud(t)
		path := filepath.Join(t.TempDir(), "clouds.yaml")
		yaml := fmt.Sprintf("clouds:\n  east:\n    region_name: RegionTwo\n    auth:\n      auth_url: %s/v3\n      username: u\n      password: p\n      project_name: admin\n      user_domain_name: Default\n      project_domain_name: Default\n", c.URL)
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		cl, err := New(t.Context(), Options{Getenv: env(map[string]string{"OS_CLOUD": "east", "OS_CLIENT_CONFIG_FILE": path})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cl.List(t.Context(), GatewayDevices, nil); err != nil {
			t.Fatal(err)
		}
		if got := c.requests[0]; got != "GET /neutron/RegionTwo/v2.0/gw/gateway_devices" {
			t.Errorf("request: %q", got)
		}
	})
}

// TestNoAnswerInTime: the words are those of an operator, with a way out.
func TestNoAnswerInTime(t *testing.T) {
	over := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(over)
	cl, err := New(t.Context(), Options{Endpoint: srv.URL, Timeout: time.Second, Getenv: env(nil)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cl.List(t.Context(), Networks, nil)
	var h interface{ Hint() string }
	if err == nil || !strings.HasSuffix(err.Error(), ": no answer came in time") || !errors.As(err, &h) || h.Hint() == "" || !IsTemporary(err) {
		t.Errorf("%v", err)
	}
}

func fixedClient(t *testing.T, c *cloud) *Client {
	t.Helper()
	cl, err := New(t.Context(), Options{Endpoint: c.URL})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestListFollowsPages(t *testing.T) {
	c := newCloud(t)
	c.answer = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("marker") {
		case "":
			fmt.Fprintf(w, `{"ports":[{"id":"1"}],"ports_links":[{"rel":"next","href":"%s/v2.0/ports?marker=1"}]}`, c.URL)
		case "1":
			fmt.Fprint(w, `{"ports":[{"id":"2"}],"ports_links":[{"rel":"previous","href":"x"}]}`)
		}
	}
	got, err := fixedClient(t, c).List(t.Context(), Ports, nil)
	if err != nil || len(got) != 2 || ID(got[1]) != "2" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFind(t *testing.T) {
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	for _, tc := range []struct {
		name, arg, byID, byName string
		want                    string
		wantErr                 string
		requests                int
	}{
		{name: "id", arg: id, byID: `[{"id":"` + id + `"}]`, want: id, requests: 1},
		{name: "id as a name", arg: id, byID: `[]`, byName: `[{"id":"n"}]`, want: "n", requests: 2},
		{name: "name", arg: "web", byName: `[{"id":"n"}]`, want: "n", requests: 1},
		{name: "nothing", arg: "web", byName: `[]`, wantErr: `no router with the name or id "web"`, requests: 1},
		{name: "two", arg: "web", byName: `[{"id":"b"},{"id":"a"}]`, wantErr: "a, b", requests: 1},
		{name: "empty", arg: "", wantErr: `no router with the name or id ""`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloud(t)
			c.answer = func(w http.ResponseWriter, r *http.Request) {
				list := tc.byName
				if r.URL.Query().Has("id") {
					list = tc.byID
				}
				fmt.Fprintf(w, `{"routers":%s}`, list)
			}
			got, err := fixedClient(t, c).Find(t.Context(), Routers, tc.arg)
			if got != tc.want || (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("%q, %v", got, err)
			}
			if err != nil {
				var code interface{ ExitCode() int }
				if !errors.As(err, &code) || code.ExitCode() != 3 {
					t.Errorf("%v has not the exit code 3", err)
				}
			}
			if len(c.requests) != tc.requests {
				t.Errorf("requests: %q", c.requests)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		want   string
	}{
		{409, `{"NeutronError":{"type":"NetworkInUse","message":"Unable to complete","detail":""}}`, "Unable to complete (NetworkInUse, HTTP 409)"},
		{409, `{"NeutronError":{"type":"T","message":"M","detail":"D"}}`, "M (D) (T, HTTP 409)"},
		{503, `busy`, "busy (HTTP 503)"},
		{500, ``, "Internal Server Error (HTTP 500)"},
		{404, `{"NeutronError":{"type":"NetworkNotFound","message":"gone","detail":""}}`, "gone (NetworkNotFound, HTTP 404)"},
	} {
		c := newCloud(t)
		c.answer = func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tc.status)
			fmt.Fprint(w, tc.body)
		}
		_, err := fixedClient(t, c).Get(t.Context(), Networks, "x")
		if err == nil || err.Error() != tc.want {
			t.Errorf("%d %s: %v, want %s", tc.status, tc.body, err, tc.want)
		}
		if IsNotFound(err) != (tc.status == 404) {
			t.Errorf("%d: IsNotFound is %v", tc.status, IsNotFound(err))
		}
	}
	// What is no Neutron at all is said to be none.
	c := newCloud(t)
	c.answer = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"hello":1}`) }
	if _, err := fixedClient(t, c).Get(t.Context(), Networks, "x"); err == nil || !strings.Contains(err.Error(), "is this a Neutron API?") {
		t.Errorf("error: %v", err)
	}
}
