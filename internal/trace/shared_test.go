package trace

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestSharedAddress: of an address that is learned, trace says who may have it and how it
// is found; without a pair for it, that nobody has it.
func TestSharedAddress(t *testing.T) {
	st := siteA()
	vm := st.Ports[1]
	vm.Pairs = []hoststate.Pair{{MAC: vm.MAC, Prefix: prefix("10.0.0.96/29")}}
	st.Ports[1] = vm
	p := New(st, Env{})

	near, err := p.Trace(Request{Port: "vm-a", To: addr("10.0.0.99"), Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}}})
	if err != nil || near.Reason != "neighbor_resolving" || !strings.Contains(near.Summary, "port vm-a") {
		t.Errorf("within the network: %q, %v", near.Summary, err)
	}
	in := TunnelRequest{Gateway: device, Remote: addr("200.200.0.2"), VNI: 100, SrcMAC: peerB, DstMAC: peerA, From: addr("10.0.1.3"), To: addr("10.0.0.99")}
	far, err := p.TraceTunnel(in)
	if err != nil || far.Reason != "neighbor_resolving" || !strings.Contains(far.Summary, "allowed address pair of port vm-a") || len(far.Answer) == 0 {
		t.Errorf("from the other site: %q, answer %v, %v", far.Summary, far.Answer, err)
	}
	in.To = addr("10.0.0.104")
	if beside, err := p.TraceTunnel(in); err != nil || beside.Reason != "neighbor_unknown" {
		t.Errorf("beside the pair: %q, %v", beside.Summary, err)
	}
	// With what a host has learned, it is delivered.
	m := NewMemory(4, 4)
	m.learn(Sender{Network: tenantNet, Addr: addr("10.0.0.99")}, held{port: 1, mac: vm.MAC}, true, false)
	in.To = addr("10.0.0.99")
	if known, err := New(st, Env{Memory: m}).TraceTunnel(in); err != nil || known.Verdict != Port {
		t.Errorf("known: %q, %v", known.Summary, err)
	}
}

// TestVLAN: to a host on a VLAN, known and not, and from one that is somebody else.
func TestVLAN(t *testing.T) {
	st := siteA()
	key := hoststate.VLANKey{Interface: "eth2", ID: 42}
	st.VLANs = map[hoststate.VLANKey]hoststate.VLAN{key: {Network: tenantNet, Prefixes: []netip.Prefix{prefix("10.0.0.0/24")}}}
	in := TunnelRequest{Gateway: device, Remote: addr("200.200.0.2"), VNI: 100, SrcMAC: peerB, DstMAC: peerA, From: addr("10.0.1.3"), To: addr("10.0.0.50")}
	asked, err := New(st, Env{}).TraceTunnel(in)
	if err != nil || asked.Reason != "neighbor_resolving" || !strings.Contains(asked.Summary, "may be on a VLAN") {
		t.Errorf("a host nobody has heard of: %q, %v", asked.Summary, err)
	}
	server := model.MAC{0x52, 0x54, 0, 0, 0, 1}
	m := NewMemory(4, 4)
	p := New(st, Env{Memory: m})
	tagged := func(src model.MAC, a packet.ARP) Result {
		f := append(append([]byte{}, packet.Broadcast[:]...), src[:]...)
		f = append(f, 0x81, 0, 0, 42, 8, 6)
		return p.FromUnderlay(Frame{Data: append(f, a.Append(nil)...), Interface: "eth2"})
	}
	hello := packet.ARP{Op: packet.ARPRequest, SenderMAC: server, SenderIP: addr("10.0.0.50"), TargetIP: addr("10.0.0.1")}
	if r := tagged(server, hello); r.Verdict != Tagged || r.VLAN != 42 || r.Interface != "eth2" {
		t.Errorf("the router does not answer on the VLAN: %s %s", r.Verdict, r.Reason)
	}
	if known, err := p.TraceTunnel(in); err != nil || known.Summary != "sent to VLAN 42 of interface eth2" {
		t.Errorf("known: %q, %v", known.Summary, err)
	}
	hello.SenderIP = addr("10.0.0.3")
	if r := tagged(server, hello); r.Reason != reason.SpoofARP {
		t.Errorf("the VM's address: %s %s", r.Verdict, r.Reason)
	}
	if r := tagged(vmMAC, hello); r.Reason != reason.SpoofMAC {
		t.Errorf("the VM's MAC: %s %s", r.Verdict, r.Reason)
	}
}
