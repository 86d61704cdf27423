package client

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/outbound"
)

// thief is another server, which counts the tokens and passwords that reach it.
func thief(t *testing.T) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var got atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Auth-Token") != "" || strings.Contains(string(b), "secret") {
			got.Add(1)
		}
	}))
	t.Cleanup(s.Close)
	return s, &got
}

// TestHostileSite: whatever a site answers, the token stays with it, and the answer is an error in
// bounded time and memory.
func TestHostileSite(t *testing.T) {
	other, stolen := thief(t)
	page := func(w http.ResponseWriter, next string) {
		fmt.Fprintf(w, `{"ports":[{"id":"1"}],"ports_links":[{"rel":"next","href":%q}]}`, next)
	}
	n := 0
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"next page elsewhere": {func(w http.ResponseWriter, _ *http.Request) { page(w, other.URL+"/v2.0/ports?marker=1") }, "the next page is at http://127.0.0.1:"},
		"next page by //":     {func(w http.ResponseWriter, _ *http.Request) { page(w, "//evil.example/v2.0/ports") }, "the next page is at http://evil.example:80"},
		"next page by a file": {func(w http.ResponseWriter, _ *http.Request) { page(w, "file:///etc/passwd") }, "the next page is at file://"},
		"next page as user":   {func(w http.ResponseWriter, r *http.Request) { page(w, "http://"+r.Host+"@evil.example/") }, "the next page is at http://evil.example:80"},
		"no URL":              {func(w http.ResponseWriter, _ *http.Request) { page(w, "http://[::1") }, "the link to the next page"},
		"a circle":            {func(w http.ResponseWriter, _ *http.Request) { page(w, "/v2.0/ports?marker=1") }, "lead in a circle"},
		"endless pages": {func(w http.ResponseWriter, r *http.Request) {
			n++
			page(w, fmt.Sprintf("http://%s/v2.0/ports?marker=%d", r.Host, n))
		}, "more than 1000 pages"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, "redirects to another server"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for err == nil {
				_, err = io.WriteString(w, strings.Repeat(" ", 64<<10))
			}
		}, "the answer is too large"},
		"many values": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"ports":[`+strings.Repeat("{},", limits.Values/2)+`{}]}`)
		}, "the answer is too large"},
		"many values on pages": {func(w http.ResponseWriter, r *http.Request) {
			n++
			fmt.Fprintf(w, `{"ports":[{"x":[%s1]}],"ports_links":[{"rel":"next","href":"http://%s/v2.0/ports?marker=%d"}]}`, strings.Repeat("1,", limits.Values/8), r.Host, n)
		}, fmt.Sprintf("or %d values", limits.Values)},
		"no JSON":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><body>Sign in</body></html>") }, "is no JSON: is this a Neutron API?"},
		"long error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); endlessX(w) }, "x… (HTTP 500)"},
		"large headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", outbound.MaxHeader))
		}, "exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.answer = c.answer
			cl, err := New(t.Context(), Options{Endpoint: cloud.URL, Token: "secret"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := cl.List(t.Context(), Ports, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d ports, %v", len(got), err)
			}
			if err != nil && IsTemporary(err) && Status(err) == 0 && name != "large headers" {
				t.Errorf("it would be asked again: %v", err)
			}
		})
	}
	if stolen.Load() != 0 {
		t.Errorf("the token reached another server %d times", stolen.Load())
	}
}

func endlessX(w io.Writer) {
	var err error
	for err == nil {
		_, err = io.WriteString(w, strings.Repeat("x", 64<<10))
	}
}

// TestSlowList: pages that come one by one, each in time, end with the time of the list.
func TestSlowList(t *testing.T) {
	cloud := newCloud(t)
	n := 0
	cloud.answer = func(w http.ResponseWriter, r *http.Request) {
		n++
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
		fmt.Fprintf(w, `{"ports":[],"ports_links":[{"rel":"next","href":"/v2.0/ports?marker=%d"}]}`, n)
	}
	cl, err := New(t.Context(), Options{Endpoint: cloud.URL, Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.List(t.Context(), Ports, nil); err == nil || !strings.Contains(err.Error(), "list the ports: it took too long") && !strings.Contains(err.Error(), "no answer came in time") {
		t.Error(err)
	}
}

// TestRedirectedChange: a redirect that makes a GET of a change is no success of the change.
func TestRedirectedChange(t *testing.T) {
	cloud := newCloud(t)
	cloud.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.Redirect(w, r, "/v2.0/elsewhere", http.StatusFound)
			return
		}
		fmt.Fprint(w, `{"port":{"id":"p"}}`)
	}
	cl := fixedClient(t, cloud)
	if err := cl.Delete(t.Context(), Ports, "p"); err == nil || IsUnanswered(err) {
		t.Errorf("a delete: %v", err)
	}
	if _, err := cl.Create(t.Context(), Ports, Attrs{}); err == nil {
		t.Error("a create was taken for done")
	}
}

// secureKeystone speaks TLS, and says where the network service is; discover is its own place in its
// document of versions.
func secureKeystone(t *testing.T, network, discover string) (url, ca string) {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v3/auth/tokens":
			w.Header().Set("X-Subject-Token", "issued")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token":{"expires_at":"2099-01-01T00:00:00.000000Z","methods":["password"],"user":{"id":"u"},
				"catalog":[{"type":"network","name":"neutron","id":"n","endpoints":[{"interface":"public","region":"R","region_id":"R","url":%q,"id":"e"}]}]}}`, network)
		default:
			where := discover
			if where == "" {
				where = s.URL
			}
			fmt.Fprintf(w, `{"versions":{"values":[{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"%s/v3/"}]}]}}`, where)
		}
	}))
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, ca
}

// TestCatalogWithoutTLS: where Keystone speaks TLS, neither the password nor the token goes without.
// Another host in the catalog is usual.
func TestCatalogWithoutTLS(t *testing.T) {
	other, stolen := thief(t)
	network := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/gateway_devices") {
			fmt.Fprint(w, `{"gateway_devices":[]}`)
			return
		}
		fmt.Fprintf(w, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":%q}]}]}`, other.URL+"/v2.0/")
	}))
	t.Cleanup(network.Close)
	logIn := func(network, discover, override string) (*Client, error) {
		keystone, ca := secureKeystone(t, network, discover)
		a := access{authType: authPassword, iface: "public", override: override, tls: tlsFiles{ca: ca}, auth: map[string]string{
			"auth_url": keystone, "username": "u", "password": "secret", "user_domain_id": "default", "project_id": "p",
		}}
		// Both servers have the same certificate.
		return a.connect(t.Context(), time.Minute)
	}
	for name, c := range map[string]struct{ network, discover string }{
		"catalog":   {other.URL, ""},
		"discovery": {network.URL, other.URL},
	} {
		_, err := logIn(c.network, c.discover, "")
		var h interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), "is without TLS") || !errors.As(err, &h) || h.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if stolen.Load() != 0 {
		t.Errorf("password or token went without TLS %d times", stolen.Load())
	}
	cl, err := logIn(network.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.List(t.Context(), GatewayDevices, nil); err != nil {
		t.Error(err)
	}
	if stolen.Load() != 0 {
		t.Error("the network service's document of versions led elsewhere")
	}
	// What the user names is the user's to decide.
	if cl, err = logIn(network.URL, "", other.URL); err != nil || cl.Endpoint() != other.URL+"/" {
		t.Errorf("override: %v", err)
	}
}

// TestHints fit the error.
func TestHints(t *testing.T) {
	tlsSite := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(tlsSite.Close)
	asks := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	asks.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	asks.StartTLS()
	t.Cleanup(asks.Close)
	plain := newCloud(t)
	for name, c := range map[string]struct {
		options    Options
		says, hint string
		not        string
	}{
		"nobody here":          {Options{Endpoint: "http://127.0.0.1:1"}, "reach the API at 127.0.0.1:1: connection refused", "causeway controller --api-listen 127.0.0.1:1", ""},
		"no such name":         {Options{Endpoint: "http://api.invalid:9696"}, "reach the API at api.invalid:9696", "how the name is written", "causeway controller"},
		"no Keystone":          {Options{Getenv: env(map[string]string{"OS_AUTH_URL": "http://127.0.0.1:1/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_USER_DOMAIN_ID": "d"})}, "reach Keystone at 127.0.0.1:1", "nothing listens", "causeway controller"},
		"an unknown authority": {Options{Endpoint: tlsSite.URL}, "certificate", "OS_CACERT", "controller"},
		"no TLS there":         {Options{Endpoint: strings.Replace(plain.URL, "http:", "https:", 1)}, "HTTP", "begins with http://", "controller"},
		"TLS there":            {Options{Endpoint: strings.Replace(tlsSite.URL, "https:", "http:", 1)}, "HTTP", "begins with https://", "controller"},
		"a certificate wanted": {Options{Getenv: env(map[string]string{"OS_AUTH_TYPE": "none", "OS_ENDPOINT": asks.URL, "OS_INSECURE": "true"})}, "certificate required", "OS_CERT", "controller"},
	} {
		cl, err := New(t.Context(), c.options)
		if err == nil {
			_, err = cl.List(t.Context(), Ports, nil)
		}
		var h interface{ Hint() string }
		hint := ""
		if errors.As(err, &h) {
			hint = h.Hint()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(hint, c.hint) || c.not != "" && strings.Contains(hint, c.not) {
			t.Errorf("%s: %v\n%s", name, err, hint)
		}
	}
}

// TestPagesOfProxies: an error has words, not HTML.
func TestPagesOfProxies(t *testing.T) {
	for body, want := range map[string]string{
		"<html>\r\n<head><title>502 Bad\n Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center><hr>nginx</body></html>": "502 Bad Gateway (HTTP 502)",
		"<!DOCTYPE html><html><style>b{x:y}</style><body><p>No server is available &amp; ready</p><p>more</p></body></html>":                "No server is available & ready (HTTP 502)",
		"<html></html>":                "Bad Gateway (HTTP 502)",
		"upstream\nstack\ntrace":       "upstream (HTTP 502)",
		`{"message":"no"}`:             "no (HTTP 502)",
		`{"NeutronError":"no"}`:        "no (HTTP 502)",
		strings.Repeat("ä", 300):       strings.Repeat("ä", maxPage/2) + "… (HTTP 502)",
		`{"unknown":"` + "x" + `"}`:    `{"unknown":"x"} (HTTP 502)`,
		"":                             "Bad Gateway (HTTP 502)",
		`{"error":{"message":"gone"}}`: "gone (HTTP 502)",
	} {
		if got := apiError(502, []byte(body)).Error(); got != want {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
	}
}
