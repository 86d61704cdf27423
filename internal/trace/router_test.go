package trace

import (
	"errors"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
)

// A router's own packet goes where a workload's would, with the router's TTL.
func TestTraceRouter(t *testing.T) {
	p := New(siteA(), Env{})
	rep, err := p.TraceRouter(RouterRequest{Router: "router-a", From: addr("192.168.0.1"), To: addr("192.168.0.2")})
	if err != nil || !rep.Delivered || rep.Next == nil || rep.Next.TunnelIP != addr("200.200.0.2") {
		t.Fatalf("%+v, %v", rep, err)
	}
	q := rep.Next.Request
	if q.Remote != addr("200.200.0.1") || q.VNI != 100 || q.SrcMAC != peerA || q.DstMAC != peerB || q.From != addr("192.168.0.1") || q.TTL != 64 {
		t.Errorf("the next question: %+v", q)
	}
	for name, c := range map[string]struct {
		change func(hoststate.State)
		says   string
	}{
		"no neighbor": {func(s hoststate.State) {
			delete(s.Neighbors, hoststate.NeighborKey{Network: multiNet, IP: addr("192.168.0.2")})
		}, "neighbor_unknown"},
		"no MAC entry": {func(s hoststate.State) {
			delete(s.FDB, hoststate.FDBKey{Network: multiNet, MAC: peerB})
		}, "l2_unknown"},
	} {
		st := siteA()
		c.change(st)
		rep, err := New(st, Env{}).TraceRouter(RouterRequest{Router: "router-a", From: addr("192.168.0.1"), To: addr("192.168.0.2")})
		if err != nil || rep.Delivered || rep.Reason != c.says || !strings.Contains(rep.Summary, c.says) {
			t.Errorf("%s: %+v, %v", name, rep, err)
		}
	}
	for _, q := range []RouterRequest{
		{Router: "nobody", From: addr("192.168.0.1"), To: addr("192.168.0.2")},
		{Router: "router-a", To: addr("192.168.0.2")},
		{Router: "router-a", From: addr("192.168.0.1"), To: addr("fd00::1")},
		{Router: "router-a", From: addr("192.168.0.1"), To: addr("192.168.0.2"), Packet: Packet{Proto: "gre"}},
	} {
		if _, err := p.TraceRouter(q); !errors.Is(err, ErrRequest) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
