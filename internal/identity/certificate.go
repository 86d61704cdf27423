package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Role is what the holder of a certificate is to a site.
type Role string

// The roles of certificates. A certificate says its role and its holder's name in one
// URI among its subject alternative names: causeway:operator:NAME, causeway:host:NAME.
const (
	RoleOperator Role = "operator" // may change all of the site, at the API
	RoleHost     Role = "host"     // the agent of the host NAME
)

const (
	roleScheme = "causeway"
	maxName    = 253 // that of a DNS name, RFC 1035 §2.3.4
	maxSubject = 256
)

// RoleOf is the role that a certificate says, and its holder's name; both empty where it
// says none.
func RoleOf(c *x509.Certificate) (role Role, name string, err error) {
	for _, u := range c.URIs {
		if u.Scheme != roleScheme {
			continue
		}
		r, n, _ := strings.Cut(u.Opaque, ":")
		switch {
		case role != "":
			return "", "", fmt.Errorf("the certificate %s has more than one role", Subject(c))
		case Role(r) != RoleOperator && Role(r) != RoleHost:
			return "", "", fmt.Errorf("the certificate %s has the role %q, which there is not: there are %s and %s", Subject(c), r, RoleOperator, RoleHost)
		case !SoundName(n):
			return "", "", fmt.Errorf("the certificate %s has the role %s of %q, which is no name: letters, digits and . _ - @ make one", Subject(c), r, n)
		}
		role, name = Role(r), n
	}
	return role, name, nil
}

// URI is what a certificate of the role says of its holder, among its subject alternative
// names. It fails where the name cannot be one.
func (r Role) URI(name string) (*url.URL, error) {
	if !SoundName(name) {
		return nil, fmt.Errorf("%q is no name: letters, digits and . _ - @ make one, %d at most", name, maxName)
	}
	return &url.URL{Scheme: roleScheme, Opaque: string(r) + ":" + name}, nil
}

// SoundName tells whether name may be a holder's. Such names go into logs and paths as they are.
func SoundName(name string) bool {
	return name != "" && len(name) <= maxName && strings.IndexFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("._-@", r)
	}) < 0
}

// Holder is the name of who holds a certificate that has been verified, if it has the
// role that is wanted. byAuthority says that whatever the authorities sign has that
// role, unless it says another: its name is then a host's DNS name or an operator's
// common name.
func Holder(c *x509.Certificate, want Role, byAuthority bool) (string, error) {
	role, name, err := RoleOf(c)
	if err != nil {
		return "", err
	}
	switch {
	case role == want:
		return name, nil
	case role != "":
		return "", fmt.Errorf("the certificate %s has the role %s (%s), and this needs the role %s", Subject(c), role, name, want)
	case !byAuthority:
		return "", fmt.Errorf("the certificate %s has no role, and this needs the role %s: a URI %s:%s:NAME among its subject alternative names", Subject(c), want, roleScheme, want)
	}
	switch {
	case want == RoleHost && len(c.DNSNames) > 0:
		name = c.DNSNames[0]
	case want == RoleHost:
		return "", fmt.Errorf("the certificate %s names no host: it has neither a role nor a DNS name, and a common name is not enough", Subject(c))
	case c.Subject.CommonName != "":
		name = c.Subject.CommonName
	default:
		return "", errors.New("the certificate names nobody: it has neither a role nor a common name")
	}
	if !SoundName(name) {
		return "", fmt.Errorf("the certificate %s is of %q, which is no name: letters, digits and . _ - @ make one", Subject(c), name)
	}
	return name, nil
}

// Subject names a certificate for logs: its distinguished name, or what it says instead.
func Subject(c *x509.Certificate) string {
	s := c.Subject.String()
	if s == "" && len(c.URIs) > 0 {
		s = c.URIs[0].String()
	}
	if s == "" {
		s = "number " + c.SerialNumber.String()
	}
	if len(s) > maxSubject {
		s = strings.ToValidUTF8(s[:maxSubject], "") + "…"
	}
	return s
}
