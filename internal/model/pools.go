package model

import "net/netip"

// SubnetPool is a supply of address ranges for subnets. Only IPv4 exists so far.
type SubnetPool struct {
	ID SubnetPoolID `json:"id"`
	Standard
	// Prefixes are disjoint, in order, and as few as can say the same.
	Prefixes []netip.Prefix `json:"prefixes"`
	// The lengths that a subnet's prefix may have, and has where none is asked for.
	MinPrefixLen     int `json:"min_prefixlen"`
	MaxPrefixLen     int `json:"max_prefixlen"`
	DefaultPrefixLen int `json:"default_prefixlen"`
	// DefaultQuota is how many addresses one project may take; nil or 0: all.
	DefaultQuota   *int64         `json:"default_quota,omitempty"`
	AddressScopeID AddressScopeID `json:"address_scope_id,omitempty"`
	Shared         bool           `json:"shared,omitempty"`
	// IsDefault is set for the one pool that use_default_subnet_pool means.
	IsDefault bool `json:"is_default,omitempty"`
}

// AddressScope is a set of subnet pools of which no two have an address in common.
type AddressScope struct {
	ID        AddressScopeID `json:"id"`
	Name      string         `json:"name"`
	ProjectID ProjectID      `json:"project_id"`
	Shared    bool           `json:"shared,omitempty"`
	IPVersion int            `json:"ip_version"`
}
