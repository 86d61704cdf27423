package site

import (
	"context"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Limits bound the lists of one resource, and the table of one gateway device. The zero
// value of each means its default, which is Neutron's where Neutron has such a limit.
//
// What is above a limit already stays as it is: only who adds to such a list is
// refused.
type Limits struct {
	Routes       int // of a router; Neutron: max_routes
	HostRoutes   int // of a subnet; max_subnet_host_routes
	NameServers  int // of a subnet; max_dns_nameservers
	FixedIPs     int // of a port; max_fixed_ips_per_port
	AddressPairs int // of a port; max_allowed_address_pair
	RemoteMACs   int // of a gateway device; Neutron has none
}

// DefaultLimits are those that hold where nobody sets others.
func DefaultLimits() Limits {
	return Limits{Routes: 30, HostRoutes: 20, NameServers: 5, FixedIPs: 5, AddressPairs: 10, RemoteMACs: 16384}
}

func (l Limits) withDefaults() Limits {
	def := DefaultLimits()
	fill := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	fill(&l.Routes, def.Routes)
	fill(&l.HostRoutes, def.HostRoutes)
	fill(&l.NameServers, def.NameServers)
	fill(&l.FixedIPs, def.FixedIPs)
	fill(&l.AddressPairs, def.AddressPairs)
	fill(&l.RemoteMACs, def.RemoteMACs)
	return l
}

// exceeds tells whether a list is beyond its limit and has what the old one had not.
func exceeds[T comparable](now, old []T, limit int) bool {
	if len(now) <= limit {
		return false
	}
	had := make(map[T]struct{}, len(old))
	for _, x := range old {
		had[x] = struct{}{}
	}
	for _, x := range now {
		if _, ok := had[x]; !ok {
			return true
		}
	}
	return false
}

func routesExhausted(id model.RouterID, limit int) *model.Error {
	return model.Errf(model.KindInvalid, "RoutesExhausted", "Unable to complete operation for %s. The number of routes exceeds the maximum %d.", id, limit)
}

// checkListLengths bounds what a subnet tells its workloads. old is nil for a new one.
func (l Limits) checkListLengths(sub, old *model.Subnet) error {
	name, was := string(sub.ID), old
	if old == nil {
		name, was = "new subnet", &model.Subnet{}
	}
	if exceeds(sub.DNSNameservers, was.DNSNameservers, l.NameServers) {
		return model.Errf(model.KindInvalid, "DNSNameServersExhausted", "Unable to complete operation for %s. The number of DNS nameservers exceeds the limit %d.", name, l.NameServers)
	}
	if exceeds(sub.HostRoutes, was.HostRoutes, l.HostRoutes) {
		return model.Errf(model.KindInvalid, "HostRoutesExhausted", "Unable to complete operation for %s. The number of host routes exceeds the limit %d.", name, l.HostRoutes)
	}
	return nil
}

// roomForRemoteMAC refuses an entry more for a device whose table is full. It counts
// beside the transaction that adds the entry, which would else depend on every other
// writer of the table: so many that come at the same moment may all find the last place
// free.
func (s *Site) roomForRemoteMAC(ctx context.Context, id model.GatewayDeviceID) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	return remoteMACRoom(snap, id, s.limits.RemoteMACs)
}

func remoteMACRoom(r store.Reader, id model.GatewayDeviceID, limit int) error {
	n := 0
	for range r.Scan(ixRemoteMAC, string(id)+"/") {
		if n++; n >= limit {
			return conflict("OverQuota", "Quota exceeded for resources: ['remote_mac_entry']: gateway device %s may have %d.", id, limit)
		}
	}
	return nil
}
