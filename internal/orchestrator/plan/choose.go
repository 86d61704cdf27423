package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// choose decides what the file leaves open. The same file and the same sites give
// the same choices, and what exists already wins over what would be chosen anew.
func (b *builder) choose() {
	c := &b.plan.Choices
	c.CIDR = b.spec.Network.CIDR
	c.VNI = b.chooseVNI()
	c.MTU = b.chooseMTU()
	for _, v := range b.views {
		s := SiteChoice{Site: v.spec.Name, TunnelIP: v.tunnelIP(), advertises: map[netip.Prefix]bool{}}
		for _, p := range v.advertised(c.CIDR) {
			s.Advertise = append(s.Advertise, p.prefix)
			s.advertises[p.prefix] = true
		}
		c.Sites = append(c.Sites, s)
	}
	b.chooseAddresses()
	b.chooseMACs()
	b.choice = map[string]*SiteChoice{}
	for i := range c.Sites {
		b.choice[c.Sites[i].Site] = &c.Sites[i]
	}
}

// chooseVNI: the file's; else the one that most sites have; else one derived from
// the peering's name that no gateway device has.
func (b *builder) chooseVNI() model.VNI {
	if b.spec.Network.VNI != 0 {
		return b.spec.Network.VNI
	}
	votes := map[model.VNI]int{}
	for _, v := range b.views {
		for _, c := range v.conns {
			if vni := v.obs.VNIOf(c); vni != 0 {
				votes[vni] += 2
			}
		}
		for _, g := range v.l2gws {
			if g.VNI != 0 {
				votes[g.VNI]++
			}
		}
	}
	used := map[model.VNI]bool{}
	for _, v := range b.views {
		for vni := range v.vnisInUse() {
			used[vni] = true
		}
		if v.obs == nil {
			continue
		}
		own := map[model.VNI]bool{}
		for _, g := range v.l2gws {
			own[g.VNI] = true
		}
		for _, g := range v.obs.L2Gateways {
			used[g.VNI] = used[g.VNI] || !own[g.VNI]
		}
	}
	derived := 1 + model.VNI(binary.BigEndian.Uint32(digest("vni", b.spec.Name, 0)))%peering.MaxChosenVNI
	for used[derived] {
		derived = derived%peering.MaxChosenVNI + 1
	}
	return elect(votes, derived, derived)
}

// elect gives the value with the most votes. Of those with equally many it is the
// one that would be chosen if nothing existed, else first.
func elect[T comparable](votes map[T]int, derived, first T) T {
	most := 0
	for _, n := range votes {
		most = max(most, n)
	}
	switch {
	case most == 0 || votes[derived] == most:
		return derived
	case votes[first] == most:
		return first
	}
	var best T
	text := ""
	for v, n := range votes {
		if s := fmt.Sprint(v); n == most && (text == "" || s < text) {
			best, text = v, s
		}
	}
	return best
}

// chooseMTU: the file's; else what every site's networks carry. A tenant network
// has the site's largest MTU unless somebody chose a smaller one.
func (b *builder) chooseMTU() int {
	if b.spec.Network.MTU != 0 {
		return b.spec.Network.MTU
	}
	least := 0
	for _, v := range b.views {
		if n := v.carries(); n != 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// carries is the largest MTU of the tenant networks on the peer router, 0 if the
// site does not say.
func (v *view) carries() int {
	most := 0
	for _, c := range v.connected() {
		if n := v.obs.Network(c.subnet.NetworkID); n != nil && n.Type != uplink && !n.External {
			most = max(most, n.MTU)
		}
	}
	if most == 0 && v.net != nil {
		most = v.net.MTU
	}
	return most
}

// chooseAddresses gives each site without an address the one that it has, or else
// the lowest that is free, in the order of the file.
func (b *builder) chooseAddresses() {
	sites := b.plan.Choices.Sites
	taken := map[netip.Addr]bool{}
	for i, v := range b.views {
		if sites[i].Address = v.spec.Address; sites[i].Address.IsValid() {
			taken[sites[i].Address] = true
		}
		for _, p := range v.foreign {
			for _, ip := range p.IPs {
				taken[ip.Addr] = true
			}
		}
	}
	cidr := b.spec.Network.CIDR
	first := cidr.Addr()
	if !model.IsHostIn(cidr, first) {
		first = first.Next()
	}
	usual := first
	for i, v := range b.views {
		for taken[usual] {
			usual = usual.Next()
		}
		if sites[i].Address.IsValid() {
			continue
		}
		votes := map[netip.Addr]int{}
		for _, o := range b.views {
			if p := o.portFor(v.spec.Name); p != nil && p.Addr().IsValid() && b.spec.Network.CIDR.Contains(p.Addr()) && !taken[p.Addr()] {
				votes[p.Addr()]++
			}
		}
		if len(votes) > 0 {
			own := netip.Addr{}
			if v.peer != nil {
				own = v.peer.Addr()
			}
			sites[i].Address = elect(votes, usual, own)
			if taken[sites[i].Address] = true; sites[i].Address == usual {
				continue
			}
		}
		usual = usual.Next()
	}
	next := first
	for i, v := range b.views {
		if sites[i].Address.IsValid() || v.down {
			continue
		}
		for taken[next] {
			next = next.Next()
		}
		if !model.IsHostIn(cidr, next) {
			b.block(Problem{Site: v.spec.Name, Text: fmt.Sprintf("no address is left in %s for the peer router port", b.spec.Network.CIDR),
				Hint: "Give the peering a larger cidr."})
			return
		}
		sites[i].Address = next
		taken[next] = true
	}
}

// portFor is the port that stands for a site.
func (v *view) portFor(site string) *observed.Port {
	if site == v.spec.Name {
		return v.peer
	}
	return v.remote[site]
}

// chooseMACs gives each site without a MAC the one that it has, or one derived from
// the names: locally administered, so that it is no vendor's.
func (b *builder) chooseMACs() {
	sites := b.plan.Choices.Sites
	taken := map[model.MAC]bool{}
	for i, v := range b.views {
		if sites[i].MAC = v.spec.MAC; !sites[i].MAC.IsZero() {
			taken[sites[i].MAC.MAC] = true
		}
		for _, p := range v.foreign {
			taken[p.MAC.MAC] = true
		}
		if v.obs == nil {
			continue
		}
		// A MAC that another VNI of a device has is no conflict, but upstream's table
		// takes each MAC once.
		for _, e := range v.obs.RemoteMACs {
			if e.VNI != b.plan.Choices.VNI {
				taken[e.MAC.MAC] = true
			}
		}
	}
	for i, v := range b.views {
		if !sites[i].MAC.IsZero() {
			continue
		}
		votes, text := map[model.MAC]int{}, map[model.MAC]model.NamedMAC{}
		for _, o := range b.views {
			if p := o.portFor(v.spec.Name); p != nil && !p.MAC.IsZero() {
				votes[p.MAC.MAC]++
				text[p.MAC.MAC] = p.MAC
			}
		}
		var derived, own model.MAC
		for n := uint32(0); n == 0 || taken[derived]; n++ {
			derived = model.MAC(digest("mac", b.spec.Name+"\x00"+v.spec.Name, n)[:6])
			derived[0] = derived[0]&^3 | 2
		}
		if v.peer != nil {
			own = v.peer.MAC.MAC
		}
		if len(votes) == 0 && v.down {
			continue
		}
		m := elect(votes, derived, own)
		if sites[i].MAC = text[m]; sites[i].MAC.IsZero() {
			sites[i].MAC = model.NamedMAC{MAC: m}
		}
		taken[m] = true
	}
}

func digest(what, name string, n uint32) []byte {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", what, name, n))
	return h[:]
}

// sortedKeys gives the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
