package hostsync

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// authority makes certificates.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	ca   string
	n    int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.ca = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func (a *authority) issue(cn string, dns []string, ips ...net.IP) *TLSFiles {
	a.n++
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: cn}, DNSNames: dns, IPAddresses: ips,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	name := fmt.Sprint(a.n)
	return &TLSFiles{Cert: a.write(name+".pem", "CERTIFICATE", der), Key: a.write(name+".key", "EC PRIVATE KEY", k), CA: a.ca}
}

func TestMutualTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	hosts := newFakeHosts()
	loopback := net.IPv4(127, 0, 0, 1)
	s, err := NewServer(ServerOptions{Hosts: hosts, TLS: ca.issue("controller", nil, loopback), Logger: quiet()})
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
		{ca.issue("a-name", []string{"gw1.site", "gw1"}), "gw1.site"},
		{ca.issue("gw2", nil), "gw2"},
	} {
		sink := newSink()
		_, stop := connect(t, ClientOptions{Target: target, TLS: c.files}, sink)
		if h := wait(t, hosts.came, "connection"); h != c.host {
			t.Errorf("host %q, want %q", h, c.host)
		}
		wait(t, sink.updates, "full state")
		stop()
	}
	stranger := other.issue("gw1.site", []string{"gw1.site"})
	stranger.CA = ca.ca
	nameless := ca.issue("", nil)
	impostor := other.issue("controller", nil, loopback)
	for name, c := range map[string]*TLSFiles{"stranger": stranger, "nameless": nameless} {
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
