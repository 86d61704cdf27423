package hostsync

import (
	"fmt"
	"iter"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// chunksOf cuts a delta's rows, and the keys of those that are gone, into chunks of n at most.
func chunksOf(d *hoststate.Delta, n int) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		part, rows, going := &pb.Delta{}, 0, true
		flush := func() {
			fields, err := proto.Marshal(part)
			going = yield(chunk{fields, rows, err})
			part, rows = &pb.Delta{}, 0
		}
		// next is the part that takes one more row; nil: the receiver has had enough.
		next := func() *pb.Delta {
			if going && rows == n {
				flush()
			}
			if !going {
				return nil
			}
			rows++
			return part
		}
		for _, w := range wires {
			w.encode(d, next)
		}
		for _, w := range wires {
			w.encodeGone(d, next)
		}
		if going && rows > 0 {
			flush()
		}
	}
}

// decode adds a part's rows to to.
func decode(p *pb.Delta, to *hoststate.Delta) error {
	var d decoder
	for _, g := range p.Replaced {
		to.Replaced = append(to.Replaced, d.group(g))
	}
	for _, w := range wires {
		w.decode(&d, p, to)
	}
	return d.err
}

func groupRow(g hoststate.Group) *pb.Group {
	return &pb.Group{Kind: uint32(g.Kind), Key: g.Key, Name: g.Name}
}

func (d *decoder) group(g *pb.Group) hoststate.Group {
	return hoststate.Group{Kind: hoststate.GroupKind(d.kind(g.GetKind(), uint8(hoststate.GroupDomain))), Key: g.GetKey(), Name: g.GetName()}
}

func addrBytes(a netip.Addr) []byte { return a.AsSlice() }

func prefixOf(p netip.Prefix) *pb.Prefix {
	return &pb.Prefix{Addr: p.Addr().AsSlice(), Bits: uint32(p.Bits())}
}

func macBytes(m model.MAC) []byte { return m[:] }

// decoder reads rows; its first error sticks.
type decoder struct{ err error }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("delta: "+format, args...)
	}
}

func (d *decoder) mac(b []byte) (m model.MAC) {
	if len(b) != len(m) {
		d.fail("a MAC of %d bytes", len(b))
		return m
	}
	return model.MAC(b)
}

// addr reads an address that must be there; maybeAddr one that need not.
func (d *decoder) addr(b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		d.fail("an address of %d bytes", len(b))
	}
	return a
}

func (d *decoder) maybeAddr(b []byte) netip.Addr {
	if len(b) == 0 {
		return netip.Addr{}
	}
	return d.addr(b)
}

func (d *decoder) prefix(p *pb.Prefix) netip.Prefix {
	q := netip.PrefixFrom(d.addr(p.GetAddr()), int(min(p.GetBits(), 255)))
	if !q.IsValid() {
		d.fail("prefix %v/%d", q.Addr(), p.GetBits())
	}
	return q
}

func (d *decoder) masked(p *pb.Prefix) netip.Prefix {
	q := d.prefix(p)
	if q != q.Masked() {
		d.fail("prefix %v has host bits", q)
	}
	return q
}

func (d *decoder) key(k uint32) uint32 {
	if k == 0 || k > model.MaxKey {
		d.fail("key %d", k)
	}
	return k
}

func (d *decoder) vni(v uint32) model.VNI {
	if v == 0 || v > model.MaxVNI {
		d.fail("VNI %d", v)
	}
	return model.VNI(v)
}

// port reads a UDP port.
func (d *decoder) port(p uint32) uint16 {
	if p == 0 || p > 65535 {
		d.fail("UDP port %d", p)
	}
	return uint16(p)
}

func (d *decoder) reason(r uint32) reason.Reason {
	if r >= uint32(reason.Count) {
		d.fail("drop reason %d", r)
		return reason.Internal
	}
	return reason.Reason(r)
}

func (d *decoder) kind(k uint32, last uint8) uint8 {
	if k == 0 || k > uint32(last) {
		d.fail("kind %d", k)
		return last
	}
	return uint8(k)
}

func (d *decoder) vlanKey(r *pb.VLANRow) hoststate.VLANKey {
	if r.Vlan == 0 || r.Vlan > model.MaxVLAN {
		d.fail("VLAN %d", r.Vlan)
		return hoststate.VLANKey{}
	}
	return hoststate.VLANKey{Interface: r.Interface, ID: uint16(r.Vlan)}
}
