package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"
)

// How the API knows who asks.
const (
	AuthNone     = "none"
	AuthKeystone = "keystone"
)

// Auth says how the API knows who asks, and what they may do.
type Auth struct {
	Method string
	// PolicyFile changes the default policy; "" leaves it.
	PolicyFile string
	Keystone   Keystone
}

// Keystone says how tokens are validated.
type Keystone struct {
	URL, PublicURL             string
	User, UserDomain, Password string // Password: the file that holds it
	Project, ProjectDomain     string
	CA                         string
	CacheTime, OutageTime      time.Duration
}

func (a *Auth) bind(s *Set) {
	f, k := s.flags, &a.Keystone
	f.StringVar(&a.Method, "auth", AuthNone, "`HOW` the API knows who asks: none (everybody is an admin) or keystone")
	f.StringVar(&a.PolicyFile, "policy-file", "", "YAML `FILE` of rules that differ from the defaults, which causeway policy defaults prints; read again when it changes")
	f.StringVar(&k.URL, "keystone-url", "", "`URL` of Keystone, with or without /v3")
	f.StringVar(&k.PublicURL, "keystone-public-url", "", "`URL` of Keystone that clients without a token are told (default: --keystone-url)")
	f.StringVar(&k.User, "keystone-user", "", "`NAME` of the service user that validates tokens")
	f.StringVar(&k.UserDomain, "keystone-user-domain", "Default", "`NAME` of that user's domain")
	f.StringVar(&k.Password, "keystone-password-file", "", "`FILE` with that user's password")
	f.StringVar(&k.Project, "keystone-project", "service", "`NAME` of the project in which that user has its role")
	f.StringVar(&k.ProjectDomain, "keystone-project-domain", "Default", "`NAME` of that project's domain")
	f.StringVar(&k.CA, "keystone-ca", "", "PEM `FILE` with Keystone's authorities (default: the system's)")
	f.DurationVar(&k.CacheTime, "keystone-cache-time", time.Minute, "`TIME` for which a validated token is believed: one that is revoked works so long at most")
	f.DurationVar(&k.OutageTime, "keystone-outage-time", 10*time.Minute, "`TIME` beyond for which it is believed while Keystone does not answer")
}

const maxCacheTime = time.Hour

func (a *Auth) validate(s *Set) error {
	k := &a.Keystone
	switch a.Method {
	case AuthNone:
		if k.URL != "" || k.User != "" || k.Password != "" || a.PolicyFile != "" {
			return fmt.Errorf("--keystone-* and --policy-file need --auth keystone: where nobody is asked who they are, everybody may all")
		}
		return nil
	case AuthKeystone:
	default:
		return fmt.Errorf("%s: %q is neither none nor keystone", s.Name("auth"), a.Method)
	}
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	for _, x := range []struct{ name, value string }{{"keystone-url", k.URL}, {"keystone-user", k.User}, {"keystone-password-file", k.Password}, {"keystone-project", k.Project}} {
		if x.value == "" {
			add(fmt.Errorf("--auth keystone needs --%s", x.name))
		}
	}
	for _, x := range []struct{ name, value string }{{"keystone-url", k.URL}, {"keystone-public-url", k.PublicURL}} {
		if u, err := url.Parse(x.value); x.value != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "") {
			add(fmt.Errorf("%s: %q is not an http or https URL without user and query", s.Name(x.name), x.value))
		}
	}
	if a.PolicyFile != "" && !filepath.IsAbs(a.PolicyFile) {
		add(fmt.Errorf("%s: %q is not an absolute path", s.Name("policy-file"), a.PolicyFile))
	}
	if k.CacheTime < 0 || k.CacheTime > maxCacheTime {
		add(fmt.Errorf("%s: %s is not in 0…%s", s.Name("keystone-cache-time"), k.CacheTime, maxCacheTime))
	}
	if k.OutageTime < 0 {
		add(fmt.Errorf("%s: %s is less than nothing", s.Name("keystone-outage-time"), k.OutageTime))
	}
	return errors.Join(errs...)
}

// InTheClear tells whether tokens and the password go to another machine without TLS.
func (k Keystone) InTheClear() bool {
	u, err := url.Parse(k.URL)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.Unmap().IsLoopback()
}

// exposed says what is wrong with an API that is reached from other machines.
func (c *Controller) exposed(s *Set) error {
	if c.InsecureAPI {
		return nil
	}
	if c.Auth.Method == AuthKeystone {
		if c.APITLS.Cert != "" {
			return nil
		}
		return fmt.Errorf("%s: %s is not a loopback address, so tokens would go over the network in the clear: "+
			"set --api-tls-cert and --api-tls-key, or --insecure-api if the network keeps strangers out",
			s.Name("api-listen"), c.APIListen)
	}
	if c.APITLS.CA != "" {
		return nil
	}
	return fmt.Errorf("%s: %s is not a loopback address, so whoever reaches it could change the site: "+
		"set --api-tls-cert, --api-tls-key and --api-tls-ca, --auth keystone, or --insecure-api if the network keeps strangers out",
		s.Name("api-listen"), c.APIListen)
}
