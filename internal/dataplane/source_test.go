package dataplane

import (
	"testing"

	"github.com/causeway-net/causeway/internal/trace"
)

// TestSources: the programs and the pure pipeline have the same sources, and the same may
// follow from each.
func TestSources(t *testing.T) {
	for _, s := range []struct {
		name   string
		c      bpfSource
		pure   trace.Source
		follow bpfMayFollow
		ask    bpfMayAsk
	}{
		{"uplink", bpfSourceSOURCE_UPLINK, trace.SourceUplink, bpfMayFollowFROM_UPLINK, 0},
		{"workload", bpfSourceSOURCE_WORKLOAD, trace.SourceWorkload, bpfMayFollowFROM_WORKLOAD, 0},
		{"VLAN", bpfSourceSOURCE_VLAN, trace.SourceVLAN, bpfMayFollowFROM_VLAN, bpfMayAskASK_VLAN},
		{"tunnel", bpfSourceSOURCE_TUNNEL, trace.SourceTunnel, bpfMayFollowFROM_TUNNEL, bpfMayAskASK_TUNNEL},
		{"slow path", bpfSourceSOURCE_SLOW, trace.SourceSlow, bpfMayFollowFROM_SLOW, 0},
		{"fabric", bpfSourceSOURCE_FABRIC, trace.SourceFabric, bpfMayFollowFROM_FABRIC, 0},
	} {
		if uint32(s.c) != uint32(s.pure) {
			t.Errorf("%s: source %d of the programs, %d of the pipeline", s.name, s.c, s.pure)
		}
		if uint32(s.follow) != uint32(s.pure.MayFollow()) {
			t.Errorf("%s: the programs let follow %#x, the pipeline %#x", s.name, s.follow, s.pure.MayFollow())
		}
		if uint32(s.ask) != uint32(s.pure.MayAsk()) {
			t.Errorf("%s: the programs tell of %#x, the pipeline of %#x", s.name, s.ask, s.pure.MayAsk())
		}
	}
	for c, pure := range map[bpfDestination]trace.Destination{
		bpfDestinationTO_PORT: trace.ToPort, bpfDestinationTO_ROUTER: trace.ToRouter, bpfDestinationTO_REMOTE: trace.ToRemote,
		bpfDestinationTO_VLAN: trace.ToVLAN, bpfDestinationTO_COPIES: trace.ToCopies,
		bpfDestinationTO_VLAN_COPIES: trace.ToVLANCopies, bpfDestinationTO_STACK: trace.ToStack,
		bpfDestinationTO_FABRIC: trace.ToFabric, bpfDestinationTO_FABRIC_COPIES: trace.ToFabricCopies,
	} {
		if uint32(c) != uint32(pure) {
			t.Errorf("destination %#x of the programs is %#x in the pipeline", uint32(c), uint32(pure))
		}
	}
}
