package dataplane

import (
	"cmp"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// tunnelKey names the counter of a VNI towards a remote VTEP.
type tunnelKey struct {
	local, remote netip.Addr
	vni           model.VNI
}

func (k tunnelKey) compare(o tunnelKey) int {
	return cmp.Or(k.local.Compare(o.local), k.remote.Compare(o.remote), cmp.Compare(k.vni, o.vni))
}

// counterIndex hands out indices of the counters map. Index 0 is nobody's, and
// counts for those that found none free.
type counterIndex struct {
	size    uint32
	ports   map[model.PortKey]uint32
	tunnels map[tunnelKey]uint32
	vlans   map[vlanID]uint32
	used    map[uint32]bool
	// resting are indices that rows named until now: a program that has read such a row may
	// still count there.
	resting []uint32
	next    uint32 // where to look for a free one
	fresh   []uint32
}

func newCounterIndex(size uint32) *counterIndex {
	return &counterIndex{
		size:    size,
		ports:   map[model.PortKey]uint32{},
		tunnels: map[tunnelKey]uint32{},
		vlans:   map[vlanID]uint32{},
		used:    map[uint32]bool{},
		next:    1,
	}
}

// take finds a free index; 0 where there is none. It is put among the fresh ones,
// to be set to zero before a row tells the programs of it.
func (c *counterIndex) take() uint32 {
	if uint32(len(c.used))+1 >= c.size {
		c.rested()
	}
	if uint32(len(c.used))+1 >= c.size {
		return 0
	}
	for c.used[c.next] || c.next == 0 || c.next >= c.size {
		c.next++
		if c.next >= c.size {
			c.next = 1
		}
	}
	i := c.next
	c.used[i] = true
	c.next++
	c.fresh = append(c.fresh, i)
	return i
}

func (c *counterIndex) port(k model.PortKey) uint32 {
	i, ok := c.ports[k]
	if !ok {
		if i = c.take(); i != 0 {
			c.ports[k] = i
		}
	}
	return i
}

func (c *counterIndex) tunnel(k tunnelKey) uint32 {
	i, ok := c.tunnels[k]
	if !ok {
		if i = c.take(); i != 0 {
			c.tunnels[k] = i
		}
	}
	return i
}

func (c *counterIndex) vlan(k vlanID) uint32 {
	i, ok := c.vlans[k]
	if !ok {
		if i = c.take(); i != 0 {
			c.vlans[k] = i
		}
	}
	return i
}

// adoptPort, adoptTunnel and adoptVLAN note what pinned rows say. The first to claim an
// index has it.
func (c *counterIndex) adoptPort(k model.PortKey, i uint32) {
	if _, ok := c.ports[k]; !ok && c.claim(i) {
		c.ports[k] = i
	}
}

func (c *counterIndex) adoptTunnel(k tunnelKey, i uint32) {
	if _, ok := c.tunnels[k]; !ok && c.claim(i) {
		c.tunnels[k] = i
	}
}

func (c *counterIndex) adoptVLAN(k vlanID, i uint32) {
	if _, ok := c.vlans[k]; !ok && c.claim(i) {
		c.vlans[k] = i
	}
}

func (c *counterIndex) claim(i uint32) bool {
	if i == 0 || i >= c.size || c.used[i] {
		return false
	}
	c.used[i] = true
	return true
}

func (c *counterIndex) freePort(k model.PortKey) {
	if i, ok := c.ports[k]; ok {
		delete(c.ports, k)
		c.resting = append(c.resting, i)
	}
}

func (c *counterIndex) freeVLAN(k vlanID) {
	if i, ok := c.vlans[k]; ok {
		delete(c.vlans, k)
		c.resting = append(c.resting, i)
	}
}

func (c *counterIndex) freeTunnel(k tunnelKey) {
	if i, ok := c.tunnels[k]; ok {
		delete(c.tunnels, k)
		c.resting = append(c.resting, i)
	}
}

// rested frees the indices that rest. No row names them since the change of rows that is under
// way, or an earlier one.
func (c *counterIndex) rested() {
	if len(c.resting) == 0 {
		return
	}
	gracePeriod()
	for _, i := range c.resting {
		delete(c.used, i)
	}
	c.resting = nil
}
