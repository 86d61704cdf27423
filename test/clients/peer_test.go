package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// peerSite is a site of a peering whose API is in the catalog of Keystone.
type peerSite struct {
	name, region string
	url          string // of what stands before the API

	mu sync.Mutex
	// between, if not nil, sees each request before the API does.
	between func(*http.Request)
}

// peerSite starts a site that has a tenant's router and a gateway device. Its tunnel IP
// and its tenant's network have n in them.
func (k *keystone) peerSite(t *testing.T, name string, n int, args ...string) *peerSite {
	t.Helper()
	target, err := url.Parse(k.controller(t, args...))
	if err != nil {
		t.Fatal(err)
	}
	s := &peerSite{name: name, region: "Region-" + name}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		between := s.between
		s.mu.Unlock()
		if between != nil {
			between(r)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.url = front.URL
	k.newRegion(t, s.region)
	k.endpoint(t, "network", s.region, s.url)

	router := s.make(t, k, "routers", "router", object{"name": "tenant-router"})
	network := s.make(t, k, "networks", "network", object{"name": "tenant"})
	subnet := s.make(t, k, "subnets", "subnet", object{"network_id": network, "ip_version": 4, "cidr": fmt.Sprintf("10.0.%d.0/24", n)})
	s.call(t, k, http.MethodPut, "routers/"+router+"/add_router_interface", object{"subnet_id": subnet})
	vtep := s.make(t, k, "routers", "router", object{"name": "vtep"})
	s.make(t, k, "gw/gateway_devices", "gateway_device", object{
		"name": "gateway", "type": "router_vtep", "resource_id": vtep, "tunnel_ips": []string{fmt.Sprintf("200.200.0.%d", n)},
	})
	return s
}

func (s *peerSite) interpose(f func(*http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.between = f
}

// call makes a request as the administrator.
func (s *peerSite) call(t *testing.T, k *keystone, method, path string, body object) object {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	status, answer, _, err := send(t.Context(), method, s.url+"/v2.0/"+path, string(b), k.adminToken)
	if err != nil || status/100 != 2 {
		t.Fatalf("%s: %s %s: %d %s %v", s.name, method, path, status, answer, err)
	}
	var out object
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *peerSite) make(t *testing.T, k *keystone, collection, key string, attrs object) string {
	t.Helper()
	made, _ := s.call(t, k, http.MethodPost, collection, object{key: attrs})[key].(map[string]any)
	return fmt.Sprint(made["id"])
}

// has is all that is at the site, but for what each change changes.
func (s *peerSite) has(t *testing.T, k *keystone) string {
	t.Helper()
	var out []string
	for _, collection := range []string{"networks", "subnets", "ports", "routers", "gw/gateway_devices", "l2-gateways", "l2-gateway-connections"} {
		for _, list := range s.call(t, k, http.MethodGet, collection, nil) {
			for _, o := range list.([]any) {
				o := o.(map[string]any)
				delete(o, "revision_number")
				delete(o, "updated_at")
				b, err := json.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, string(b))
			}
		}
	}
	return strings.Join(out, "\n")
}

// revoke ends a token, whoever has it. It may have ended with its account.
func (k *keystone) revoke(t *testing.T, token string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, k.url+"/auth/tokens", nil)
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("X-Auth-Token", k.adminToken)
	req.Header.Set("X-Subject-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotFound {
		t.Errorf("revoke a token: %s", resp.Status)
	}
}

// applicationCredential makes one of the administrator's.
func (k *keystone) applicationCredential(t *testing.T, name string) (path, id, secret string) {
	t.Helper()
	path = "/users/" + k.find(t, "user", "admin") + "/application_credentials"
	out, _ := k.call(t, http.MethodPost, path, object{"application_credential": object{"name": name}})
	made, _ := out["application_credential"].(map[string]any)
	id, secret = fmt.Sprint(made["id"]), fmt.Sprint(made["secret"])
	return path + "/" + id, id, secret
}

// peering is a peering of two sites: one is in clouds.yaml with a password, the other one
// has what its account needs in the file.
type peering struct {
	k       *keystone
	a, b    *peerSite
	dir     string
	beforeA string // what the sites have without it
	beforeB string
}

// passwordAccount is the administrator's account as a peering's file has it.
const passwordAccount = "username: admin, password: " + adminPassword + ", project_name: admin, user_domain_id: default, project_domain_id: default"

func (k *keystone) peering(t *testing.T, a, b *peerSite) *peering {
	t.Helper()
	p := &peering{k: k, a: a, b: b, dir: t.TempDir(), beforeA: a.has(t, k), beforeB: b.has(t, k)}
	p.clouds(t, adminPassword)
	return p
}

func (p *peering) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// clouds writes clouds.yaml.
func (p *peering) clouds(t *testing.T, password string) {
	t.Helper()
	p.write(t, "clouds.yaml", fmt.Sprintf(`clouds:
  a:
    region_name: %s
    auth: {auth_url: %s, username: admin, password: %s, project_name: admin, user_domain_id: default, project_domain_id: default}
`, p.a.region, p.k.url, password))
}

// file writes the peering's file, with what site b's account needs.
func (p *peering) file(t *testing.T, auth string) string {
	t.Helper()
	return p.write(t, "peering.yaml", fmt.Sprintf(`apiVersion: causeway/v1
kind: Peering
metadata: {name: acme}
spec:
  network: {cidr: 192.168.0.0/24, vni: 100}
  sites:
  - {name: %s, cloud: a, gateway: gateway, router: tenant-router}
  - {name: %s, auth: {auth_url: %s, region_name: %s, %s}, gateway: gateway, router: tenant-router}
`, p.a.name, p.b.name, p.k.url, p.b.region, auth))
}

// run runs causeway peer, with variables that belong to somebody else. It wants the exit
// code and returns what was printed.
func (p *peering) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"peer"}, args...)...)
	cmd.Env = []string{"HOME=" + p.dir, "OS_CLIENT_CONFIG_FILE=" + filepath.Join(p.dir, "clouds.yaml"),
		"OS_AUTH_URL=http://127.0.0.1:1/v3", "OS_USERNAME=mallory", "OS_PASSWORD=x", "OS_PROJECT_NAME=none", "OS_REGION_NAME=Nowhere", "OS_TOKEN=x"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("%v: %v, want exit code %d\n%s", args, err, code, out)
	}
	return string(out)
}

// apply makes the peering, which has to be made.
func (p *peering) apply(t *testing.T, file string) {
	t.Helper()
	says(t, p.run(t, 0, "apply", "--file", file, "--yes"), "acme: Everything is as the file says now")
}

// destroy takes back what there is of the peering; the sites have what they had before.
func (p *peering) destroy(t *testing.T, file string) string {
	t.Helper()
	out := p.run(t, 0, "destroy", "--file", file, "--yes")
	p.untouched(t)
	return out
}

func (p *peering) untouched(t *testing.T) {
	t.Helper()
	if got := p.a.has(t, p.k); got != p.beforeA {
		t.Errorf("site a has\n%s\nand had\n%s", got, p.beforeA)
	}
	if got := p.b.has(t, p.k); got != p.beforeB {
		t.Errorf("site b has\n%s\nand had\n%s", got, p.beforeB)
	}
}

func says(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("nothing says %q:\n%s", w, out)
		}
	}
}

// peerAccounts peers with each kind of account.
func (k *keystone) peerAccounts(t *testing.T) {
	p := k.peering(t, k.peerSite(t, "peer-a", 1), k.peerSite(t, "peer-b", 2))
	_, id, secret := k.applicationCredential(t, "of the file")
	for _, tc := range []struct{ name, auth string }{
		{"password", passwordAccount},
		{"application credential by id", "application_credential_id: " + id + ", application_credential_secret: " + secret},
		{"application credential by name", "application_credential_name: of the file, application_credential_secret: " + secret + ", username: admin, user_domain_id: default"},
		{"token", "token: " + k.token(t, "admin", adminPassword, "admin") + ", project_name: admin, project_domain_id: default"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := p.file(t, tc.auth)
			p.apply(t, f)
			says(t, p.run(t, 0, "status", "--file", f), "peering acme: in sync")
			says(t, p.destroy(t, f), "acme: Nothing of the peering is left")
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		f := p.file(t, strings.ReplaceAll(passwordAccount, adminPassword, "wrong"))
		out := p.run(t, 5, "apply", "--file", f, "--yes")
		says(t, out, "peer-b", k.url, "401")
		if strings.Contains(out, "peer-a:") {
			t.Errorf("the other site is blamed:\n%s", out)
		}
		p.clouds(t, "wrong")
		says(t, p.run(t, 5, "apply", "--file", p.file(t, passwordAccount), "--yes"), "peer-a", k.url, "401")
		p.untouched(t)
	})
}

// peerRevoked has accounts and tokens taken away in the middle of a run. The sites believe
// no token for longer than a request takes.
func (k *keystone) peerRevoked(t *testing.T) {
	site := func(name string, n int) *peerSite { return k.peerSite(t, name, n, "--keystone-cache-time", "0s") }
	p := k.peering(t, site("revoked-a", 3), site("revoked-b", 4))
	// The token that a request to site b bears is revoked on its way, once.
	revoked := func(t *testing.T, before func()) {
		var once sync.Once
		p.b.interpose(func(r *http.Request) {
			if r.Method != http.MethodPost {
				return
			}
			once.Do(func() {
				before()
				k.revoke(t, r.Header.Get("X-Auth-Token"))
			})
		})
		t.Cleanup(func() { p.b.interpose(nil) })
	}
	t.Run("token", func(t *testing.T) {
		f := p.file(t, passwordAccount)
		revoked(t, func() {})
		p.apply(t, f)
		p.destroy(t, f)
	})
	t.Run("account", func(t *testing.T) {
		path, id, secret := k.applicationCredential(t, "to be revoked")
		f := p.file(t, "application_credential_id: "+id+", application_credential_secret: "+secret)
		revoked(t, func() { k.call(t, http.MethodDelete, path, nil) })
		says(t, p.run(t, 1, "apply", "--file", f, "--yes"), "revoked-b", "401", "could not be taken back")
		p.destroy(t, p.file(t, passwordAccount))
	})
	t.Run("ended token", func(t *testing.T) {
		// Nobody can renew what came of a token that has ended.
		token := k.token(t, "admin", adminPassword, "admin")
		f := p.file(t, "token: "+token+", project_name: admin, project_domain_id: default")
		revoked(t, func() { k.revoke(t, token) })
		says(t, p.run(t, 1, "apply", "--file", f, "--yes"), "revoked-b", "401")
		p.destroy(t, p.file(t, passwordAccount))
	})
}
