package trace

import (
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestWords: every reason is put into words, also where nothing is known about it,
// and those that an operator can do something about name the way out.
func TestWords(t *testing.T) {
	p := New(siteA(), Env{})
	for why := reason.None + 1; why < reason.Count; why++ {
		found, remedy := p.explain(why, Object{Kind: "network", Name: "N"}, about{})
		if found == "" {
			t.Errorf("%s: no words", why)
		}
		switch why {
		case reason.FrameMalformed, reason.VLANTagged, reason.IPMalformed, reason.IPOptions, reason.Martian, reason.RouterNotIP,
			reason.VXLANMalformed, reason.VXLANFlags, reason.ECNCongestion, reason.LinkLocal, reason.SlowPathLimited, reason.PathError, reason.Internal:
			// The packet is wrong, or nobody can help.
		default:
			if remedy == "" {
				t.Errorf("%s: no way out", why)
			}
		}
	}
}

func TestRouterDownIsNamed(t *testing.T) {
	st := siteA()
	st.Routers[2] = hoststate.Router{ID: "router-v", Name: "SiteAVTEPRouter"}
	st.FDB[hoststate.FDBKey{Network: tenantNet, MAC: gwMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Drop: reason.RouterAdminDown}
	q := Request{Port: "vm-a", To: addr("10.0.1.3"), Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}}}
	rep, err := New(st, Env{}).Trace(q)
	if err != nil || !strings.Contains(rep.Summary, "router SiteATenantRouter has admin_state_up=false; put it up: `openstack router set --enable SiteATenantRouter`") {
		t.Errorf("%s %v", rep.Summary, err)
	}
	k := hoststate.PeerKey{TunnelIP: addr("200.200.0.1"), Remote: addr("200.200.0.2"), VNI: 100}
	st.Peers[k] = hoststate.Peer{Network: multiNet, Gateway: device, Drop: reason.RouterAdminDown}
	in, err := New(st, Env{}).TraceTunnel(TunnelRequest{Gateway: device, Remote: k.Remote, VNI: 100, SrcMAC: peerB, DstMAC: peerA,
		From: addr("10.0.1.3"), To: addr("10.0.0.3")})
	if err != nil || !strings.Contains(in.Summary, "the VTEP router SiteAVTEPRouter has admin_state_up=false") {
		t.Errorf("%s %v", in.Summary, err)
	}
}

// TestUnderlayInWords: by which interface a VTEP comes, and what IPsec has to do with it.
func TestUnderlayInWords(t *testing.T) {
	v := VTEP{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2")}
	q := TunnelRequest{Gateway: device, Remote: v.Remote, VNI: 100, SrcMAC: peerB, DstMAC: peerA, From: addr("10.0.1.3"), To: addr("10.0.0.3")}
	for name, c := range map[string]struct {
		way  Way
		mark uint32
		want []string
	}{
		"right interface": {Way{Interfaces: []string{"eth0", "eth1"}}, 0, []string{"", ""}},
		"wrong interface": {Way{Interfaces: []string{"eth0"}}, 0, []string{"vtep_interface", ""}},
		"no mark":         {Way{Interfaces: []string{"eth1"}}, 1, []string{"", "not_underlay"}},
		"policy":          {Way{Interfaces: []string{"eth1"}, Drop: reason.UnderlayPolicy}, 0, []string{"underlay_policy", "underlay_policy"}},
	} {
		p := New(siteA(), Env{Ways: map[VTEP]Way{v: c.way}, Mark: c.mark})
		inner := append(packet.Ethernet{Dst: peerA, Src: peerB, Type: packet.TypeIPv4}.Append(nil),
			packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: q.From, Dst: q.To}.Append(nil, 0)...)
		sent := packet.Encapsulate(nil, packet.Outer{Local: v.Remote, Remote: v.Local, VNI: 100}, inner)
		for i, res := range []Result{
			p.FromUnderlay(Frame{Data: sent, Interface: "eth1"}),
			p.FromVXLAN(Frame{Data: inner}, &TunnelKey{Local: v.Local, Remote: v.Remote, VNI: 100}),
		} {
			got, last := "", Hop{}
			if res.Reason != reason.None {
				got, last = res.Reason.String(), res.Hops[len(res.Hops)-1]
			}
			if got != c.want[i] || got != "" && (!strings.Contains(last.Decision, "200.200.0.2") || !strings.Contains(last.Remedy, "--underlay-")) {
				t.Errorf("%s, %d: dropped as %q, want %q: %s; %s", name, i, got, c.want[i], last.Decision, last.Remedy)
			}
		}
	}
	// A workload is told too.
	p := New(siteA(), Env{Ways: map[VTEP]Way{v: {Drop: reason.UnderlayPolicy}}})
	rep, err := p.Trace(Request{Port: "vm-a", To: addr("10.0.1.3"), Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}}})
	if err != nil || rep.Reason != "underlay_policy" || !strings.Contains(rep.Summary, "VTEP 200.200.0.2") || !strings.Contains(rep.Summary, "--underlay-output kernel") {
		t.Errorf("%s %s %v", rep.Reason, rep.Summary, err)
	}
}

// TestTraceSizes: too big with and without DF, as a workload sees it.
func TestTraceSizes(t *testing.T) {
	st := siteA()
	n := st.Networks[multiNet]
	n.MTU = 1400
	st.Networks[multiNet] = n
	p := New(st, Env{})
	q := Request{Port: "vm-a", To: addr("10.0.1.3"), Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}}}
	q.Size, q.DontFragment = 1450, true
	rep, err := p.Trace(q)
	if err != nil || rep.Reason != "fragmentation_needed" || len(rep.Answer) == 0 || rep.Delivered {
		t.Fatalf("%+v %v", rep, err)
	}
	var icmp packet.Layer
	for _, l := range rep.Out {
		if l.Name == "ICMP" && icmp.Name == "" {
			icmp = l
		}
	}
	if icmp.Field("type") != "fragmentation needed" || icmp.Field("next MTU") != "1400" {
		t.Errorf("%+v", rep.Out)
	}
	q.DontFragment = false
	rep, err = p.Trace(q)
	if err != nil || !rep.Delivered || rep.Verdict != Tunnel {
		t.Errorf("%+v %v", rep, err)
	}
	if got := rep.Next.Request.Size; got > 1400 {
		t.Errorf("a first fragment of %d bytes", got)
	}
}

func TestTraceRefusesNonsense(t *testing.T) {
	p := New(siteA(), Env{})
	sub := []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}}
	for name, q := range map[string]Request{
		"IPv6":     {Port: "vm-a", To: addr("2001:db8::1"), Subnets: sub},
		"itself":   {Port: "vm-a", To: addr("10.0.0.3"), Subnets: sub},
		"no to":    {Port: "vm-a", Subnets: sub},
		"protocol": {Port: "vm-a", To: addr("10.0.1.3"), Subnets: sub, Packet: Packet{Proto: "gre"}},
		"size":     {Port: "vm-a", To: addr("10.0.1.3"), Subnets: sub, Packet: Packet{Size: 3}},
		"big":      {Port: "vm-a", To: addr("10.0.1.3"), Subnets: sub, Packet: Packet{Size: 70000}},
		"TTL":      {Port: "vm-a", To: addr("10.0.1.3"), Subnets: sub, Packet: Packet{TTL: 256}},
	} {
		if _, err := p.Trace(q); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	rep, err := p.Trace(Request{Port: "vm-a", To: addr("10.9.9.9"), Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24")}}})
	if err != nil || rep.Reason != "no_route" || !strings.Contains(rep.Summary, "no gateway") {
		t.Errorf("no gateway: %+v %v", rep, err)
	}
	if _, err := p.TraceTunnel(TunnelRequest{Gateway: device, Remote: addr("200.200.0.2"), VNI: model.MaxVNI + 1, From: addr("1.1.1.1"), To: addr("1.1.1.1")}); err == nil {
		t.Error("VNI 2^24 was taken")
	}
}
