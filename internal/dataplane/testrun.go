package dataplane

import (
	"fmt"
	"net/netip"
	"structs"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestRun is a packet for one of the programs, run by the kernel without a network.
type TestRun struct {
	Program string // as in ProgramStats
	Ifindex int    // the interface it comes from, in the caller's network namespace
	Data    []byte // at least an Ethernet header
	GSOSize int
	Mark    uint32 // of the packet
	// Key is what from_vxlan finds as tunnel key; nil: none.
	Key *Tunnel
	// Out takes the packet as the program leaves it.
	Out []byte
}

// TestRecord is what a program did with a packet, as enum verdict and struct record
// in bpf/types.h have it.
type TestRecord struct {
	Verdict       uint8
	Reason        reason.Reason
	Peer          bool
	TOS           uint8
	Ifindex       int
	Network       model.NetworkKey
	VNI           model.VNI
	Table         uint32
	Copies        int
	Local, Remote netip.Addr
	Mark          uint32
	Known         bool   // a row of flows decided
	Stays         bool   // the outer headers were written anew where they were
	Data          []byte // of Out
}

// skbContext is struct __sk_buff (include/uapi/linux/bpf.h), as far as test runs
// take it.
type skbContext struct {
	_              structs.HostLayout
	Len            uint32
	PktType        uint32
	Mark           uint32
	QueueMapping   uint32
	Protocol       uint32
	VlanPresent    uint32
	VlanTci        uint32
	VlanProto      uint32
	Priority       uint32
	IngressIfindex uint32
	Ifindex        uint32
	TcIndex        uint32
	Cb             [5]uint32
	Hash           uint32
	TcClassid      uint32
	Data           uint32
	DataEnd        uint32
	NapiID         uint32
	Family         uint32
	Addresses      [10]uint32
	Ports          [2]uint32
	DataMeta       uint32
	FlowKeys       uint64
	Tstamp         uint64
	WireLen        uint32
	GsoSegs        uint32
	Sk             uint64
	GsoSize        uint32
	TstampType     uint32
	Hwtstamp       uint64
}

// TestRun runs a program of a Dataplane that was opened with Record.
func (d *Dataplane) TestRun(t *TestRun) (TestRecord, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	prog := d.programs[t.Program]
	if prog == nil {
		return TestRecord{}, fmt.Errorf("no program %q", t.Program)
	}
	ctx := skbContext{Ifindex: uint32(t.Ifindex), GsoSize: uint32(t.GSOSize), Mark: t.Mark}
	var after skbContext
	if t.Key != nil {
		local, remote := t.Key.Local.As4(), t.Key.Remote.As4()
		ctx.Cb = [5]uint32{hostOrder(local), hostOrder(remote), uint32(t.Key.VNI), 1}
	}
	opts := ebpf.RunOptions{Data: t.Data, DataOut: t.Out, Context: &ctx, ContextOut: &after}
	if _, err := prog.Run(&opts); err != nil {
		return TestRecord{}, fmt.Errorf("run %s: %w", t.Program, err)
	}
	records := d.tables.maps[bpfMapRecords]
	var r bpfRecord
	if err := records.Lookup(uint32(0), &r); err != nil {
		return TestRecord{}, fmt.Errorf("read map %s: %w", bpfMapRecords, err)
	}
	if r.Verdict == 0 {
		return TestRecord{}, fmt.Errorf("%s kept no record", t.Program)
	}
	out := TestRecord{
		Verdict: r.Verdict, Reason: reason.Reason(r.Reason), Peer: r.Flags&fdbPeer != 0, TOS: r.Tos,
		Ifindex: int(r.Ifindex), Network: model.NetworkKey(r.Net), VNI: model.VNI(r.Vni), Table: r.Table,
		Copies: int(r.Copies), Local: netip.AddrFrom16(r.Local.B).Unmap(), Remote: netip.AddrFrom16(r.Remote.B).Unmap(),
		Mark: after.Mark, Known: r.Known != 0, Stays: r.Stays != 0, Data: opts.DataOut,
	}
	// A program that forgets its record must not show the last one's.
	if err := records.Put(uint32(0), &bpfRecord{}); err != nil {
		return TestRecord{}, fmt.Errorf("clear map %s: %w", bpfMapRecords, err)
	}
	return out, nil
}

// TestVouch has the agent vouch for what is forwarded, for long, or no more.
func (d *Dataplane) TestVouch(alive bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if alive {
		return d.vouch()
	}
	return d.tables.maps[bpfMapVouched].Put(uint32(0), uint64(1))
}

// TestRunLocalICMP tells whether local_icmp keeps an IPv4 packet from the host's stack.
func (d *Dataplane) TestRunLocalICMP(ip []byte) (drop bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const nfDrop, nfAccept = 0, 1 // include/uapi/linux/netfilter.h
	got, err := d.programs[bpfProgLocalIcmp].Run(&ebpf.RunOptions{Data: ip})
	if err != nil || got > nfAccept {
		return false, fmt.Errorf("run %s: verdict %d, %w", bpfProgLocalIcmp, got, err)
	}
	return got == nfDrop, nil
}

// hostOrder is an IPv4 address as the kernel's tunnel keys have it.
func hostOrder(a [4]byte) uint32 {
	return uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
}
