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
		if got := c.s.About(local, remote); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
