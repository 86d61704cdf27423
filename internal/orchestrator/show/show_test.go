package show

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/apply"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

func examplePlan() *plan.Plan {
	mac, _ := model.ParseNamedMAC("16:B7:B5:A4:57:75")
	net := plan.Ref{From: "site-a/network"}
	return &plan.Plan{
		Peering: "acme", Goal: plan.Apply, Sites: []string{"site-a", "site-b"},
		Choices: plan.Choices{CIDR: netip.MustParsePrefix("192.168.0.0/24"), VNI: 100, MTU: 1450, Sites: []plan.SiteChoice{
			{Site: "site-a", Address: netip.MustParseAddr("192.168.0.1"), MAC: mac, TunnelIP: netip.MustParseAddr("200.200.0.1"), Advertise: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
			{Site: "site-b"},
		}},
		Warnings: []plan.Problem{{Site: "site-b", Text: "it is slow", Hint: "Be patient."}},
		Actions: []plan.Action{
			{ID: "site-a/network", Site: "site-a", Op: plan.Create, Kind: plan.Network, What: "multi-site network n", Attrs: plan.Attrs{"name": "n", "description": "d", "mtu": 1450}},
			{ID: "site-a/mark", Site: "site-a", Op: plan.AddTag, Kind: plan.Network, What: "multi-site network n", Target: net, Tag: "causeway:x", After: []string{"site-a/network"}},
			{ID: "site-a/port", Site: "site-a", Op: plan.Create, Kind: plan.Port, What: "remote-site port of site-b", Attrs: plan.Attrs{
				"name": "p", "description": "d", "network_id": net, "mac_address": mac.String(), "device_owner": "network:remote_site",
				"fixed_ips": []any{map[string]any{"subnet_id": plan.Ref{ID: "s"}, "ip_address": "192.168.0.2"}}}},
			{ID: "site-a/entry", Site: "site-a", Op: plan.Create, Kind: plan.RemoteMAC, What: "remote MAC entry", Parent: plan.Ref{ID: "g"}, Attrs: plan.Attrs{"mac_address": mac.String(), "vtep_address": "200.200.0.2", "segmentation_id": "100"}},
			{ID: "site-a/routes", Site: "site-a", Op: plan.AddRoutes, Kind: plan.Router, What: "peer router r", Target: plan.Ref{ID: "r"},
				Routes: []observed.Route{{Destination: netip.MustParsePrefix("10.0.1.0/24"), NextHop: netip.MustParseAddr("192.168.0.2")}}},
			{ID: "site-b/update", Site: "site-b", Op: plan.Update, Kind: plan.Subnet, What: "multi-site subnet", Target: plan.Ref{ID: "s"}, Attrs: plan.Attrs{"enable_dhcp": false, "gateway_ip": nil}, Before: plan.Attrs{"enable_dhcp": true, "gateway_ip": "192.168.0.254"}},
			{ID: "site-b/delete", Site: "site-b", Op: plan.Delete, Kind: plan.L2Gateway, What: "L2 gateway, VNI 200", Target: plan.Ref{ID: "l"}},
			{ID: "site-b/detach", Site: "site-b", Op: plan.Detach, Kind: plan.Port, What: "peer router port", Target: plan.Ref{ID: "p"}, Parent: plan.Ref{ID: "r"}},
		},
	}
}

func TestPlan(t *testing.T) {
	var b bytes.Buffer
	if err := Plan(&b, Style{}, examplePlan()); err != nil {
		t.Fatal(err)
	}
	const want = `peering acme
  multi-site network 192.168.0.0/24, VNI 100, MTU 1450
  site-a  192.168.0.1, 16:B7:B5:A4:57:75, tunnel IP 200.200.0.1: 10.0.0.0/24
site-a
  + multi-site network n
  + remote-site port of site-b
  + remote MAC entry
  + peer router r: route to 10.0.1.0/24 by 192.168.0.2
site-b
  ~ multi-site subnet: enable_dhcp true → false, gateway_ip 192.168.0.254 → none
  - L2 gateway, VNI 200
  - peer router port
Note:
  site-b: it is slow
    Be patient.
7 steps at 2 sites: 4 to add, 1 to change, 2 to take away.
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	b.Reset()
	p := &plan.Plan{Peering: "acme", Blockers: []plan.Problem{{Site: "site-a", Resource: "router r", Text: "it is not there", Hint: "Make it."}}}
	if err := Plan(&b, Style{Colour: true}, p); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "peering acme\x1b[0m\n\x1b[31mIn the way:\x1b[0m\n  site-a: router r: it is not there\n    Make it.\n1 thing stands in the way") {
		t.Errorf("%q", got)
	}
}

// TestBlockedPlan: what is in the way comes first, before what would be done, and each step is one line.
func TestBlockedPlan(t *testing.T) {
	p := examplePlan()
	p.Blockers = []plan.Problem{{Site: "site-a", Sites: []string{"site-a", "site-b"}, Resource: "router r", Text: "it is not there", Hint: "Make it.", Command: "openstack router create r"}}
	var b bytes.Buffer
	if err := Plan(&b, Style{}, p); err != nil {
		t.Fatal(err)
	}
	const first = "peering acme\nIn the way:\n  site-a, site-b: router r: it is not there\n    Make it.\n    Mend it with: openstack router create r\nAs far as"
	if !strings.HasPrefix(b.String(), first) || !strings.HasSuffix(b.String(), "1 thing stands in the way; nothing can be done until it is gone.\n") {
		t.Errorf("%s", b.String())
	}
	lines := 0
	for line := range strings.Lines(b.String()) {
		for _, sign := range []string{"  + ", "  ~ ", "  - "} {
			if strings.HasPrefix(line, sign) {
				lines++
			}
		}
	}
	if c := plan.CountOf(p.Actions); lines != c.Steps {
		t.Errorf("%d lines for %d steps", lines, c.Steps)
	}
}

func TestRender(t *testing.T) {
	spec := &peering.Peering{Sites: []peering.Site{{Name: "site-a", Access: peering.Access{Cloud: "east"}}, {Name: "site-b", Access: peering.Access{Endpoint: "http://127.0.0.1:1"}}}}
	obs := []observed.Site{{Routers: []observed.Router{{ID: "r", Routes: []observed.Route{{Destination: netip.MustParsePrefix("172.31.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.9")}}}}}}
	for format, want := range map[string][]string{
		"openstack": {
			"export OS_CLOUD=east",
			"ID_SITE_A_NETWORK=$(openstack network create n --description d --disable-port-security --mtu 1450 -f value -c id)",
			"openstack network set --tag causeway:x $ID_SITE_A_NETWORK",
			"ID_SITE_A_PORT=$(openstack port create p --description d --network $ID_SITE_A_NETWORK --mac-address 16:B7:B5:A4:57:75 --fixed-ip subnet=s,ip-address=192.168.0.2 --device-owner network:remote_site -f value -c id)",
			"ID_SITE_A_ENTRY=$(causeway remote-mac create --gateway-device g --mac-address 16:B7:B5:A4:57:75 --vtep-address 200.200.0.2 --segmentation-id 100 -f value -c id)",
			"openstack router add route r --route destination=10.0.1.0/24,gateway=192.168.0.2",
			"unset OS_CLOUD; export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:1",
			"openstack subnet set --no-dhcp --gateway none s",
			"causeway l2-gateway delete l",
			"openstack router remove port r p",
		},
		"neutron": {
			"ID_SITE_A_NETWORK=$(neutron net-create --port-security-enabled=False --description d --mtu=1450 n -f value -c id)",
			"neutron tag-add --resource-type network --resource $ID_SITE_A_NETWORK --tag causeway:x",
			"neutron router-update r --routes type=dict list=true destination=172.31.0.0/16,nexthop=10.0.0.9 destination=10.0.1.0/24,nexthop=192.168.0.2",
			"neutron l2-gateway-delete l",
			"neutron router-interface-delete r port=p",
		},
	} {
		var b bytes.Buffer
		if err := Render(&b, format, examplePlan(), spec, obs); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(b.String(), "\n")
		at := 0
		for _, w := range want {
			for at < len(lines) && lines[at] != w {
				at++
			}
			if at == len(lines) {
				t.Fatalf("%s: no line, or not in its place:\n%s\nin\n%s", format, w, b.String())
			}
		}
	}
	if err := Render(&bytes.Buffer{}, "curl", examplePlan(), spec, obs); err == nil {
		t.Error("an unknown format is taken")
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"a": "a", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$ID_X,y z": `"$ID_X,y z"`, "a;b": "'a;b'"} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	a := &plan.Action{Site: "site-a", Op: plan.Create, What: "network n"}
	events := []apply.Event{
		{Action: a, State: apply.Started, All: 12},
		{Action: a, State: apply.Done, Took: 12 * time.Millisecond, Done: 1, All: 12},
		{Action: a, State: apply.Failed, Err: errors.New("refused")},
		{Action: a, State: apply.Undone},
		{Action: a, State: apply.Stays, Err: errors.New("no answer")},
	}
	var b bytes.Buffer
	p := NewProgress(&b, Style{}, nil)
	for _, e := range events {
		p.Tell(e)
	}
	p.End()
	const want = " 1/12 site-a: create network n (12 ms)\n✗ site-a: create network n: refused\n↶ site-a: create network n: taken back\n✗ site-a: create network n: cannot be taken back: no answer\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	b.Reset()
	p = NewProgress(&b, Style{}, func() int { return 40 })
	for _, e := range events[:3] {
		p.Tell(e)
	}
	p.Tell(events[0])
	p.End()
	got := b.String()
	// One line is rewritten; what failed is a line that stays; at the end the screen
	// is clean.
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "\r\x1b[K") || !strings.Contains(got, "✗ site-a: create network n: refused\n") {
		t.Errorf("%q", got)
	}
	// A line that wraps could not be rewritten.
	for _, line := range strings.FieldsFunc(got, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if n := len([]rune(strings.TrimPrefix(line, "\x1b[K"))); n >= 40 && !strings.HasPrefix(strings.TrimPrefix(line, "\x1b[K"), "✗") {
			t.Errorf("%d columns on a terminal of 40: %q", n, line)
		}
	}
}

func TestStatus(t *testing.T) {
	s := &plan.Status{Peering: "acme", InSync: false,
		Pairs: []plan.Pair{{From: "site-a", To: "site-b", State: plan.Drifted, Why: []string{"x"}}, {From: "site-b", To: "site-a", State: plan.InSync}},
		Drift: []plan.Drift{{Site: "site-a", Resource: "network n", Text: "mtu is 1, and should be 2"}}}
	var b bytes.Buffer
	if err := Status(&b, Style{}, s); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"peering acme: not in sync\n", "| site-a | site-b | drifted | 1           |", "  site-a: network n: mtu is 1, and should be 2\n"} {
		if !strings.Contains(b.String(), w) {
			t.Errorf("no %q in\n%s", w, b.String())
		}
	}
	for range 40 {
		s.Pairs = append(s.Pairs, plan.Pair{From: "x", To: "y", State: plan.InSync})
	}
	b.Reset()
	if err := Status(&b, Style{}, s); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "41 of 42 pairs are in sync\n") || strings.Contains(b.String(), "| x ") {
		t.Errorf("%s", b.String())
	}
}
