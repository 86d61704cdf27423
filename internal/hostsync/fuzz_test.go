package hostsync

import (
	"net/netip"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// FuzzMessages: whatever the other end sends is either refused or becomes rows
// that can be sent on.
func FuzzMessages(f *testing.F) {
	d := hoststate.Delta{Revision: 7, Set: hoststate.NewState()}
	d.Set.Neighbors[hoststate.NeighborKey{Network: 1, IP: netip.MustParseAddr("10.0.0.1")}] = model.MAC{1}
	d.Set.Gateways["g"] = hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Uplinks: []hoststate.Uplink{{Port: "p", Addr: netip.MustParsePrefix("10.0.0.1/24")}}}
	d.Unset.Routes = []hoststate.RouteKey{{Router: 1, Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	for _, p := range partsOf(f, &update{Delta: d}, 1) {
		b, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	b, err := proto.Marshal(encodeReport(Report{Revision: 1, Ports: []PortReport{{"p", model.PortActive, "why"}}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r pb.Report
		if proto.Unmarshal(b, &r) == nil {
			_, _ = decodeReport(&r)
		}
		var p pb.Delta
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		got := hoststate.Delta{Revision: p.Revision, Set: hoststate.NewState()}
		if decode(&p, &got) != nil {
			return
		}
		again := hoststate.Delta{Revision: p.Revision, Set: hoststate.NewState()}
		for _, part := range partsOf(t, &update{Delta: got}, partRows) {
			if err := decode(part, &again); err != nil {
				t.Fatalf("what was taken is refused: %v", err)
			}
		}
		if !got.Set.Equal(again.Set) || got.Unset.Len() != again.Unset.Len() {
			t.Fatalf("%+v became %+v", got, again)
		}
	})
}
