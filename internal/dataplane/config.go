package dataplane

import (
	"io"
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/maplimit"
	"github.com/causeway-net/causeway/internal/model"
)

// Config is what a Dataplane is opened with. The zero value of each field but
// PinDir means its default.
type Config struct {
	// PinDir is a directory on a bpf filesystem, one's own. Open makes it, and
	// mounts a bpf filesystem where there is none.
	PinDir string
	// HashKey keys the outer UDP source port. 0: a random one, kept with the maps.
	HashKey uint64
	// ICMPRate is how many ICMP errors a second one sender may have of one router, twice: of
	// those that say that a packet was too big, and of the others; and how many questions for
	// unknown neighbors. 0: no limit. ICMPBurst is how many at once.
	ICMPRate, ICMPBurst uint32
	// ProbeRate and FragmentRate bound what one sender has the slow path look at as answers to
	// a router's probes, and cut in fragments, a second; 0: no limit.
	ProbeRate, FragmentRate uint32
	// FloodRate is how many copies of flooded frames a second one sender may cause;
	// 0: no limit. FloodBurst is how many at once.
	FloodRate, FloodBurst uint32
	// LearnHold is for how long after the holder of a learned address last spoke nothing
	// but ARP gives it to another port; LearnAge, for how long the holder is known.
	LearnHold, LearnAge time.Duration
	// Mark are the bits of skb->mark that tell from_vxlan what from_underlay has let pass.
	Mark uint32
	// Limits bounds the maps. Other limits than those of the pinned maps make
	// new maps, as another layout does.
	Limits Limits
	// StopAfter: the programs forward only while Vouch is called at least so often; 0: for good.
	StopAfter time.Duration
	// Record has the programs note each packet's verdict, and send no copies of
	// flooded frames, for TestRun.
	Record bool
	// Object is read instead of the built-in programs, which it must have the
	// maps of: a compiled bpf/causeway.c. For tests of the tests.
	Object io.ReaderAt
}

// Limits are the numbers of entries that maps take. 0 is the default.
type Limits = maplimit.Limits

// entries is max_entries by map name. Maps that are missing have a fixed size.
func entries(l Limits) map[string]uint32 {
	l = l.WithDefaults()
	n := map[string]uint32{
		// What the programs fill themselves.
		bpfMapLearned:     l.Learned,
		bpfMapLearners:    l.Ports + l.VLANs,
		bpfMapCounters:    l.Counters,
		bpfMapPortDrops:   l.Ports,
		bpfMapIcmpBuckets: l.Routers,
	}
	for _, t := range newTables(nil).all {
		n[t.mapName()] = t.maxEntries(l)
	}
	return n
}

// Env is what the kernel says about the names in a State.
type Env struct {
	// Links are the workload interfaces that are there, by name. FDB entries of
	// one that is missing drop with destination_unbound.
	Links map[string]Link
	// Shared are the ports that get nothing of their interface, each with the port that has it:
	// to them it is missing.
	Shared map[model.PortKey]model.PortKey
	// Trunks are the uplink interfaces of VLANs that are there, by name. MTU is that of
	// an IP packet behind the tag.
	Trunks map[string]Link
	// Tables is the kernel routing table for each gateway device's outer
	// packets; missing: hostenv.MainTable.
	Tables map[model.GatewayDeviceID]uint32
	// PathMTU is the largest outer IP packet towards a VTEP, bytes; missing:
	// 1500.
	PathMTU map[netip.Addr]int
	// Ways is how packets of each remote VTEP come and go; missing: none are taken.
	Ways map[VTEP]Way
	// Fabric is this host's end of the fabric between the hosts of its site.
	Fabric hostenv.Fabric
	// VXLANIndex is the collect-metadata vxlan device, whose IPv4 forwarding
	// switch must be on; SlowIndex the slow path's tap device.
	VXLANIndex, SlowIndex int
}

// What package trace goes by too.
type (
	Link = hostenv.Link
	VTEP = hostenv.VTEP
)
