package hostsync

import (
	"crypto/x509"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

func issue(t testing.TB, by testutil.Certificate, name string, dns []string, ips ...net.IP) *TLSFiles {
	t.Helper()
	c := by.Issue(t, name, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = dns, ips })
	return &TLSFiles{Cert: c.CertFile, Key: c.KeyFile, CA: c.CAFile}
}

func withRole(t testing.TB, by testutil.Certificate, name, role string) *TLSFiles {
	t.Helper()
	c := by.Issue(t, name, testutil.Role(role))
	return &TLSFiles{Cert: c.CertFile, Key: c.KeyFile, CA: c.CAFile}
}

// TestMutualTLS: an agent is of the host that its certificate says, over a network and by a unix
// socket that several agents share; nobody else gets in.
func TestMutualTLS(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { testMutualTLS(t, network) })
	}
}

func testMutualTLS(t *testing.T, network string) {
	ca, other := testutil.SelfSigned(t, t.TempDir(), "authority"), testutil.SelfSigned(t, t.TempDir(), "authority")
	hosts := newFakeHosts()
	loopback := net.IPv4(127, 0, 0, 1)
	s, err := NewServer(ServerOptions{Hosts: hosts, TLS: issue(t, ca, "controller", []string{socketName}, loopback), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	at, scheme := "127.0.0.1:0", ""
	if network == "unix" {
		at, scheme = filepath.Join(t.TempDir(), "s"), "unix://"
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	target := scheme + l.Addr().String()
	for _, c := range []struct {
		files *TLSFiles
		host  model.HostName
	}{
		{withRole(t, ca, "a-name", "host:gw1.site"), "gw1.site"},
		{withRole(t, ca, "gw9", "host:gw2"), "gw2"},
	} {
		sink := newSink()
		_, stop := connect(t, ClientOptions{Targets: []string{target}, TLS: c.files}, sink)
		if h := wait(t, hosts.came, "connection"); h != c.host {
			t.Errorf("host %q, want %q", h, c.host)
		}
		wait(t, sink.updates, "full state")
		stop()
	}
	stranger := withRole(t, other, "gw1.site", "host:gw1.site")
	stranger.CA = ca.CAFile
	nameless := issue(t, ca, "gw1.site", []string{"gw1.site"})
	impostor := issue(t, other, "controller", []string{socketName}, loopback)
	for name, c := range map[string]*TLSFiles{"stranger": stranger, "nameless": nameless, "operator": withRole(t, ca, "gw1.site", "operator:gw1.site")} {
		client, err := NewClient(ClientOptions{Targets: []string{target}, TLS: c, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if welcome, err := client.stream(t.Context(), client.controllers.now(), newSink()); welcome || err == nil {
			t.Errorf("%s: %v, %v", name, welcome, err)
		}
	}
	client, err := NewClient(ClientOptions{Targets: []string{target}, TLS: impostor, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.stream(t.Context(), client.controllers.now(), newSink()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a controller of another authority was believed: %v", err)
	}
	if network == "unix" {
		client, err := NewClient(ClientOptions{Targets: []string{target}, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if welcome, err := client.stream(t.Context(), client.controllers.now(), newSink()); welcome || err == nil {
			t.Errorf("without a certificate, as root: %v, %v", welcome, err)
		}
	}
	if _, err := rawConnect(t, target, insecure.NewCredentials(), &pb.FromAgent{}); err == nil {
		t.Error("no TLS, and in")
	}
	select {
	case h := <-hosts.came:
		t.Errorf("%q got in", h)
	default:
	}
}
