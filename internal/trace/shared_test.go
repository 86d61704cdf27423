package trace

import (
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
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
