package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/identity"
)

func create(t *testing.T) *Authority {
	t.Helper()
	a, err := Create(filepath.Join(t.TempDir(), "pki"), "Site A", 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func readCRL(t *testing.T, a *Authority) *x509.RevocationList {
	t.Helper()
	b, err := os.ReadFile(a.Path(CRLFile))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	crl, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(a.Cert()); err != nil {
		t.Fatal(err)
	}
	return crl
}

// TestRoles: what is signed verifies for its purpose and no other, says its holder's role, and
// its private key is its user's alone.
func TestRoles(t *testing.T) {
	a, dir := create(t), t.TempDir()
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert())
	for _, c := range []struct {
		Request
		role   identity.Role
		server bool
	}{
		{Request{Kind: Host, Name: "a1"}, identity.RoleHost, false},
		{Request{Kind: Operator, Name: "alice@example"}, identity.RoleOperator, false},
		{Request{Kind: Controller, Name: "c1", Addresses: []string{"c1.example", "192.0.2.1", "2001:db8::1"}}, "", true},
		{Request{Kind: Etcd, Name: "e1", Addresses: []string{"192.0.2.2"}}, "", true},
	} {
		c.Days, c.Dir = 1, dir
		made, err := a.Issue(c.Request)
		if err != nil {
			t.Fatal(c.Kind, err)
		}
		cert, key := made.Files()
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		for usage, want := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: c.server} {
			_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}})
			if (err == nil) != want {
				t.Errorf("%s %s for usage %v: %v", c.Kind, c.Name, usage, err)
			}
		}
		for _, addr := range c.Addresses {
			if err := pair.Leaf.VerifyHostname(addr); err != nil {
				t.Error(err)
			}
		}
		if role, name, err := identity.RoleOf(pair.Leaf); err != nil || role != c.role || role != "" && name != c.Name {
			t.Errorf("%s %s has the role %q of %q: %v", c.Kind, c.Name, role, name, err)
		}
		if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, st.Mode(), err)
		}
	}
}

// TestOne: a directory has one authority, and one process at a time.
func TestOne(t *testing.T) {
	a := create(t)
	if _, err := Open(a.dir); err == nil || !strings.Contains(err.Error(), "another process works on it") {
		t.Errorf("opened twice: %v", err)
	}
	a.Close()
	if _, err := Create(a.dir, "another", 10); !errors.Is(err, ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	b, err := Open(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	other := create(t)
	key, err := os.ReadFile(other.path(caKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.path(caKeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(a.dir); err == nil || !strings.Contains(err.Error(), "is not the key of") {
		t.Errorf("opened with another's key: %v", err)
	}
}

// TestNothingUnlisted: what cannot be listed is not signed, and what is refused is not listed.
func TestNothingUnlisted(t *testing.T) {
	a := create(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue(Request{Kind: Host, Name: "a1", Days: 1, Dir: file}); err == nil || len(a.Issued()) != 0 {
		t.Errorf("into a directory that cannot be: %v, listed: %v", err, a.Issued())
	}
	dir := t.TempDir()
	index := a.path(indexFile)
	if err := os.Remove(index); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(index, 0o700); err != nil { // no file can take its place
		t.Fatal(err)
	}
	if _, err := a.Issue(Request{Kind: Host, Name: "a1", Days: 1, Dir: dir}); err == nil {
		t.Error("signed without being listed")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("it left %v", left)
	}
}

// TestLists: each change makes a list with a higher number; it names those that are revoked and
// have not expired, also after the authority was opened again.
func TestLists(t *testing.T) {
	a := create(t)
	dir := t.TempDir()
	var all []Certificate
	for _, days := range []int{1, 5} {
		c, err := a.Issue(Request{Kind: Host, Name: "a" + string(rune('0'+days)), Days: days, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	before := readCRL(t, a)
	if len(before.RevokedCertificateEntries) != 0 {
		t.Fatal(before.RevokedCertificateEntries)
	}
	for _, c := range all {
		if n, err := a.RevokeSerial(strings.ToUpper(c.Serial)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	both := readCRL(t, a)
	if len(both.RevokedCertificateEntries) != 2 || both.Number.Cmp(before.Number) <= 0 {
		t.Errorf("%d entries, number %v after %v", len(both.RevokedCertificateEntries), both.Number, before.Number)
	}
	a.Close()
	b, err := Open(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.now = func() time.Time { return time.Now().AddDate(0, 0, 2) }
	if _, err := b.Issue(Request{Kind: Host, Name: "a9", Days: 1, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	later := readCRL(t, b)
	if got := later.RevokedCertificateEntries; len(got) != 1 || later.Number.Cmp(both.Number) <= 0 {
		t.Errorf("two days later: %d entries, number %v after %v", len(got), later.Number, both.Number)
	}
}

// TestNeverLongerThanItsAuthority: a certificate ends with its authority's at the latest.
func TestNeverLongerThanItsAuthority(t *testing.T) {
	a := create(t)
	c, err := a.Issue(Request{Kind: Host, Name: "a1", Days: 100, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Expires.Equal(a.Cert().NotAfter) {
		t.Errorf("it expires at %v, its authority at %v", c.Expires, a.Cert().NotAfter)
	}
	a.now = func() time.Time { return time.Now().AddDate(0, 0, 11) }
	if _, err := a.Renew(Request{Kind: Host, Name: "a1", Days: 1, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "renew it first") {
		t.Errorf("signed by an authority that has expired: %v", err)
	}
}
