package hoststate

import (
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

func allowed(s, mac string) model.AllowedPair {
	r, err := model.ParseAddressRange(s)
	if err != nil {
		panic(err)
	}
	a := model.AllowedPair{Addresses: r}
	if mac != "" {
		a.MAC = model.NamedMAC{MAC: model.MustMAC(mac)}
	}
	return a
}

// TestPairs: what hosts hear of allowed address pairs, and what becomes of a port that
// keeps an address for one.
func TestPairs(t *testing.T) {
	vipMAC, vip := model.MustMAC("00:00:5e:00:01:07"), addr("10.0.0.99")
	keeper := &model.Port{ID: "keeper", Key: 9, NetworkID: "tenant", MAC: named(vipMAC), FixedIPs: fixed("ts", "10.0.0.99"), AdminStateUp: true, PortSecurity: true}
	neighbor, fdbEntry := NeighborKey{1, vip}, FDBKey{1, vipMAC}

	c := newChapter()
	s := c.compile(keeper)
	if s.Neighbors[neighbor] != vipMAC || s.FDB[fdbEntry].Kind != FDBDrop {
		t.Errorf("without pairs the address is the port's: %v, %v", s.Neighbors[neighbor], s.FDB[fdbEntry])
	}

	vm := *c.vm
	vm.AllowedPairs = []model.AllowedPair{allowed("10.0.0.96/29", vipMAC.String()), allowed("10.0.0.99", ""), allowed("10.0.0.99/32", vmMAC.String())}
	c.vm = &vm
	s = c.compile(keeper)
	want := []Pair{{vipMAC, prefix("10.0.0.96/29")}, {vmMAC, prefix("10.0.0.99/32")}}
	if got := s.Ports[1].Pairs; len(got) != 2 || got[0] != want[0] && got[1] != want[0] || !s.Ports[1].Covers(vmMAC, vip) || s.Ports[1].Covers(vmMAC, addr("10.0.0.98")) {
		t.Errorf("pairs %v, want %v", got, want)
	}
	if _, ok := s.Neighbors[neighbor]; ok {
		t.Error("an address with nothing behind it stands in the way of whoever may have it")
	}
	if _, ok := s.FDB[fdbEntry]; ok {
		t.Error("a MAC with nothing behind it stands in the way of whoever may have it")
	}

	// Somebody is behind it: it is that port's alone.
	bound := *keeper
	bound.HostID, bound.Profile = "h", profile("tap9")
	s = c.compile(&bound)
	if s.Neighbors[neighbor] != vipMAC || s.FDB[fdbEntry].Port != 9 {
		t.Errorf("a bound port has lost its address: %v, %v", s.Neighbors[neighbor], s.FDB[fdbEntry])
	}
	// Nobody holds a port without port security to pairs.
	open := vm
	open.PortSecurity = false
	c.vm = &open
	if s = c.compile(keeper); s.Ports[1].Pairs != nil || s.Neighbors[neighbor] != vipMAC {
		t.Errorf("without port security: pairs %v, address %v", s.Ports[1].Pairs, s.Neighbors[neighbor])
	}
	var none Port
	if none.Covers(vmMAC, netip.Addr{}) || none.CoversMAC(model.MAC{}) {
		t.Error("no pair covers nothing")
	}
}

// TestHostPairOfAPortThatIsUp: of a host's ports with the same pair, others hear of one that is up: nothing reaches the others.
func TestHostPairOfAPortThatIsUp(t *testing.T) {
	vip := prefix("10.0.0.99/32")
	vrrp := model.MustMAC("00:00:5e:00:01:07")
	k := HostPairKey{Network: 1, Host: "h", MAC: vrrp, Prefix: vip}
	net := &model.Network{ID: "n", Key: 1, AdminStateUp: true}
	port := func(id string, key model.PortKey) *model.Port {
		return &model.Port{ID: model.PortID(id), Key: key, NetworkID: "n", MAC: named(model.MAC{2, 0, 0, 0, 0, byte(key)}), AdminStateUp: true, PortSecurity: true,
			HostID: "h", Profile: profile("tap" + id), AllowedPairs: []model.AllowedPair{allowed("10.0.0.99", vrrp.String())}}
	}
	top := NewTopology()
	top.Apply(Change{New: net})
	c := NewCompiler(top)
	now := map[string]*model.Port{}
	for _, s := range []struct {
		what string
		id   string
		set  func(*model.Port)
		want model.PortKey
	}{
		{"a alone", "a", func(*model.Port) {}, 1},
		{"b comes", "b", func(*model.Port) {}, 1},
		{"a goes down", "a", func(p *model.Port) { p.AdminStateUp = false }, 2},
		{"a comes up", "a", func(p *model.Port) { p.AdminStateUp = true }, 1},
		{"nothing is learned of a", "a", func(p *model.Port) { p.AllowedPairs, p.PortSecurity, p.MAC = nil, false, named(vrrp) }, 2},
		{"b is down", "b", func(p *model.Port) { p.AdminStateUp = false }, 2},
	} {
		p := port(s.id, map[string]model.PortKey{"a": 1, "b": 2}[s.id])
		old := now[s.id]
		if old != nil {
			*p = *old
		}
		s.set(p)
		ch := Change{New: p}
		if old != nil {
			ch.Old = old
		}
		now[s.id] = p
		c.Apply(top.Apply(ch))
		for what, got := range map[string]HostPair{"anew": Compile(top, "h").HostPairs[k], "after the change": c.rows[k.group()].HostPairs[k]} {
			if got.Port != s.want {
				t.Errorf("%s: the pair is of %+v %s, want port %d", s.what, got, what, s.want)
			}
		}
	}
}
