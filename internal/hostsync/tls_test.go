package hostsync

import (
	"crypto/x509"
	"net"
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

func TestMutualTLS(t *testing.T) {
	ca, other := testutil.SelfSigned(t, t.TempDir(), "authority"), testutil.SelfSigned(t, t.TempDir(), "authority")
	hosts := newFakeHosts()
	loopback := net.IPv4(127, 0, 0, 1)
	s, err := NewServer(ServerOptions{Hosts: hosts, TLS: issue(t, ca, "controller", nil, loopback), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	target := l.Addr().String()
	for _, c := range []struct {
		files *TLSFiles
		host  model.HostName
	}{
		{withRole(t, ca, "a-name", "host:gw1.site"), "gw1.site"},
		{withRole(t, ca, "gw9", "host:gw2"), "gw2"},
	} {
		sink := newSink()
		_, stop := connect(t, ClientOptions{Target: target, TLS: c.files}, sink)
		if h := wait(t, hosts.came, "connection"); h != c.host {
			t.Errorf("host %q, want %q", h, c.host)
		}
		wait(t, sink.updates, "full state")
		stop()
	}
	stranger := withRole(t, other, "gw1.site", "host:gw1.site")
	stranger.CA = ca.CAFile
	nameless := issue(t, ca, "gw1.site", []string{"gw1.site"})
	impostor := issue(t, other, "controller", nil, loopback)
	for name, c := range map[string]*TLSFiles{"stranger": stranger, "nameless": nameless, "operator": withRole(t, ca, "gw1.site", "operator:gw1.site")} {
		client, err := NewClient(ClientOptions{Target: target, TLS: c, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if welcome, err := client.stream(t.Context(), newSink()); welcome || err == nil {
			t.Errorf("%s: %v, %v", name, welcome, err)
		}
	}
	client, err := NewClient(ClientOptions{Target: target, TLS: impostor, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.stream(t.Context(), newSink()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a controller of another authority was believed: %v", err)
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
