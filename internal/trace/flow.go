package trace

import (
	"encoding/binary"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// What the programs may remember of a flow: PIPELINE.md, "Flows".

// hasFlow tells whether a frame has all of a row's key: IPv4 without options, no fragment, and
// four bytes behind the header.
func hasFlow(frame []byte) bool {
	if len(frame) < packet.EthernetLen+packet.IPv4Len+4 {
		return false
	}
	ip := frame[packet.EthernetLen:]
	offset, more := packet.FragmentOffset(ip)
	return packet.EtherType(binary.BigEndian.Uint16(frame[12:])) == packet.TypeIPv4 && ip[0] == 0x45 && offset == 0 && !more
}

// fdbEntry is that of the pipeline. What was learned is never remembered.
func (r *run) fdbEntry(net model.NetworkKey, mac model.MAC) (fdbEntry, bool) {
	e, ok := r.p.fixedEntry(net, mac)
	if ok {
		return e, true
	}
	r.flow = false
	return r.p.learnedEntry(net, mac)
}

// neighbor is that of the pipeline, as FDB entry.
func (r *run) neighbor(net model.NetworkKey, ip netip.Addr) (model.MAC, bool) {
	if mac, ok := r.p.st.Neighbors[hoststate.NeighborKey{Network: net, IP: ip}]; ok {
		return mac, true
	}
	r.flow = false
	return r.p.neighbor(net, ip, true)
}
