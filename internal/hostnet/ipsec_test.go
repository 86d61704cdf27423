package hostnet

import (
	"net/netip"
	"testing"
)

func TestIPsecAbout(t *testing.T) {
	local, remote := netip.MustParseAddr("200.200.0.1"), netip.MustParseAddr("200.200.0.2")
	any4 := netip.MustParsePrefix("0.0.0.0/0")
	pair := IPsecPolicy{Out: true, Src: netip.PrefixFrom(local, 32), Dst: netip.PrefixFrom(remote, 32), Words: "pair"}
	with := func(change func(*IPsecPolicy)) IPsecPolicy { p := pair; change(&p); return p }
	for name, c := range map[string]struct {
		s    IPsec
		want string
	}{
		"none":            {IPsec{}, ""},
		"pair":            {IPsec{Policies: []IPsecPolicy{pair}}, "pair"},
		"other direction": {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Out = false })}}, ""},
		"in":              {IPsec{Policies: []IPsecPolicy{{Src: pair.Dst, Dst: pair.Src, Words: "in"}}}, "in"},
		"all of the host": {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Src, p.Dst = any4, any4 })}}, "pair"},
		"another host":    {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Dst = netip.MustParsePrefix("200.200.0.3/32") })}}, ""},
		"TCP":             {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Proto = 6 })}}, ""},
		"VXLAN":           {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Proto, p.DstPort = 17, 4789 })}}, "pair"},
		"DNS":             {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Proto, p.DstPort = 17, 53 })}}, ""},
		"one source port": {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.SrcPort = 50000 })}}, "pair"},
		"of a mark":       {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Marked = true })}}, ""},
		"let pass first": {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Priority = 2 }),
			with(func(p *IPsecPolicy) { p.Clear, p.Priority = true, 1 })}}, ""},
		"let pass too late": {IPsec{Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Priority = 1 }),
			with(func(p *IPsecPolicy) { p.Clear, p.Priority = true, 2 })}}, "pair"},
		"some let pass first": {IPsec{Policies: []IPsecPolicy{pair,
			with(func(p *IPsecPolicy) { p.Clear, p.SrcPort, p.Priority = true, 50000, -1 })}}, "pair"},
		"let pass on one interface": {IPsec{Policies: []IPsecPolicy{pair,
			with(func(p *IPsecPolicy) { p.Clear, p.Ifindex, p.Priority = true, 3, -1 })}}, "pair"},
		"nothing but what is allowed": {IPsec{BlockIn: true}, "default action block (ip xfrm policy getdefault)"},
		"allowed":                     {IPsec{BlockOut: true, Policies: []IPsecPolicy{with(func(p *IPsecPolicy) { p.Clear = true })}}, ""},
	} {
		if got := c.s.About(local, remote, VXLANPort); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestIPsecAboutPorts: a policy of one port speaks of what goes to that port alone.
func TestIPsecAboutPorts(t *testing.T) {
	local, remote := netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2")
	policy := func(port uint16, clear bool, words string) IPsecPolicy {
		return IPsecPolicy{Out: true, Src: netip.PrefixFrom(local, 32), Dst: netip.PrefixFrom(remote, 32), Proto: 17, DstPort: port, Clear: clear, Words: words}
	}
	tunnels, fabric := []uint16{VXLANPort}, []uint16{4798}
	both := []uint16{4798, VXLANPort}
	block := IPsec{BlockOut: true, Policies: []IPsecPolicy{policy(4798, true, "")}}
	const blocked = "default action block (ip xfrm policy getdefault)"
	for name, c := range map[string]struct {
		s     IPsec
		ports []uint16
		want  string
	}{
		"of the fabric, to the fabric":  {IPsec{Policies: []IPsecPolicy{policy(4798, false, "fabric")}}, fabric, "fabric"},
		"of the fabric, to the tunnels": {IPsec{Policies: []IPsecPolicy{policy(4798, false, "fabric")}}, tunnels, ""},
		"of the fabric, to both":        {IPsec{Policies: []IPsecPolicy{policy(4798, false, "fabric")}}, both, "fabric"},
		"of tunnels, to the fabric":     {IPsec{Policies: []IPsecPolicy{policy(4789, false, "tunnels")}}, fabric, ""},
		"of tunnels, to both":           {IPsec{Policies: []IPsecPolicy{policy(4789, false, "tunnels")}}, both, "tunnels"},
		"of all, to the fabric":         {IPsec{Policies: []IPsecPolicy{policy(0, false, "all")}}, fabric, "all"},
		"the fabric alone is let pass":  {block, fabric, ""},
		"the tunnels are not":           {block, tunnels, blocked},
		"the fabric is, both are not":   {block, both, blocked},
	} {
		if got := c.s.About(local, remote, c.ports...); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
