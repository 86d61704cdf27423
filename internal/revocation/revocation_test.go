package revocation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/pki"
)

type authority struct {
	*pki.Authority
	dir string
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	dir := t.TempDir()
	a, err := pki.Create(dir, name, 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return authority{a, dir}
}

// chain issues a certificate and returns it with its authority's.
func (a authority) chain(t *testing.T, name string) []*x509.Certificate {
	t.Helper()
	c, err := a.Issue(pki.Request{Kind: pki.Host, Name: name, Days: 1, Dir: a.dir})
	if err != nil {
		t.Fatal(err)
	}
	file, _ := c.Files()
	return []*x509.Certificate{parse(t, file), parse(t, a.Path(pki.CAFile))}
}

func (a authority) revoke(t *testing.T, name string) {
	t.Helper()
	if n, err := a.Revoke(pki.Host, name); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func parse(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// joined makes a file of several.
func joined(t *testing.T, files ...string) string {
	t.Helper()
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	path := filepath.Join(t.TempDir(), "joined.pem")
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestCheck: who is on the list is refused by name, who is not passes, and so for each of two
// authorities, whose serial numbers do not meet.
func TestCheck(t *testing.T) {
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	bad, good, other := one.chain(t, "bad"), one.chain(t, "good"), two.chain(t, "other")
	one.revoke(t, "bad")
	l, err := Load(joined(t, one.Path(pki.CRLFile), two.Path(pki.CRLFile)), joined(t, one.Path(pki.CAFile), two.Path(pki.CAFile)), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(bad); err == nil || !strings.Contains(err.Error(), "CN=bad") || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("revoked: %v", err)
	}
	for _, c := range [][]*x509.Certificate{good, other} {
		if err := l.Check(c); err != nil {
			t.Errorf("not revoked: %v", err)
		}
	}
	stranger := newAuthority(t, "stranger").chain(t, "x")
	if err := l.Check(stranger); err == nil || !strings.Contains(err.Error(), "no revocation list of that authority") {
		t.Errorf("of an authority without a list: %v", err)
	}
	var none *List
	if err := none.Check(bad); err != nil {
		t.Errorf("without a list: %v", err)
	}
}

// TestUnsound: lists that prove nothing are refused in words.
func TestUnsound(t *testing.T) {
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	sameName := newAuthority(t, "one")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	crl, ca := one.Path(pki.CRLFile), one.Path(pki.CAFile)
	for name, c := range map[string]struct{ crl, ca, want string }{
		"no file":               {filepath.Join(t.TempDir(), "none"), ca, "no such file"},
		"nothing in it":         {empty, ca, "holds no X509 CRL"},
		"a certificate":         {ca, ca, "holds no X509 CRL"},
		"of nobody that counts": {two.Path(pki.CRLFile), ca, "is of no authority that is named"},
		"forged":                {sameName.Path(pki.CRLFile), ca, "the list of CN=one"},
		"one is missing":        {crl, joined(t, ca, two.Path(pki.CAFile)), "no revocation list of the authority CN=two"},
		"no authority":          {crl, empty, "holds no CERTIFICATE"},
	} {
		if _, err := Load(c.crl, c.ca, quiet()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// TestLook: a changed list is taken and told; a half-written one is not, and the one before
// holds.
func TestLook(t *testing.T) {
	a := newAuthority(t, "one")
	bad := a.chain(t, "bad")
	l, err := Load(a.Path(pki.CRLFile), a.Path(pki.CAFile), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(bad); err != nil {
		t.Fatal(err)
	}
	changed := l.Changed()
	l.Look()
	select {
	case <-changed:
		t.Error("told as changed, and is not")
	default:
	}
	a.revoke(t, "bad")
	l.Look()
	select {
	case <-changed:
	default:
		t.Error("not told as changed")
	}
	if err := l.Check(bad); err == nil {
		t.Error("the changed list was not taken")
	}
	whole, err := os.ReadFile(a.Path(pki.CRLFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.Path(pki.CRLFile), whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	l.Look()
	if err := l.Check(bad); err == nil {
		t.Error("half a list took the place of the one before")
	}
}

// FuzzLists: no file makes reading panic or hang.
func FuzzLists(f *testing.F) {
	dir := f.TempDir()
	a, err := pki.Create(dir, "one", 10)
	if err != nil {
		f.Fatal(err)
	}
	defer a.Close()
	b, err := os.ReadFile(a.Path(pki.CRLFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	path := filepath.Join(dir, "fuzzed")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = read(path, a.Path(pki.CAFile))
	})
}

// TestSubordinateAsAnchor: of an authority that is trusted itself no list of its own signer is wanted.
func TestSubordinateAsAnchor(t *testing.T) {
	root, sub := newAuthority(t, "root"), newAuthority(t, "sub")
	leaf := sub.chain(t, "good")
	bad := sub.chain(t, "bad")
	sub.revoke(t, "bad")
	// As if the root had signed it: what counts here is the name of its issuer.
	anchor := *sub.Cert()
	anchor.RawIssuer = root.Cert().RawSubject
	l, err := Load(sub.Path(pki.CRLFile), sub.Path(pki.CAFile), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check([]*x509.Certificate{leaf[0], &anchor}); err != nil {
		t.Errorf("not revoked: %v", err)
	}
	if err := l.Check([]*x509.Certificate{bad[0], &anchor}); err == nil {
		t.Error("revoked, and let in")
	}
}

// TestPartOfAList: a list that says that it is not the whole one is not taken for it.
func TestPartOfAList(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := asn1.Marshal(1)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(2), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: delta}}, // deltaCRLIndicator
	}, ca, key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := Load(write("crl", "X509 CRL", crl), write("ca", "CERTIFICATE", der), quiet()); err == nil || !strings.Contains(err.Error(), "critical extension") {
		t.Errorf("a difference is taken for a whole list: %v", err)
	}
}
