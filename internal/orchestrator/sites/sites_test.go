package sites

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/testutil"
)

func connect(t *testing.T, a peering.Access, o Options) *Conn {
	t.Helper()
	o.Getenv = func(string) string { return "" }
	c, err := Connect(t.Context(), a, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAccess: the file alone says where a site is and who asks.
func TestAccess(t *testing.T) {
	t.Setenv("OS_TOKEN", "of the environment")
	t.Setenv("OS_AUTH_TYPE", "admin_token")
	var token, path atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token.Store(r.Header.Get("X-Auth-Token"))
		path.Store(r.URL.Path)
		fmt.Fprint(w, `{"extensions":[]}`)
	}))
	t.Cleanup(srv.Close)
	for _, tc := range []struct {
		access peering.Access
		want   string
	}{
		{peering.Access{Endpoint: srv.URL}, "notused"},
		{peering.Access{Endpoint: srv.URL + "/v2.0", Auth: map[string]string{"token": "secret"}}, "secret"},
	} {
		c := connect(t, tc.access, Options{})
		if _, err := c.Extensions(t.Context()); err != nil {
			t.Fatal(err)
		}
		if token.Load() != tc.want || path.Load() != "/v2.0/extensions" {
			t.Errorf("%+v: token %v, path %v", tc.access, token.Load(), path.Load())
		}
	}
	for name, c := range map[string]struct {
		access peering.Access
		says   string
	}{
		"no such cloud":          {peering.Access{Cloud: "nowhere"}, "no clouds.yaml in"},
		"a token that is wanted": {peering.Access{Endpoint: srv.URL, Auth: map[string]string{"type": "admin_token"}}, "auth.type=admin_token needs endpoint and auth.token"},
		"an unknown type":        {peering.Access{Endpoint: srv.URL, Auth: map[string]string{"type": "v2password"}}, "auth.type=v2password: not one of"},
		"an unknown interface":   {peering.Access{Auth: map[string]string{"auth_url": srv.URL, "interface": "inside"}}, `auth.interface: "inside" is not one of`},
	} {
		_, err := Connect(t.Context(), c.access, Options{Getenv: func(k string) string { return map[string]string{"HOME": t.TempDir()}[k] }})
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "OS_") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhereCloudsAre: of the environment all that says where clouds.yaml is counts, and nothing else.
func TestWhereCloudsAre(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"extensions":[]}`) }))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	text := fmt.Sprintf("clouds: {c: {auth_type: none, regions: [R], auth: {endpoint: %q}}}", srv.URL)
	if err := os.MkdirAll(filepath.Join(dir, "openstack"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "openstack", "clouds.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, where := range []map[string]string{{"OS_CLIENT_CONFIG_FILE": file}, {"XDG_CONFIG_HOME": dir}, {"XDG_CONFIG_DIRS": dir}} {
		vars := map[string]string{"HOME": t.TempDir(), "OS_REGION_NAME": "another", "OS_CLOUD": "another", "OS_CACERT": "/none"}
		maps.Copy(vars, where)
		if _, err := Connect(t.Context(), peering.Access{Cloud: "c"}, Options{Getenv: func(k string) string { return vars[k] }}); err != nil {
			t.Errorf("%v: %v", where, err)
		}
	}
}

// TestRetry: errors that may pass are tried again a bounded number of times, others
// are not.
func TestRetry(t *testing.T) {
	for _, tc := range []struct {
		status, fails int
		ok            bool
		want          int32
	}{
		{503, 2, true, 3}, {503, 99, false, 4}, {404, 99, false, 1}, {403, 99, false, 1}, {500, 1, true, 2}, {429, 9, true, 10},
	} {
		var requests atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if int(requests.Add(1)) <= tc.fails {
				w.WriteHeader(tc.status)
				return
			}
			fmt.Fprint(w, `{"tags":[]}`)
		}))
		c := connect(t, peering.Access{Endpoint: srv.URL}, Options{Attempts: 4, Backoff: time.Millisecond})
		_, err := c.RouterTags(t.Context(), "r")
		if (err == nil) != tc.ok || requests.Load() != tc.want {
			t.Errorf("%d, %d times: %d requests, %v", tc.status, tc.fails, requests.Load(), err)
		}
		srv.Close()
	}
	// The end of the caller ends the waiting.
	ctx, cancel := context.WithCancel(t.Context())
	c := &Conn{opts: Options{Backoff: time.Hour}.withDefaults(), slots: make(chan struct{}, 1)}
	tried, ended := make(chan struct{}, 9), make(chan error, 1)
	go func() {
		ended <- c.retry(ctx, 9, func(context.Context) error {
			tried <- struct{}{}
			return &client.APIError{Status: 503}
		})
	}()
	testutil.Receive(t, "the first try", tried)
	cancel()
	if err := testutil.Receive(t, "the end of the tries", ended); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestFound: a step tells where somebody else has made what it was to make. Where an answer was lost it may
// have been this one.
func TestFound(t *testing.T) {
	a := &plan.Action{Op: plan.Create, Kind: plan.Device, Attrs: plan.Attrs{"name": "n", "resource_id": "r"}}
	const there = `{"gateway_devices":[{"id":"there","name":"n","resource_id":"r"}]}`
	for _, tc := range []struct {
		name   string
		status []int // of the attempts to create it
		want   string
		found  bool
	}{
		{"made", []int{201}, "new", false},
		{"there before", []int{409}, "there", true},
		{"an answer was lost", []int{500, 409}, "there", false},
	} {
		n := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				fmt.Fprint(w, there)
				return
			}
			w.WriteHeader(tc.status[n])
			if n++; tc.status[n-1] == 201 {
				fmt.Fprint(w, `{"gateway_device":{"id":"new"}}`)
			}
		}))
		c := connect(t, peering.Access{Endpoint: srv.URL}, Options{Backoff: time.Millisecond})
		did, err := c.Do(t.Context(), a, func(r plan.Ref) string { return r.ID })
		if err != nil || did.ID != tc.want || did.Found != tc.found {
			t.Errorf("%s: %+v, %v", tc.name, did, err)
		}
		srv.Close()
	}
}

// TestParallel: a site never gets more requests at once than it should, and a
// lease's do not wait for them.
func TestParallel(t *testing.T) {
	var now, most atomic.Int32
	var reached sync.Once
	full, goOn := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2.0/routers/lease/tags" {
			fmt.Fprint(w, `{"tags":[]}`)
			return
		}
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 3 {
			reached.Do(func() { close(full) })
		}
		<-goOn
		now.Add(-1)
		fmt.Fprint(w, `{"extensions":[{"alias":"router"}]}`)
	}))
	t.Cleanup(srv.Close)
	c := connect(t, peering.Access{Endpoint: srv.URL}, Options{Parallel: 3})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := c.Extensions(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	testutil.Receive(t, "as many requests as there may be", full)
	if _, err := c.RouterTags(t.Context(), "lease"); err != nil {
		t.Error(err)
	}
	close(goOn)
	testutil.Wait(t, "the answers", all.Wait)
	if most.Load() != 3 {
		t.Errorf("%d requests at once", most.Load())
	}
}

func TestMissing(t *testing.T) {
	all := map[string]bool{"gateway-device": true, "l2-gateway": true, "l2-gateway-connection": true, "tag-ext": true}
	if err := missing(all); err != nil {
		t.Error(err)
	}
	if err := missing(nil); err != nil {
		t.Errorf("an API that does not say: %v", err)
	}
	delete(all, "tag-ext")
	if p := ProblemOf(missing(all)); p.Text != "the API lacks the extensions standard-attr-tag" || p.Hint == "" {
		t.Errorf("%+v", p)
	}
}

// TestCloudAlone: for a cloud of clouds.yaml the variables of the process say where that
// file is, and nothing that the file says. Nor do those that gophercloud reads itself.
func TestCloudAlone(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"http://%s/v2.0/"}]}]}`, r.Host)
	}))
	t.Cleanup(api.Close)
	keystone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", "token")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":{"expires_at":"2100-01-01T00:00:00.000000Z","catalog":[{"type":"network","endpoints":[
			{"interface":"public","region":"here","region_id":"here","url":%q},{"interface":"public","region":"elsewhere","region_id":"elsewhere","url":"http://127.0.0.1:1"}]}]}}`, api.URL)
	}))
	t.Cleanup(keystone.Close)
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "clouds:\n  a:\n    region_name: here\n    auth: {auth_url: %s/v3, username: u, password: p, project_name: x, user_domain_id: d, project_domain_id: d}\n", keystone.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	t.Setenv("OS_REGION_NAME", "elsewhere")
	t.Setenv("OS_INTERFACE", "internal")
	c, err := Connect(t.Context(), peering.Access{Cloud: "a"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSuffix(c.Endpoint(), "/"); got != api.URL {
		t.Errorf("the API is at %s, want %s", got, api.URL)
	}
}
