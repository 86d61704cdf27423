package hostsync

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hoststate/statetest"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestRowsSurvive: whatever the size of the parts, what is sent is what arrives.
func TestRowsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		from := statetest.Random(r, 6)
		to := statetest.Change(r, from, 3)
		d := hoststate.Diff(from, to)
		d.Revision = rapid.Int64Range(1, 1<<60).Draw(t, "revision")
		got := hoststate.Delta{Set: hoststate.NewState()}
		n, more := rapid.IntRange(1, 50).Draw(t, "part"), true
		for _, p := range partsOf(t, &update{Delta: d}, n) {
			if !more {
				t.Fatal("a part after the last")
			}
			if err := decode(p, &got); err != nil {
				t.Fatal(err)
			}
			if p.Revision != d.Revision || p.Full {
				t.Fatalf("%v", p)
			}
			more = p.More
		}
		if more {
			t.Fatal("the last part says there is more")
		}
		state := from.Clone()
		state.Apply(got)
		if !state.Equal(to) || got.Set.Len() != d.Set.Len() || got.Unset.Len() != d.Unset.Len() {
			t.Fatalf("sent %+v\ngot %+v", d, got)
		}
	})
}

func TestBadRows(t *testing.T) {
	mac := make([]byte, 6)
	for name, p := range map[string]*pb.Delta{
		"short MAC":      {Neighbors: []*pb.NeighborRow{{Network: 1, Ip: make([]byte, 4), Mac: make([]byte, 5)}}},
		"odd address":    {Neighbors: []*pb.NeighborRow{{Network: 1, Ip: make([]byte, 7), Mac: mac}}},
		"no key":         {Neighbors: []*pb.NeighborRow{{Ip: make([]byte, 4), Mac: mac}}},
		"big key":        {Ports: []*pb.PortRow{{Key: 1 << 24, Network: 1, Mac: mac}}},
		"unknown reason": {Ports: []*pb.PortRow{{Key: 1, Network: 1, Mac: mac, Drop: uint32(reason.Count)}}},
		"unknown kind":   {Fdb: []*pb.FDBRow{{Network: 1, Mac: mac, Kind: 5}}},
		"host bits":      {GoneRoutes: []*pb.RouteRow{{Router: 1, Prefix: &pb.Prefix{Addr: []byte{10, 0, 0, 1}, Bits: 24}}}},
		"long prefix":    {GoneRoutes: []*pb.RouteRow{{Router: 1, Prefix: &pb.Prefix{Addr: []byte{10, 0, 0, 0}, Bits: 33}}}},
		"no prefix":      {Routes: []*pb.RouteRow{{Router: 1, Kind: 1, Mac: mac}}},
		"no VNI":         {GoneVnis: []*pb.VNIRow{{TunnelIp: make([]byte, 4)}}},
		"no uplink":      {Gateways: []*pb.GatewayRow{{Id: "g", TunnelIp: make([]byte, 4), Uplinks: []*pb.UplinkRow{{Mac: mac}}}}},
	} {
		d := hoststate.Delta{Set: hoststate.NewState()}
		if err := decode(p, &d); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, r := range map[string]*pb.Report{
		"status":   {Ports: []*pb.PortReport{{Id: "p", Status: "FINE"}}},
		"revision": {Revision: -1},
		"MTU":      {UnderlayMtu: 1 << 20},
		"fabric":   {FabricMtu: 1 << 20},
		"too many": {Ports: make([]*pb.PortReport, maxReports+1)},
	} {
		if _, err := decodeReport(r); err == nil {
			t.Errorf("report with %s: taken", name)
		}
	}
}

// Words that the store would refuse are cut.
func TestReportWordsAreBounded(t *testing.T) {
	r, err := decodeReport(&pb.Report{Ports: []*pb.PortReport{{Id: "p", Status: "ERROR", Reason: strings.Repeat("ä", 1<<20)}}})
	if err != nil || len(r.Ports) != 1 || len(r.Ports[0].Reason) > maxReason || !utf8.ValidString(r.Ports[0].Reason) {
		t.Errorf("%d ports, %v", len(r.Ports), err)
	}
	if _, err := decodeReport(&pb.Report{Ports: []*pb.PortReport{{Id: strings.Repeat("p", maxID+1), Status: "ERROR"}}}); err == nil {
		t.Error("an id without end passes")
	}
}
