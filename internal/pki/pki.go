// Package pki is a small certificate authority for labs and small sites: a directory with the
// authority's key, a list of what it has signed, and its revocation list (RFC 5280). What it
// signs has the roles of package identity. Larger sites have an authority of their own; nothing
// else in this module needs this one.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/identity"
)

// Kind is what a certificate is for.
type Kind string

// The kinds.
const (
	Controller Kind = "controller" // a controller's, at both of its listeners and towards etcd
	Host       Kind = "host"       // an agent's
	Operator   Kind = "operator"   // a client's of the API
	Etcd       Kind = "etcd"       // a member's of an etcd cluster, towards clients and members
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Controller, Host, Operator, Etcd} }

// serves tells whether others come to the holder by its address.
func (k Kind) serves() bool { return k == Controller || k == Etcd }

// Files of an authority's directory.
const (
	CAFile    = "ca.pem"
	caKeyFile = "ca.key"
	CRLFile   = "crl.pem"
	indexFile = "issued.json"
	lockFile  = ".lock"
)

// crlTime is for how long a revocation list holds. Each change makes a new one; this is only
// the time after which readers warn that they have an old one.
const crlTime = 365 * 24 * time.Hour

// backdate is how long before now a certificate begins, for clocks that are behind.
const backdate = 5 * time.Minute

// Certificate is an entry of the list of what was signed. The entry is written before the
// certificate, so that nothing is signed that cannot be revoked.
type Certificate struct {
	Serial    string     `json:"serial"` // hexadecimal
	Kind      Kind       `json:"kind"`
	Name      string     `json:"name"`
	Addresses []string   `json:"addresses,omitempty"` // DNS names and IP addresses
	Dir       string     `json:"dir"`                 // that got the files
	Issued    time.Time  `json:"issued"`
	Expires   time.Time  `json:"expires"`
	Revoked   *time.Time `json:"revoked,omitempty"`
}

// State of a certificate in one word: valid, expired or revoked.
func (c Certificate) State(now time.Time) string {
	switch {
	case c.Revoked != nil:
		return "revoked"
	case now.After(c.Expires):
		return "expired"
	}
	return "valid"
}

// Files are the PEM files of a certificate.
func (c Certificate) Files() (cert, key string) {
	base := filepath.Join(c.Dir, string(c.Kind)+"-"+c.Name)
	return base + ".pem", base + ".key"
}

type index struct {
	CRL    int64         `json:"crl"` // number of the last revocation list
	Issued []Certificate `json:"issued"`
}

// Authority is an open directory. Only one process has it at a time.
type Authority struct {
	dir   string
	lock  *os.File
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	index index
	now   func() time.Time
}

// ErrExists is that there is an authority already.
var ErrExists = errors.New("there is an authority already")

// Create makes an authority of that name in dir, which it makes, for so many days.
func Create(dir, name string, days int) (_ *Authority, err error) {
	if strings.TrimSpace(name) == "" || len(name) > 64 {
		return nil, fmt.Errorf("%q cannot be an authority's name: 1 to 64 bytes can (RFC 5280, ub-common-name)", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, now: time.Now}
	if a.lock, err = lock(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	for _, f := range []string{caKeyFile, CAFile} {
		switch _, err := os.Lstat(a.path(f)); {
		case err == nil:
			return nil, fmt.Errorf("%s: %w", a.path(f), ErrExists)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	// The certificate comes last: with it there is an authority.
	if err := writeKey(a.path(caKeyFile), a.key); err != nil {
		return nil, err
	}
	if a.cert, err = a.signSelf(name, days); err != nil {
		return nil, err
	}
	if err := a.save(); err != nil {
		return nil, err
	}
	return a, a.writeCert(CAFile, a.cert.Raw)
}

// Open opens an authority.
func Open(dir string) (_ *Authority, err error) {
	a := &Authority{dir: dir, now: time.Now}
	if _, err := os.Stat(a.path(CAFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no authority in it: %s is missing", dir, CAFile)
	}
	if a.lock, err = lock(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if a.cert, err = readCert(a.path(CAFile)); err != nil {
		return nil, err
	}
	if a.key, err = readKey(a.path(caKeyFile)); err != nil {
		return nil, err
	}
	if !a.key.PublicKey.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s", a.path(caKeyFile), a.path(CAFile))
	}
	b, err := os.ReadFile(a.path(indexFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &a.index); err != nil {
		return nil, fmt.Errorf("%s: %w", a.path(indexFile), err)
	}
	return a, nil
}

// Close lets other processes have the directory.
func (a *Authority) Close() {
	if a.lock != nil {
		_ = a.lock.Close()
	}
}

// Cert is the authority's certificate.
func (a *Authority) Cert() *x509.Certificate { return a.cert }

// Path is where a file of the authority is.
func (a *Authority) Path(file string) string { return a.path(file) }

// Issued are all that was signed, in order of signing.
func (a *Authority) Issued() []Certificate { return slices.Clone(a.index.Issued) }

// Last are the last certificates of each holder, in order of signing.
func (a *Authority) Last() (out []Certificate) {
	type holder struct {
		kind Kind
		name string
	}
	seen := map[holder]bool{}
	for _, c := range slices.Backward(a.index.Issued) {
		if h := (holder{c.Kind, c.Name}); !seen[h] {
			seen[h] = true
			out = append(out, c)
		}
	}
	slices.Reverse(out)
	return out
}

// Of are the certificates of a holder, in order of signing.
func (a *Authority) Of(kind Kind, name string) (out []Certificate) {
	for _, c := range a.index.Issued {
		if c.Kind == kind && c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// Request is what a certificate is to be.
type Request struct {
	Kind      Kind
	Name      string
	Addresses []string // DNS names and IP addresses, of those that others come to
	Days      int
	Dir       string // where its files go
}

// Issue signs a certificate with a new key, and writes both. Where the holder has one that is
// valid, it fails: that one is to be renewed, or revoked.
func (a *Authority) Issue(r Request) (Certificate, error) {
	for _, c := range a.Of(r.Kind, r.Name) {
		if c.State(a.now()) == "valid" {
			return Certificate{}, fmt.Errorf("%s %s has a certificate that is valid until %s: renew it, or revoke it first", r.Kind, r.Name, c.Expires.Format(time.DateOnly))
		}
	}
	return a.sign(r)
}

// Renew signs a certificate for the same holder, with a new key and, unless the request has
// others, the addresses of the last, over the last one's files. The one before stays valid to its end, so that it can be
// replaced at leisure.
func (a *Authority) Renew(r Request) (Certificate, error) {
	all := a.Of(r.Kind, r.Name)
	if len(all) == 0 {
		return Certificate{}, fmt.Errorf("there was never a certificate of %s %s", r.Kind, r.Name)
	}
	last := all[len(all)-1]
	if last.Revoked != nil {
		return Certificate{}, fmt.Errorf("the certificate of %s %s was revoked at %s: issue a new one, if its holder is to be let in again", r.Kind, r.Name, last.Revoked.Format(time.RFC3339))
	}
	if len(r.Addresses) == 0 {
		r.Addresses = last.Addresses
	}
	if r.Dir == "" {
		r.Dir = last.Dir
	}
	return a.sign(r)
}

// Revoke revokes those certificates of a holder that are not, and writes the list. It returns
// how many there were.
func (a *Authority) Revoke(kind Kind, name string) (int, error) {
	return a.revoke(func(c Certificate) bool { return c.Kind == kind && c.Name == name })
}

// RevokeSerial revokes one certificate.
func (a *Authority) RevokeSerial(serial string) (int, error) {
	serial = strings.TrimLeft(strings.ToLower(strings.ReplaceAll(serial, ":", "")), "0")
	return a.revoke(func(c Certificate) bool { return c.Serial == serial })
}

func (a *Authority) revoke(which func(Certificate) bool) (n int, err error) {
	now := a.now().UTC().Truncate(time.Second)
	for i, c := range a.index.Issued {
		if which(c) && c.Revoked == nil {
			a.index.Issued[i].Revoked = &now
			n++
		}
	}
	return n, a.save()
}

// RenewCA makes a new certificate of the authority, with its key and name, so that what it has
// signed stays valid. Whoever trusts it needs the new file before the old one expires.
func (a *Authority) RenewCA(days int) error {
	cert, err := a.signSelf(a.cert.Subject.CommonName, days)
	if err != nil {
		return err
	}
	a.cert = cert
	return a.writeCert(CAFile, cert.Raw)
}

func (a *Authority) signSelf(name string, days int) (*x509.Certificate, error) {
	tmpl, err := a.template(pkix.Name{CommonName: name}, days, time.Time{})
	if err != nil {
		return nil, err
	}
	tmpl.IsCA, tmpl.MaxPathLenZero = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// template of a certificate for so many days, but no longer than until.
func (a *Authority) template(subject pkix.Name, days int, until time.Time) (*x509.Certificate, error) {
	if days < 1 || days > 36500 {
		return nil, fmt.Errorf("%d days: a certificate is for 1 to 36500", days)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := a.now().UTC().Truncate(time.Second)
	end := now.AddDate(0, 0, days)
	if !until.IsZero() && end.After(until) {
		end = until
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: now.Add(-backdate), NotAfter: end, BasicConstraintsValid: true,
	}, nil
}

func (a *Authority) sign(r Request) (c Certificate, err error) {
	now := a.now()
	if now.After(a.cert.NotAfter) {
		return c, fmt.Errorf("the authority's own certificate has expired at %s: renew it first", a.cert.NotAfter.Format(time.RFC3339))
	}
	tmpl, err := a.template(pkix.Name{CommonName: r.Name}, r.Days, a.cert.NotAfter)
	if err != nil {
		return c, err
	}
	if err := fill(tmpl, &r); err != nil {
		return c, err
	}
	if r.Dir, err = filepath.Abs(r.Dir); err != nil {
		return c, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return c, err
	}
	c = Certificate{
		Serial: fmt.Sprintf("%x", tmpl.SerialNumber), Kind: r.Kind, Name: r.Name, Addresses: r.Addresses, Dir: r.Dir,
		Issued: now.UTC().Truncate(time.Second), Expires: tmpl.NotAfter,
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return c, err
	}
	a.index.Issued = append(a.index.Issued, c)
	if err := a.save(); err != nil {
		return c, err
	}
	certFile, keyFile := c.Files()
	if err := writeKey(keyFile, key); err != nil {
		return c, err
	}
	return c, writePEM(certFile, "CERTIFICATE", der, 0o644)
}

// fill puts into a certificate what its kind needs, and the addresses in order into r.
func fill(tmpl *x509.Certificate, r *Request) error {
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	switch r.Kind {
	case Host, Operator:
		role := map[Kind]identity.Role{Host: identity.RoleHost, Operator: identity.RoleOperator}[r.Kind]
		uri, err := role.URI(r.Name)
		if err != nil {
			return err
		}
		tmpl.URIs = append(tmpl.URIs, uri)
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case Controller, Etcd:
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	default:
		return fmt.Errorf("%q: a certificate is for one of %v", r.Kind, Kinds())
	}
	if !identity.SoundName(r.Name) || r.Name == "." || r.Name == ".." {
		return fmt.Errorf("%q is no name: letters, digits and . _ - @ make one", r.Name)
	}
	if len(r.Addresses) > 0 != r.Kind.serves() {
		if r.Kind.serves() {
			return fmt.Errorf("others come to %s %s: give the DNS names or IP addresses by which they do", r.Kind, r.Name)
		}
		return fmt.Errorf("nobody comes to the %s %s, so it has no address in its certificate", r.Kind, r.Name)
	}
	slices.Sort(r.Addresses)
	r.Addresses = slices.Compact(r.Addresses)
	for _, s := range r.Addresses {
		if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
			tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(ip.AsSlice()))
		} else if dnsName(s) {
			tmpl.DNSNames = append(tmpl.DNSNames, s)
		} else {
			return fmt.Errorf("%q is neither an IP address nor a DNS name", s)
		}
	}
	return nil
}

// dnsName tells whether s can be one (RFC 1123 §2.1).
func dnsName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' {
				return false
			}
		}
	}
	return true
}

// save writes the list of what was signed and then the revocation list.
func (a *Authority) save() error {
	a.index.CRL++
	b, err := json.MarshalIndent(a.index, "", "  ")
	if err != nil {
		return err
	}
	if err := write(a.path(indexFile), append(b, '\n'), 0o600); err != nil {
		return err
	}
	now := a.now().UTC().Truncate(time.Second)
	list := &x509.RevocationList{Number: big.NewInt(a.index.CRL), ThisUpdate: now, NextUpdate: now.Add(crlTime)}
	for _, c := range a.index.Issued {
		if c.Revoked == nil || now.After(c.Expires) {
			continue // an expired one is refused in any case
		}
		serial, ok := new(big.Int).SetString(c.Serial, 16)
		if !ok {
			return fmt.Errorf("%s: %q is no serial number", a.path(indexFile), c.Serial)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: *c.Revoked})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return err
	}
	return writePEM(a.path(CRLFile), "X509 CRL", der, 0o644)
}

func (a *Authority) path(file string) string { return filepath.Join(a.dir, file) }

func (a *Authority) writeCert(file string, der []byte) error {
	return writePEM(a.path(file), "CERTIFICATE", der, 0o644)
}

// lock waits for no one: two who sign at once are a mistake.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: another process works on it: %w", dir, err)
	}
	return f, nil
}
