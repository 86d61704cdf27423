package controller

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/audit"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/pki"
	"github.com/causeway-net/causeway/internal/testutil"
)

// holder is a certificate and what each listener must say to it: "" takes it.
type holder struct {
	name        string
	by          *testutil.Certificate // default: the site's authority
	change      func(*x509.Certificate)
	api, agents string
	// The same where the authorities give the roles.
	apiByCA, agentsByCA string
}

func holders(other *testutil.Certificate) []holder {
	and := func(fs ...func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for _, f := range fs {
				f(c)
			}
		}
	}
	dns := func(c *x509.Certificate) { c.DNSNames = []string{"h0"} }
	expired := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	none, wrong, tlsError := "has no role", "has the role", "tls: "
	return []holder{
		{"operator", nil, testutil.Role("operator:alice"), "", wrong, "", wrong},
		{"host", nil, testutil.Role("host:h0"), wrong, "", wrong, ""},
		{"a common name alone", nil, nil, none, none, "", "a common name is not enough"},
		{"a DNS name alone", nil, dns, none, none, "", ""},
		{"two roles", nil, and(testutil.Role("operator:alice"), testutil.Role("host:h0")), "more than one role", "more than one role", "more than one role", "more than one role"},
		{"a role there is not", nil, testutil.Role("admin:alice"), "which there is not", "which there is not", "which there is not", "which there is not"},
		{"a role of nobody", nil, testutil.Role("operator:"), "is no name", "is no name", "is no name", "is no name"},
		{"a host of a strange name", nil, testutil.Role("host:a%2Fb"), "is no name", "is no name", "is no name", "is no name"},
		{"operator of another authority", other, testutil.Role("operator:alice"), tlsError, tlsError, tlsError, tlsError},
		{"host of another authority", other, testutil.Role("host:h0"), tlsError, tlsError, tlsError, tlsError},
		{"expired operator", nil, and(testutil.Role("operator:alice"), expired), tlsError, tlsError, tlsError, tlsError},
		{"expired host", nil, and(testutil.Role("host:h0"), expired), tlsError, tlsError, tlsError, tlsError},
	}
}

// TestRoles shows each certificate to each listener, with one authority for both and
// with roles in the certificates, and with an authority for each that gives the roles.
func TestRoles(t *testing.T) {
	for _, byCA := range []bool{false, true} {
		name := map[bool]string{false: "one authority", true: "roles by authority"}[byCA]
		t.Run(name, func(t *testing.T) { testRoles(t, byCA) })
	}
}

func testRoles(t *testing.T, byCA bool) {
	dir := socketDir(t)
	apiCA, other := testutil.SelfSigned(t, t.TempDir(), "api"), testutil.SelfSigned(t, t.TempDir(), "other")
	agentCA := apiCA
	if byCA {
		agentCA = testutil.SelfSigned(t, t.TempDir(), "agents")
	}
	auditPath := filepath.Join(dir, "audit.log")
	l := startWith(t, dir, func(c *config.Controller) {
		c.APITLS = config.TLSFiles{Cert: apiCA.CertFile, Key: apiCA.KeyFile, CA: apiCA.CAFile}
		c.AgentTLS = config.TLSFiles{Cert: agentCA.CertFile, Key: agentCA.KeyFile, CA: agentCA.CAFile}
		c.AgentListen, c.AgentSocket, c.API.AuditLog = "127.0.0.1:0", "", auditPath
		c.APIRole, c.AgentRole = config.RoleInCertificate, config.RoleInCertificate
		if byCA {
			c.APIRole, c.AgentRole = config.RoleByCA, config.RoleByCA
		}
	})
	for _, h := range holders(&other) {
		issue := func(by testutil.Certificate) testutil.Certificate {
			if h.by != nil {
				by = *h.by
			}
			return by.Issue(t, "cn-of-"+strings.ReplaceAll(h.name, " ", "-"), h.change)
		}
		wantAPI, wantAgents := h.api, h.agents
		if byCA {
			wantAPI, wantAgents = h.apiByCA, h.agentsByCA
		}
		c := issue(apiCA)
		status, body := ask(t, l, &tls.Config{RootCAs: apiCA.CA, Certificates: []tls.Certificate{c.TLS}})
		switch {
		case wantAPI == "" && status != http.StatusCreated,
			wantAPI == "tls: " && status != 0,
			wantAPI != "" && wantAPI != "tls: " && status != http.StatusForbidden,
			!strings.Contains(body, wantAPI):
			t.Errorf("%s at the API: %d %s; want %q", h.name, status, body, wantAPI)
		}
		a := issue(agentCA)
		got := comes(t, l, hostsync.TLSFiles{Cert: a.CertFile, Key: a.KeyFile, CA: agentCA.CAFile})
		switch {
		case wantAgents == "" && got != "", wantAgents != "" && got == "",
			// A refused handshake may show as a connection that ends.
			wantAgents != "tls: " && !strings.Contains(got, wantAgents):
			t.Errorf("%s at the agents' listener: %q; want %q", h.name, got, wantAgents)
		}
	}
	if status, body := ask(t, l, &tls.Config{RootCAs: apiCA.CA}); status != 0 {
		t.Errorf("without a certificate: %d %s", status, body)
	}
	wantAudit(t, auditPath, byCA)
}

// wantAudit: the line of each request names the certificate, and who holds it if it was
// taken.
func wantAudit(t *testing.T, path string, byCA bool) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]audit.Entry{}
	for line := range bytes.Lines(b) {
		var e audit.Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		got[e.Certificate] = e
	}
	if e := got["CN=cn-of-operator"]; e.User != "alice" || e.Authentication != "certificate" || e.Status != http.StatusCreated {
		t.Errorf("the operator's line: %+v", e)
	}
	if e := got["CN=cn-of-host"]; e.User != "" || e.Status != http.StatusForbidden {
		t.Errorf("the host's line: %+v", e)
	}
	want := ""
	if byCA {
		want = "cn-of-a-common-name-alone"
	}
	if e := got["CN=cn-of-a-common-name-alone"]; e.User != want || e.Certificate == "" {
		t.Errorf("the line of a common name alone: %+v", e)
	}
}

// ask asks for a change; status 0: there was no answer, and body is why.
func ask(t *testing.T, l *lab, c *tls.Config) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c}, Timeout: deadline}
	defer client.CloseIdleConnections()
	resp, err := client.Post("https://"+l.addrs.API.String()+"/v2.0/networks", "application/json", strings.NewReader(`{"network": {}}`))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// comes connects as an agent; "": it was let in, else what its log says.
func comes(t *testing.T, l *lab, files hostsync.TLSFiles) string {
	t.Helper()
	lines := make(chan string, 100)
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		select {
		case lines <- string(b):
		default:
		}
		return len(b), nil
	}), nil))
	client, err := hostsync.NewClient(hostsync.ClientOptions{Targets: []string{l.addrs.Agents.String()}, TLS: &files, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{Client: client, updates: make(chan received, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx, a) }()
	defer func() {
		cancel()
		if err := testutil.Receive(t, "the agent's end", done); err != nil {
			t.Error(err)
		}
	}()
	for {
		select {
		case <-a.updates:
			return ""
		case line := <-lines:
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				return line
			}
		case <-time.After(testutil.Patience):
			t.Fatal("the agent neither came in nor was refused")
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestSharedAuthority: where an authority gives a role, it is not the other listener's.
func TestSharedAuthority(t *testing.T) {
	one, two := testutil.SelfSigned(t, t.TempDir(), "one"), testutil.SelfSigned(t, t.TempDir(), "two")
	both := filepath.Join(t.TempDir(), "both.pem")
	var b []byte
	for _, c := range []testutil.Certificate{one, two} {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, pem...)
	}
	if err := os.WriteFile(both, b, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := func(api, agents, apiRole, agentRole string) (c config.Controller) {
		c.APITLS.CA, c.AgentTLS.CA, c.APIRole, c.AgentRole = api, agents, apiRole, agentRole
		return c
	}
	const cert, ca = config.RoleInCertificate, config.RoleByCA
	for _, c := range []struct {
		conf config.Controller
		ok   bool
	}{
		{conf(one.CAFile, one.CAFile, cert, cert), true},
		{conf(one.CAFile, two.CAFile, ca, ca), true},
		{conf(one.CAFile, "", ca, cert), true},
		{conf(one.CAFile, one.CAFile, ca, cert), false},
		{conf(one.CAFile, one.CAFile, cert, ca), false},
		{conf(one.CAFile, both, ca, ca), false},
		{conf(both, two.CAFile, ca, cert), false},
	} {
		if err := distinctAuthorities(c.conf); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.conf, err)
		}
	}
}

// TestRevokedAtTheAPI: a certificate that is revoked is refused on the connection that its holder
// has open, in words, and others are not.
func TestRevokedAtTheAPI(t *testing.T) {
	dir := socketDir(t)
	ca, err := pki.Create(filepath.Join(dir, "pki"), "Site A", 10)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	files := func(kind pki.Kind, name string, addresses ...string) (cert, key string) {
		c, err := ca.Issue(pki.Request{Kind: kind, Name: name, Addresses: addresses, Days: 1, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return c.Files()
	}
	cert, key := files(pki.Controller, "c1", "127.0.0.1")
	tlsFiles := config.TLSFiles{Cert: cert, Key: key, CA: ca.Path(pki.CAFile), CRL: ca.Path(pki.CRLFile)}
	l := startWith(t, dir, func(c *config.Controller) {
		c.APITLS, c.APIRole = tlsFiles, config.RoleInCertificate
		c.AgentTLS, c.AgentListen, c.AgentRole = tlsFiles, "127.0.0.1:0", config.RoleInCertificate
	})
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert())
	connections := map[string]int{}
	as := func(name string) func() (int, string) {
		cert, key := files(pki.Operator, name)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			connections[name]++
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}, Timeout: deadline}
		t.Cleanup(client.CloseIdleConnections)
		return func() (int, string) {
			t.Helper()
			resp, err := client.Get("https://" + l.addrs.API.String() + "/v2.0/networks")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(b)
		}
	}
	alice, bob := as("alice"), as("bob")
	for name, ask := range map[string]func() (int, string){"alice": alice, "bob": bob} {
		if status, body := ask(); status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, status, body)
		}
	}
	if _, err := ca.Revoke(pki.Operator, "alice"); err != nil {
		t.Fatal(err)
	}
	var status int
	var body string
	testutil.Eventually(t, "refusal of alice", func() bool {
		status, body = alice()
		return status != http.StatusOK
	})
	if status != http.StatusForbidden || !strings.Contains(body, "CertificateRevoked") || !strings.Contains(body, "CN=alice") || !strings.Contains(body, "was revoked") {
		t.Errorf("alice: %d %s", status, body)
	}
	if connections["alice"] != 1 {
		t.Errorf("alice had %d connections, so that this proves nothing of one that is open", connections["alice"])
	}
	if status, body := alice(); status != http.StatusForbidden {
		t.Errorf("alice on a new connection: %d %s", status, body)
	}
	if status, body := bob(); status != http.StatusOK {
		t.Errorf("bob: %d %s", status, body)
	}
}
