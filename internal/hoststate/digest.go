package hoststate

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// Digest says what rows there are: the sum, modulo 2^256, of the SHA-256 of each. So it does not
// depend on their order, and a row that changes changes it at the cost of that row. The zero
// Digest is that of no rows.
//
// It finds what differs by chance or by a mistake. Who can choose the values of very many rows
// of one group could make two sets alike; all that would come of it is that an agent which was
// away keeps the old rows of that group.
type Digest [4]uint64

func (d *Digest) add(e Digest) {
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], e[i], carry)
	}
}

func (d *Digest) sub(e Digest) {
	var borrow uint64
	for i := range d {
		d[i], borrow = bits.Sub64(d[i], e[i], borrow)
	}
}

// Bytes is the digest as it is sent.
func (d Digest) Bytes() []byte {
	b := make([]byte, 0, 32)
	for _, w := range d {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// DigestFrom reads what Bytes made.
func DigestFrom(b []byte) (d Digest, ok bool) {
	if len(b) != 32 {
		return d, false
	}
	for i := range d {
		d[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return d, true
}

// Digests are those of a host's groups; one without rows is not among them.
type Digests map[Group]Digest

// Add takes the digest of more rows of a group in.
func (ds Digests) Add(g Group, d Digest) {
	sum := ds[g]
	sum.add(d)
	ds[g] = sum
}

// Digests works out what the rows of s come to, at the cost of all of them.
func (s *State) Digests() Digests {
	sums := map[Group]*Digest{}
	of, h := tunnelsOf(s), &hasher{}
	for _, t := range tables {
		t.digests(s, of, h, sums)
	}
	out := make(Digests, len(sums))
	for g, d := range sums {
		out[g] = *d
	}
	return out
}

// Total is one Digest for all groups.
func (ds Digests) Total() Digest {
	var total Digest
	var h hasher
	for g, d := range ds {
		total.add(h.ofGroup(g, d))
	}
	return total
}

// hasher writes what is hashed.
type hasher struct{ b []byte }

func (h *hasher) sum() Digest {
	s := sha256.Sum256(h.b)
	d, _ := DigestFrom(s[:])
	return d
}

func (h *hasher) ofGroup(g Group, d Digest) Digest {
	g = g.Own()
	h.b = append(h.b[:0], byte(g.Kind))
	h.number(uint64(g.Key))
	h.text(g.Name)
	h.b = append(h.b, d.Bytes()...)
	return h.sum()
}

// Each value is written so that where it ends is known.

func (h *hasher) number(n uint64) { h.b = binary.AppendUvarint(h.b, n) }
func (h *hasher) mac(m model.MAC) { h.b = append(h.b, m[:]...) }
func (h *hasher) text(s string)   { h.number(uint64(len(s))); h.b = append(h.b, s...) }

func (h *hasher) yes(b bool) {
	if b {
		h.number(1)
		return
	}
	h.number(0)
}

func (h *hasher) addr(a netip.Addr) {
	b := a.As16()
	h.number(uint64(a.BitLen()))
	if a.IsValid() {
		h.b = append(h.b, b[:]...)
	}
}

func (h *hasher) prefix(p netip.Prefix) { h.addr(p.Addr()); h.number(uint64(p.Bits() + 1)) }

func (t *Table[K, V]) digest(h *hasher, k K, v V) Digest {
	h.b = append(h.b[:0], t.Name...)
	h.b = append(h.b, 0)
	t.hash(h, k, v)
	return h.sum()
}

// digestsOf are the digest of a row, and that of what an agent from before the fabric has of it, which is zero
// where that is nothing.
func (t *Table[K, V]) digestsOf(h *hasher, k K, v V) (whole, older Digest) {
	whole = t.digest(h, k, v)
	if t.older == nil {
		return whole, whole
	}
	o, has := t.older(v)
	switch {
	case !has:
		return whole, Digest{}
	case t.Equal(o, v):
		return whole, whole
	}
	return whole, t.digest(h, k, o)
}

// unknown says that an older agent has no such rows.
func unknown[V any](v V) (V, bool) { return v, false }

func olderFDBEntry(e FDBEntry) (FDBEntry, bool) {
	e.Domain, e.Also = 0, ""
	return e, true
}

func (t *Table[K, V]) digests(s *State, of tunnels, h *hasher, sums map[Group]*Digest) {
	for k, v := range *t.Rows(s) {
		g := t.group(of, k, v)
		d := sums[g]
		if d == nil {
			d = &Digest{}
			sums[g] = d
		}
		d.add(t.digest(h, k, v))
	}
}

func hashPort(h *hasher, k model.PortKey, p Port) {
	h.number(uint64(k))
	h.text(string(p.ID))
	h.text(string(p.Project))
	h.number(uint64(p.Network))
	h.text(p.Interface)
	h.mac(p.MAC)
	h.number(uint64(len(p.Addrs)))
	for _, a := range p.Addrs {
		h.addr(a)
	}
	h.yes(p.PortSecurity)
	h.number(uint64(len(p.Pairs)))
	for _, a := range p.Pairs {
		h.mac(a.MAC)
		h.prefix(a.Prefix)
	}
	h.number(uint64(p.Drop))
}

func hashNetwork(h *hasher, k model.NetworkKey, n Network) {
	h.number(uint64(k))
	h.text(string(n.ID))
	h.text(n.Name)
	h.text(string(n.Project))
	h.number(uint64(n.MTU))
}

func hashRouter(h *hasher, k model.RouterKey, r Router) {
	h.number(uint64(k))
	h.text(string(r.ID))
	h.text(r.Name)
	h.text(string(r.Project))
}

func hashFDBEntry(h *hasher, k FDBKey, e FDBEntry) {
	h.number(uint64(k.Network))
	h.mac(k.MAC)
	h.number(uint64(e.Kind))
	h.number(uint64(e.Port))
	h.number(uint64(e.Router))
	h.addr(e.Addr)
	h.addr(e.TunnelIP)
	h.number(uint64(e.VNI))
	h.text(string(e.Gateway))
	h.number(uint64(e.Drop))
	h.text(string(e.Project))
	h.text(string(e.Host))
	if e.Domain != 0 { // an agent or a controller from before there were domains has none
		h.number(uint64(e.Domain))
	}
	if e.Also != "" { // nor one that lies in two places
		h.text(string(e.Also))
	}
}

func hashNeighbor(h *hasher, k NeighborKey, m model.MAC) {
	h.number(uint64(k.Network))
	h.addr(k.IP)
	h.mac(m)
}

func (h *hasher) routeKey(k RouteKey) { h.number(uint64(k.Router)); h.prefix(k.Prefix) }

func hashRoute(h *hasher, k RouteKey, r Route) {
	h.routeKey(k)
	h.number(uint64(r.Kind))
	h.number(uint64(r.Network))
	h.addr(r.NextHop)
	h.mac(r.MAC)
	h.number(uint64(r.Drop))
}

func hashHops(h *hasher, k RouteKey, hops []Hop) {
	h.routeKey(k)
	h.number(uint64(len(hops)))
	for _, x := range hops {
		h.number(uint64(x.Network))
		h.addr(x.NextHop)
		h.mac(x.MAC)
	}
}

func hashVNI(h *hasher, k VNIKey, n model.NetworkKey) {
	h.addr(k.TunnelIP)
	h.number(uint64(k.VNI))
	h.number(uint64(n))
}

func hashPeer(h *hasher, k PeerKey, p Peer) {
	h.addr(k.TunnelIP)
	h.addr(k.Remote)
	h.number(uint64(k.VNI))
	h.number(uint64(p.Network))
	h.text(string(p.Gateway))
	h.number(uint64(p.Drop))
}

func hashGateway(h *hasher, id model.GatewayDeviceID, g Gateway) {
	h.text(string(id))
	h.addr(g.TunnelIP)
	h.number(g.Epoch)
	h.number(uint64(g.Router))
	h.number(uint64(len(g.Uplinks)))
	for _, u := range g.Uplinks {
		h.text(string(u.Port))
		h.text(u.Interface)
		h.mac(u.MAC)
		h.prefix(u.Addr)
		h.yes(u.Down)
	}
	h.number(uint64(len(g.Routes)))
	for _, r := range g.Routes {
		h.prefix(r.Prefix)
		h.addr(r.NextHop)
	}
}

func hashVLAN(h *hasher, k VLANKey, v VLAN) {
	h.text(k.Interface)
	h.number(uint64(k.ID))
	h.number(uint64(v.Network))
	h.text(string(v.Gateway))
	h.text(string(v.Port))
	h.number(uint64(len(v.Prefixes)))
	for _, p := range v.Prefixes {
		h.prefix(p)
	}
	h.number(uint64(v.Drop))
}

func hashHost(h *hasher, k model.HostName, v Host) {
	h.text(string(k))
	h.addr(v.Addr)
	h.number(uint64(v.Port))
	h.number(uint64(v.MTU))
}

func hashMember(h *hasher, k MemberKey, _ Member) {
	h.number(uint64(k.Network))
	h.text(string(k.Host))
}

func hashHostPair(h *hasher, k HostPairKey, v HostPair) {
	h.number(uint64(k.Network))
	h.text(string(k.Host))
	h.mac(k.MAC)
	h.prefix(k.Prefix)
	h.number(uint64(v.Port))
	h.mac(v.MAC)
}

func hashSpeaker(h *hasher, k SpeakerKey, _ Speaker) {
	h.number(uint64(k.Domain))
	h.text(string(k.Host))
}
