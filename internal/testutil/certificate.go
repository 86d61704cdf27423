package testutil

import (
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
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificate is a certificate with its key, for both ends of a connection.
type Certificate struct {
	CertFile, KeyFile string
	CAFile            string          // of who signed it
	TLS               tls.Certificate // what the files have
	CA                *x509.CertPool

	dir string
	n   *int64 // issued
}

// SelfSigned makes a certificate that is its own authority, for loopback and with a
// common name. It writes cert.pem and key.pem, over older ones if they are there.
func SelfSigned(t testing.TB, dir, name string) Certificate {
	t.Helper()
	tmpl := template(time.Now().UnixNano(), name)
	tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage |= x509.KeyUsageCertSign
	c := Certificate{dir: dir, n: new(int64)}
	c.sign(t, tmpl, tmpl, nil, "cert.pem", "key.pem")
	c.CAFile, c.CA = c.CertFile, x509.NewCertPool()
	c.CA.AddCert(c.TLS.Leaf)
	return c
}

// Issue signs a further certificate, with files beside those of ca. change, if not nil,
// says how it differs: by default it has a common name and no other.
func (c Certificate) Issue(t testing.TB, name string, change func(*x509.Certificate)) Certificate {
	t.Helper()
	*c.n++
	tmpl := template(*c.n, name)
	if change != nil {
		change(tmpl)
	}
	out := Certificate{CAFile: c.CAFile, CA: c.CA, dir: c.dir}
	out.sign(t, tmpl, c.TLS.Leaf, c.TLS.PrivateKey, fmt.Sprint(*c.n, ".pem"), fmt.Sprint(*c.n, ".key"))
	return out
}

// Role gives a certificate a role, as in "operator:alice" or "host:a1"; for Issue.
func Role(role string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.URIs = append(c.URIs, &url.URL{Scheme: "causeway", Opaque: role}) }
}

func template(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// sign makes the key, the certificate and the files; without by it signs itself.
func (c *Certificate) sign(t testing.TB, tmpl, parent *x509.Certificate, by any, certName, keyName string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if c.TLS, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	c.CertFile, c.KeyFile = filepath.Join(c.dir, certName), filepath.Join(c.dir, keyName)
	Replace(t, c.CertFile, certPEM)
	Replace(t, c.KeyFile, keyPEM)
}

// Replace writes a file as tools do it: under another name first, so that nobody reads
// half of it.
func Replace(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
