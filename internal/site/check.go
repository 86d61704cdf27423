package site

import (
	"fmt"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Check looks for what no history of operations can leave behind: an index entry
// that belongs to no object, an object without one of its entries, two owners of
// what is unique, a reference that leads nowhere. It returns what it finds, in
// words, in a fixed order; nothing for a sound state.
func Check(r store.Reader) []string {
	c := &checker{r: r, owed: map[store.Index]map[string]string{}}
	c.objects()
	c.fabric()
	c.entries()
	c.quotas()
	slices.Sort(c.found)
	return c.found
}

type checker struct {
	r     store.Reader
	owed  map[store.Index]map[string]string // what the objects say must be in the index
	found []string
}

func (c *checker) problem(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// owe notes the entries of one object.
func (c *checker) owe(entries []entry) {
	for _, e := range entries {
		if c.owed[e.ix] == nil {
			c.owed[e.ix] = map[string]string{}
		}
		if other, twice := c.owed[e.ix][e.key]; twice {
			c.problem("%s %s belongs to %s and to %s", e.ix, e.key, other, e.value)
		}
		c.owed[e.ix][e.key] = e.value
	}
}

func (c *checker) key(kind store.Kind, n uint32, id string) {
	c.owe([]entry{{ix: ixKey, key: keyName(kind, n), value: id}})
}

// refer makes sure that a referenced object exists.
func (c *checker) refer(from string, kind store.Kind, id string) bool {
	if c.r.Get(kind, id) == nil {
		c.problem("%s refers to %s %s, which does not exist", from, kind, id)
		return false
	}
	return true
}

func (c *checker) objects() {
	for n := range store.All(c.r, store.Networks) {
		c.key(store.Networks.Kind(), uint32(n.Key), string(n.ID))
		c.owe([]entry{ownedEntry(QuotaNetwork, n.ProjectID, string(n.ID))})
		c.sharedFlag(string(n.ID), n.Shared)
	}
	for s := range store.All(c.r, store.Subnets) {
		c.refer("subnet "+string(s.ID), store.Networks.Kind(), string(s.NetworkID))
		c.owe(subnetEntries(s))
		c.poolOf(s)
	}
	for p := range store.All(c.r, store.SubnetPools) {
		if p.AddressScopeID != "" {
			c.refer("subnet pool "+string(p.ID), store.AddressScopes.Kind(), string(p.AddressScopeID))
		}
		c.owe(poolEntries(p))
		c.sharedFlag(string(p.ID), p.Shared)
	}
	for a := range store.All(c.r, store.AddressScopes) {
		c.sharedFlag(string(a.ID), a.Shared)
	}
	for r := range store.All(c.r, store.Routers) {
		c.key(store.Routers.Kind(), uint32(r.Key), string(r.ID))
		c.owe([]entry{ownedEntry(QuotaRouter, r.ProjectID, string(r.ID))})
	}
	for p := range store.All(c.r, store.Ports) {
		c.port(p)
	}
	for d := range store.All(c.r, store.GatewayDevices) {
		c.device(d)
	}
	for e := range store.All(c.r, store.RemoteMACEntries) {
		from := "remote MAC entry " + string(e.ID)
		if c.refer(from, store.GatewayDevices.Kind(), string(e.DeviceID)) &&
			store.Get(c.r, store.GatewayDevices, string(e.DeviceID)).Type == model.NetworkVLAN {
			c.problem("%s is on a network_vlan, which has no remote MAC table", from)
		}
		c.owe(remoteMACEntries(e))
	}
	for g := range store.All(c.r, store.L2Gateways) {
		c.refer("l2 gateway "+string(g.ID), store.GatewayDevices.Kind(), string(g.DeviceID))
		c.owe(gatewayEntries(g))
	}
	for conn := range store.All(c.r, store.L2GatewayConnections) {
		from := "l2 gateway connection " + string(conn.ID)
		c.refer(from, store.Networks.Kind(), string(conn.NetworkID))
		if c.refer(from, store.L2Gateways.Kind(), string(conn.L2GatewayID)) {
			c.owe(connectionEntries(conn, store.Get(c.r, store.L2Gateways, string(conn.L2GatewayID))))
		}
	}
	for p := range store.All(c.r, store.RBACPolicies) {
		c.share(p)
	}
	for p := range store.All(c.r, store.Placements) {
		from := "placement of " + string(p.DeviceID)
		c.refer(from, store.GatewayDevices.Kind(), string(p.DeviceID))
		for h := range p.Hosts {
			c.refer(from, store.Hosts.Kind(), string(h))
		}
	}
	for h := range store.All(c.r, store.Hosts) {
		if h.GatewayPriority > 0 {
			c.owe([]entry{{ix: ixGatewayHost, key: string(h.Name)}})
		}
	}
	for st := range store.All(c.r, store.SwitchStates) {
		if from := "switch state of " + string(st.DeviceID); st.Retired == nil {
			c.refer(from, store.GatewayDevices.Kind(), string(st.DeviceID))
		} else if store.Get(c.r, store.GatewayDevices, string(st.DeviceID)) != nil {
			c.problem("%s is that of a deleted device, which is there", from)
		}
	}
	for l := range store.All(c.r, store.LearnedMACs) {
		c.refer("learned MACs of "+string(l.ConnectionID), store.L2GatewayConnections.Kind(), string(l.ConnectionID))
	}
	for st := range store.All(c.r, store.PortStates) {
		c.refer("port state of "+string(st.PortID), store.Ports.Kind(), string(st.PortID))
	}
}

// poolOf checks a subnet against the pool it was taken from, and against the
// pool's other subnets: two of them never overlap.
func (c *checker) poolOf(s *model.Subnet) {
	if s.PoolID == "" || !c.refer("subnet "+string(s.ID), store.SubnetPools.Kind(), string(s.PoolID)) {
		return
	}
	pool := store.Get(c.r, store.SubnetPools, string(s.PoolID))
	if !holds(pool.Prefixes, s.CIDR) {
		c.problem("subnet %s has %s, which is not of its pool %s", s.ID, s.CIDR, s.PoolID)
	}
	key := prefixKey(s.PoolID, s.CIDR)
	for k, other := range c.r.Scan(ixPrefixOfPool, key) {
		if k != key {
			c.problem("subnets %s and %s of pool %s overlap", s.ID, other, s.PoolID)
		}
	}
}

func (c *checker) port(p *model.Port) {
	from := "port " + string(p.ID)
	c.key(store.Ports.Kind(), uint32(p.Key), string(p.ID))
	c.owe(portEntries(p))
	c.refer(from, store.Networks.Kind(), string(p.NetworkID))
	for _, a := range p.FixedIPs {
		if !c.refer(from, store.Subnets.Kind(), string(a.SubnetID)) {
			continue
		}
		sub := store.Get(c.r, store.Subnets, string(a.SubnetID))
		if sub.NetworkID != p.NetworkID || !sub.CIDR.Contains(a.IP) {
			c.problem("%s has %s, which is not of subnet %s on its network", from, a.IP, a.SubnetID)
		}
	}
	if isInterface(p) {
		c.refer(from, store.Routers.Kind(), p.DeviceID)
	}
}

func (c *checker) device(d *model.GatewayDevice) {
	from := "gateway device " + string(d.ID)
	switch d.Type {
	case model.RouterVTEP:
		c.refer(from, store.Routers.Kind(), d.ResourceID)
	case model.NetworkVLAN:
		if c.refer(from, store.Networks.Kind(), d.ResourceID) && store.Get(c.r, store.Networks, d.ResourceID).Type != model.NetworkUplink {
			c.problem("%s is on network %s, which is no uplink network", from, d.ResourceID)
		}
	case model.HWVTEP:
		if d.Management == nil {
			c.problem("%s has no management address", from)
			return
		}
	default:
		c.problem("%s is of no type: %q", from, d.Type)
		return
	}
	c.owe(deviceEntries(d))
}

// entries compares what the objects owe with what is there.
func (c *checker) entries() {
	for _, ix := range []store.Index{
		ixKey, ixMAC, ixIP, ixInterface, ixSubnetOfNetwork, ixPortOfRouter, ixSubnetOfRouter,
		ixDeviceOfRouter, ixDeviceOfNetwork, ixManagementIP, ixTunnelIP, ixRemoteMAC, ixGatewayOfDevice, ixSwitchPort, ixConnOfGateway, ixConnOfNetwork, ixVNI, ixShare,
		ixPrefixOfPool, ixPrefixOfProject, ixPoolOfScope, ixDefaultPool, ixOwned, ixFabricAddress, ixGatewayHost,
	} {
		owed := c.owed[ix]
		for key, value := range c.r.Scan(ix, "") {
			want, ok := owed[key]
			switch {
			case !ok && ix == ixKey && isTombstone(c.r, key, value):
				continue // waits for the hosts
			case !ok:
				c.problem("%s %s = %q belongs to nothing", ix, key, value)
			case want != value:
				c.problem("%s %s = %q, want %q", ix, key, value, want)
			}
			delete(owed, key)
		}
		if ix == ixFabricAddress {
			continue // a host that has not connected since there is the index has no entry yet
		}
		for key, value := range owed {
			c.problem("%s %s = %q is missing", ix, key, value)
		}
	}
}
