package site

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// The index families. Each comment gives key → value.
const (
	ixKey             store.Index = "key"               // kind/number → id, also when the resource is gone: see tx.freeKey
	ixMAC             store.Index = "mac"               // network/mac → port: the ports of a network too
	ixIP              store.Index = "ip"                // subnet/hex address → port
	ixInterface       store.Index = "interface"         // host/interface name → port
	ixSubnetOfNetwork store.Index = "subnet-of-network" // network/subnet → ""
	ixPortOfRouter    store.Index = "port-of-router"    // router/port → ""
	ixSubnetOfRouter  store.Index = "subnet-of-router"  // router/subnet → port
	ixDeviceOfRouter  store.Index = "device-of-router"  // router → gateway device
	ixDeviceOfNetwork store.Index = "device-of-network" // uplink network → gateway device
	ixManagementIP    store.Index = "management-ip"     // address → gateway device
	ixTunnelIP        store.Index = "tunnel-ip"         // address → gateway device
	ixRemoteMAC       store.Index = "remote-mac"        // device/vni/mac → entry
	ixGatewayOfDevice store.Index = "l2gw-of-device"    // device/l2 gateway → ""
	ixSwitchPort      store.Index = "switch-port"       // device/vlan/port of a switch → l2 gateway
	ixConnOfGateway   store.Index = "conn-of-l2gw"      // l2 gateway → connection
	ixConnOfNetwork   store.Index = "conn-of-network"   // network/connection → ""
	ixVNI             store.Index = "vni"               // device/vni → connection
	ixShare           store.Index = "share"             // object/action/target → RBAC policy
	ixPrefixOfPool    store.Index = "prefix-of-pool"    // pool/bits of the prefix → subnet
	ixPrefixOfProject store.Index = "prefix-of-project" // pool/project/bits of the prefix → subnet
	ixPoolOfScope     store.Index = "pool-of-scope"     // address scope/pool → ""
	ixOwned           store.Index = "owned"             // resource/project/id → "": what quotas count
	ixQuota           store.Index = "quota"             // resource/project/ → shards: see quota.go
	ixDefaultPool     store.Index = "default-pool"      // IP version → pool
	ixFabricAddress   store.Index = "fabric-address"    // address → host, from when the host next connects
	ixGatewayHost     store.Index = "gateway-host"      // host whose agent says that it may serve gateway devices → ""
	ixFabricPort      store.Index = "fabric-port"       // "site" → UDP port of all hosts that are not away, while all are on the fabric
)

// entry is an index entry that an object owns. taken makes the error for an entry
// that another object holds; nil where the key contains the object's own id.
type entry struct {
	ix         store.Index
	key, value string
	taken      func(holder string) *model.Error
}

// reindex replaces an object's entries: what only old has goes, what only new has
// comes, unless another object holds it.
func (t *tx) reindex(old, now []entry) error {
	type place struct {
		ix  store.Index
		key string
	}
	keep := make(map[place]bool, len(now))
	for _, e := range now {
		keep[place{e.ix, e.key}] = true
	}
	had := make(map[place]bool, len(old))
	for _, e := range old {
		had[place{e.ix, e.key}] = true
		if !keep[place{e.ix, e.key}] {
			t.DeleteIndex(e.ix, e.key)
		}
	}
	for _, e := range now {
		if had[place{e.ix, e.key}] {
			continue
		}
		if e.taken != nil {
			if holder, ok := t.Lookup(e.ix, e.key); ok {
				return e.taken(holder)
			}
		}
		t.SetIndex(e.ix, e.key, e.value)
	}
	return nil
}

// addrKey writes an address so that text order is address order.
func addrKey(a netip.Addr) string { return fmt.Sprintf("%x", a.AsSlice()) }

// SubnetsOf lists the ids of a network's subnets, in order.
func SubnetsOf(r store.Reader, id model.NetworkID) []string {
	return suffixes(r, ixSubnetOfNetwork, string(id)+"/")
}

// PortsOf lists the ids of a network's ports, in order.
func PortsOf(r store.Reader, id model.NetworkID) []string {
	return slices.Sorted(valuesOf(r, ixMAC, string(id)+"/"))
}

// PortsOfRouter lists the ids of a router's interfaces, in order.
func PortsOfRouter(r store.Reader, id model.RouterID) []string {
	return suffixes(r, ixPortOfRouter, string(id)+"/")
}

// RemoteMACsOf lists the remote MAC table of a gateway device, ordered by VNI and
// MAC.
func RemoteMACsOf(r store.Reader, id model.GatewayDeviceID) []*model.RemoteMACEntry {
	return remoteMACs(r, id, math.MaxInt)
}

// remoteMACs is RemoteMACsOf, at most so many.
func remoteMACs(r store.Reader, id model.GatewayDeviceID, most int) []*model.RemoteMACEntry {
	var out []*model.RemoteMACEntry
	for _, eid := range r.Scan(ixRemoteMAC, string(id)+"/") {
		if e := store.Get(r, store.RemoteMACEntries, eid); e != nil {
			out = append(out, e)
		}
		if len(out) == most {
			break
		}
	}
	return out
}
