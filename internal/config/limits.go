package config

import (
	"errors"
	"fmt"

	"github.com/causeway-net/causeway/internal/maplimit"
)

// ResourceLimits bound the lists of single resources at the API.
type ResourceLimits struct {
	Routes, HostRoutes, NameServers, FixedIPs, AddressPairs, RemoteMACs int
}

// each goes through the limits with their flags, defaults, greatest values and what they
// bound. The names are Neutron's where it has the setting.
func (l *ResourceLimits) each(fn func(value *int, flag string, def, most int, usage string)) {
	fn(&l.Routes, "max-routes", 30, 65536, "most `ROUTES` of a router")
	fn(&l.HostRoutes, "max-subnet-host-routes", 20, 65536, "most `ROUTES` in a subnet's host_routes")
	fn(&l.NameServers, "max-dns-nameservers", 5, 100, "most `SERVERS` in a subnet's dns_nameservers")
	fn(&l.FixedIPs, "max-fixed-ips-per-port", 5, 50, "most `ADDRESSES` in a port's fixed_ips")
	fn(&l.AddressPairs, "max-allowed-address-pair", 10, 4096, "most `PAIRS` in a port's allowed_address_pairs")
	fn(&l.RemoteMACs, "max-remote-macs", 16384, maplimit.Most, "most `ENTRIES` in a gateway device's remote MAC table")
}

func (l *ResourceLimits) bind(s *Set) {
	l.each(func(value *int, flag string, def, _ int, usage string) { s.flags.IntVar(value, flag, def, usage) })
}

func (l *ResourceLimits) validate(s *Set) error {
	var errs []error
	l.each(func(value *int, flag string, _, most int, _ string) {
		if *value < 1 || *value > most {
			errs = append(errs, fmt.Errorf("%s: %d is not in 1…%d", s.Name(flag), *value, most))
		}
	})
	return errors.Join(errs...)
}
