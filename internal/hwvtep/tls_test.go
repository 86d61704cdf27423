package hwvtep

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// pki is an authority with one certificate, which both ends show.
type pki struct {
	cert tls.Certificate
	pool *x509.CertPool
}

// newPKI writes ca.pem, cert.pem and key.pem.
func newPKI(t *testing.T, path func(string) string) pki {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "switch"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, b := range map[string][]byte{"ca.pem": certPEM, "cert.pem": certPEM, "key.pem": keyPEM} {
		if err := os.WriteFile(path(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := pki{pool: x509.NewCertPool()}
	if p.cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	p.pool.AppendCertsFromPEM(certPEM)
	return p
}

// TestTLS: OVSDB goes by TLS, with certificates at both ends; a switch with a
// certificate of another authority is refused.
func TestTLS(t *testing.T) {
	o := prepareOVS(t)
	p := newPKI(t, o.path)
	o.more = []string{fmt.Sprintf("--remote=pssl:%d:127.0.0.1", o.address.Port()),
		"--private-key=" + o.path("key.pem"), "--certificate=" + o.path("cert.pem"), "--ca-cert=" + o.path("ca.pem")}
	o.start()
	o.ctl("add-ps", "vt0", "--", "set", "Physical_Switch", "vt0", "tunnel_ips=10.8.0.1", "--", "add-port", "vt0", "p0", "--", "add-port", "vt0", "p1")
	alive := func(context.Context) error { return nil }
	site := newFakeSite()
	strange := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	targets, stop := driveWith(t, Options{Site: site, Driver: "strange", TLS: strange, Alive: alive})
	targets <- o.target(example())
	site.until(t, "the certificate is refused", func(s *fakeSite) bool {
		return !s.status.Connected && strings.Contains(s.status.Error, "certificate")
	})
	stop()
	good := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.pool, Certificates: []tls.Certificate{p.cert}}
	targets, _ = driveWith(t, Options{Site: site, Driver: "good", TLS: good, Alive: alive})
	targets <- o.target(example())
	site.until(t, "in sync", inSync)
}
