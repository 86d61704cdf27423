package model

import (
	"net/netip"
	"testing"
)

func TestRanges(t *testing.T) {
	for a, want := range map[string]bool{
		"0.0.0.0": false, "0.255.255.255": false, "1.0.0.0": true, "10.0.0.1": true, "126.255.255.255": true, "127.0.0.1": false,
		"128.0.0.0": true, "223.255.255.255": true, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
	} {
		ip := netip.MustParseAddr(a)
		if IsRouted(ip) != want {
			t.Errorf("IsRouted(%s) is %v", a, !want)
		}
		// The ranges and the look at an address say the same.
		if IsUnrouted(netip.PrefixFrom(ip, 32)) == want {
			t.Errorf("IsUnrouted(%s/32) is %v", a, want)
		}
	}
	for p, want := range map[string]string{
		"10.0.0.0/8": "", "0.0.0.0/0": "0.0.0.0/8", "127.0.0.0/24": "127.0.0.0/8", "64.0.0.0/2": "127.0.0.0/8", "239.1.0.0/16": "224.0.0.0/4",
		"240.0.0.0/24": "240.0.0.0/4", "223.255.255.0/24": "", "2001:db8::/32": "",
	} {
		got, ok := UnroutedIn(netip.MustParsePrefix(p))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("UnroutedIn(%s) = %v, %v; want %q", p, got, ok, want)
		}
	}
	for _, p := range []string{"0.0.0.0/0", "64.0.0.0/2", "10.0.0.0/8"} {
		if IsUnrouted(netip.MustParsePrefix(p)) {
			t.Errorf("IsUnrouted(%s)", p)
		}
	}
	for _, c := range []struct {
		p, a string
		want bool
	}{
		{"10.0.0.0/24", "10.0.0.0", false}, {"10.0.0.0/24", "10.0.0.1", true}, {"10.0.0.0/24", "10.0.0.254", true}, {"10.0.0.0/24", "10.0.0.255", false},
		{"10.0.0.0/24", "10.0.1.1", false}, {"10.0.0.2/31", "10.0.0.2", true}, {"10.0.0.2/31", "10.0.0.3", true}, {"10.0.0.2/31", "10.0.0.4", false},
		{"10.0.0.2/32", "10.0.0.2", true},
	} {
		if got := IsHostIn(netip.MustParsePrefix(c.p), netip.MustParseAddr(c.a)); got != c.want {
			t.Errorf("IsHostIn(%s, %s) is %v", c.p, c.a, got)
		}
	}
}
