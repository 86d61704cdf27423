package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestVerifyFurther: a network behind a further router of a site is proved on packets too, and a piece
// that is missing there is found; what the hosts know of their underlay is named.
func TestVerifyFurther(t *testing.T) {
	o := newOrchestrated(t, 2, 2)
	b := o.tenants[1]
	far := b.site.create(client.Networks, client.Attrs{"name": "far"})
	sub := b.site.create(client.Subnets, client.Attrs{"network_id": far, "ip_version": 4, "cidr": "10.8.0.0/24"})
	further := b.site.create(client.Routers, client.Attrs{"name": "further-router"})
	b.site.addInterface(further, "subnet_id", sub)
	b.site.addInterface(further, "port_id", b.site.create(client.Ports, client.Attrs{
		"network_id": b.network, "fixed_ips": []client.Attrs{{"ip_address": "10.0.1.254"}},
	}))
	back := client.Attrs{"routes": []client.Attrs{{"destination": "10.0.0.0/24", "nexthop": "10.0.1.1"}, {"destination": "192.168.0.0/24", "nexthop": "10.0.1.1"}}}
	b.site.update(client.Routers, further, back)
	b.site.update(client.Routers, b.router, client.Attrs{"routes": []client.Attrs{{"destination": "10.8.0.0/24", "nexthop": "10.0.1.254"}}})
	o.spec.Sites[1].Advertise = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("10.8.0.0/24")}
	o.apply()
	whole := func() {
		t.Helper()
		testutil.Succeeds(t, "all to be proved", func() error {
			res := o.verify()
			w := way(res, "site-a", "site-b")
			i := slices.IndexFunc(w.Networks, func(n verify.NetworkWay) bool { return n.Network.String() == "10.8.0.0/24" })
			if !res.Passes || i < 0 || w.Networks[i].Target.String() != "10.8.0.1" || !slices.Equal(w.Networks[i].Through, []string{"further-router"}) {
				return fmt.Errorf("%+v %+v", res.Findings, w.Networks)
			}
			return nil
		})
	}
	finds := func(part string, unproved bool) {
		t.Helper()
		testutil.Succeeds(t, "a finding: "+part, func() error {
			res := o.verify()
			if res.Passes || len(res.Findings) != 1 || res.Findings[0].Unproved != unproved || !strings.Contains(res.Findings[0].String(), part) {
				return fmt.Errorf("%+v", res.Findings)
			}
			return nil
		})
	}
	whole()

	b.site.update(client.Routers, further, client.Attrs{"routes": []client.Attrs{}})
	finds("further-router has no route to 10.0.0.1", false)
	b.site.update(client.Routers, further, back)
	whole()

	route := strings.Fields(strings.TrimSpace(strings.Split(o.mustRun("b1", "ip", "route", "show", "200.200.0.0/16"), "\n")[0]))
	o.mustRun("b1", append([]string{"ip", "route", "del"}, route...)...)
	finds("site-b: host b1: the host has no route from 200.200.0.2 to 200.200.0.1", false)
	o.mustRun("b1", append([]string{"ip", "route", "add"}, route...)...)
	whole()
}
