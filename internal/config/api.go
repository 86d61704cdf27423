package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
)

// API bounds what the API's clients may ask, and says where changes are written down.
type API struct {
	MaxBody        int64 // bytes
	MaxConnections int
	Rate           float64 // requests a second
	Burst          int
	AuditLog       string
	TrustedProxies []string // addresses and prefixes
}

// AuditStderr as the audit log is standard error.
const AuditStderr = "stderr"

func (a *API) bind(s *Set) {
	f := s.flags
	f.Int64Var(&a.MaxBody, "api-max-body", 4<<20, "largest request, in `BYTES` of its body")
	f.IntVar(&a.MaxConnections, "api-max-connections", 1024, "most `CONNECTIONS` to the API; more take the place of idle ones, or are closed")
	f.Float64Var(&a.Rate, "api-rate", 0, "`REQUESTS` a second that each client may send in the long run: each user in a project, or without a token each address; 0: no limit")
	f.IntVar(&a.Burst, "api-burst", 100, "`REQUESTS` that each client may send at once, where --api-rate is set")
	f.StringSliceVar(&a.TrustedProxies, "api-trusted-proxy", nil, "`ADDRESS` or prefix of a proxy whose X-Forwarded-For, -Proto, -Host and -Prefix or Forwarded headers count: for links, rates and the audit log; repeatable")
	f.StringVar(&a.AuditLog, "audit-log", AuditStderr, "`FILE` that gets a line of JSON for each request for a change; stderr: standard error; empty: none")
}

// Limits of --api-max-body: the least takes a bulk of some resources, the most is
// what a process can be asked to hold for each request.
const (
	minBody = 16 << 10
	maxBody = 256 << 20
)

func (a *API) validate(s *Set) error {
	var errs []error
	if a.MaxBody < minBody || a.MaxBody > maxBody {
		errs = append(errs, fmt.Errorf("%s: %d is not in %d…%d", s.Name("api-max-body"), a.MaxBody, minBody, maxBody))
	}
	if a.MaxConnections < 1 {
		errs = append(errs, fmt.Errorf("%s: %d is less than 1", s.Name("api-max-connections"), a.MaxConnections))
	}
	if !(a.Rate >= 0) {
		errs = append(errs, fmt.Errorf("%s: %v is less than 0", s.Name("api-rate"), a.Rate))
	}
	if a.Burst < 1 {
		errs = append(errs, fmt.Errorf("%s: %d is less than 1", s.Name("api-burst"), a.Burst))
	}
	if _, err := a.Proxies(); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", s.Name("api-trusted-proxy"), err))
	}
	if a.AuditLog != "" && a.AuditLog != AuditStderr && !filepath.IsAbs(a.AuditLog) {
		errs = append(errs, fmt.Errorf("%s: %q is neither stderr nor an absolute path", s.Name("audit-log"), a.AuditLog))
	}
	return errors.Join(errs...)
}

// Proxies are the prefixes of --api-trusted-proxy.
func (a *API) Proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range a.TrustedProxies {
		if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
			out = append(out, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("%q is neither an address nor a prefix such as 192.0.2.0/24", s)
		}
		out = append(out, p)
	}
	return out, nil
}
