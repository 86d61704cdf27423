package orchestrator_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// manySites are sites as they look when nothing of the peering is there, each with
// so many networks to advertise and so many routes of others.
func manySites(sites, networks, routes int) (*peering.Peering, []observed.Site) {
	p := &peering.Peering{Name: "acme", Network: peering.Network{CIDR: netip.MustParsePrefix("192.168.0.0/24")}}
	var obs []observed.Site
	for i := range sites {
		name := siteName(i)
		p.Sites = append(p.Sites, peering.Site{Name: name, Router: "r", Gateway: peering.Gateway{Device: "g"}})
		o := observed.Site{Name: name, Routers: []observed.Router{{ID: "r", Name: "r", AdminStateUp: true}},
			Devices: []observed.Device{{ID: "g", Name: "g", Type: "router_vtep", RouterID: "v", TunnelIPs: []netip.Addr{netip.MustParseAddr(tunnelIP(i))}}}}
		for j := range networks {
			sub := fmt.Sprintf("s%d", j)
			o.Networks = append(o.Networks, observed.Network{ID: "n" + sub, MTU: 1450, AdminStateUp: true})
			o.Subnets = append(o.Subnets, observed.Subnet{ID: sub, NetworkID: "n" + sub, CIDR: netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", i, j))})
			o.Interfaces = append(o.Interfaces, observed.Port{ID: "p" + sub, NetworkID: "n" + sub, DeviceID: "r", DeviceOwner: "network:router_interface",
				IPs: []observed.IP{{SubnetID: sub, Addr: netip.MustParseAddr(fmt.Sprintf("10.%d.%d.1", i, j))}}})
		}
		for j := range routes {
			o.Routers[0].Routes = append(o.Routers[0].Routes, observed.Route{Destination: netip.MustParsePrefix(fmt.Sprintf("172.%d.%d.0/24", 16+j/256, j%256)), NextHop: netip.MustParseAddr(fmt.Sprintf("10.%d.0.9", i))})
		}
		obs = append(obs, o)
	}
	return p, obs
}

// BenchmarkPlan plans 50 sites, each with 200 networks that all others reach: 9800
// routes a router.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []struct{ networks, routes int }{{1, 200}, {200, 200}} {
		b.Run(fmt.Sprintf("sites=50/networks=%d/routes=%d", n.networks, n.routes), func(b *testing.B) {
			p, obs := manySites(50, n.networks, n.routes)
			for b.Loop() {
				if pl := plan.Build(p, obs, plan.Options{}); len(pl.Blockers) > 0 {
					b.Fatal(pl.Blockers[0])
				}
			}
		})
	}
}

// BenchmarkPlanOfSites is "peer plan" as a whole: 50 sites are read, each with 200
// routes.
func BenchmarkPlanOfSites(b *testing.B) {
	l := newLab(b, 50)
	for _, c := range l.clouds {
		r := c.one("routers", object{"name": "tenant-router"})
		sub := c.one("subnets", nil)["cidr"].(string)
		hop := netip.MustParsePrefix(sub).Addr().Next().Next()
		var routes []object
		for j := range 200 {
			routes = append(routes, object{"destination": fmt.Sprintf("172.16.%d.0/24", j), "nexthop": hop.String()})
		}
		c.put("routers/"+id(r), "router", object{"routes": routes})
	}
	p := l.peering()
	b.ResetTimer()
	for b.Loop() {
		if pl, _, err := l.o.Plan(b.Context(), p, applied); err != nil || len(pl.Blockers) > 0 {
			b.Fatal(err, pl)
		}
	}
}

// BenchmarkApply applies to idle sites, and takes everything away again outside of
// the time. The sites' stores are in memory: the figure is the orchestrator's and
// the API's.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{2, 10, 50} {
		b.Run(fmt.Sprintf("sites=%d", n), func(b *testing.B) { applies(b, newLab(b, n)) })
	}
	http.DefaultClient.CloseIdleConnections()
}

// BenchmarkApplyToControllers is BenchmarkApply with a "causeway controller" process
// for each site, all on this machine.
func BenchmarkApplyToControllers(b *testing.B) {
	b.Setenv("CAUSEWAY_CONTROLLER_MAX_ROUTES", "1000") // a route for each other site
	for _, n := range []int{2, 10, 50} {
		b.Run(fmt.Sprintf("sites=%d", n), func(b *testing.B) {
			servers := newControllers(b, 1, n).servers(b, n)
			applies(b, newLabOf(b, n, func(i int) *cloud { return newCloudOf(b, siteName(i), servers[i]) }))
		})
	}
}

// applies measures one apply after the other, each with nothing there before. The
// memory is what this process has of the system, with the lab's own.
func applies(b *testing.B, l *lab) {
	p := l.peering()
	var mem runtime.MemStats
	steps, peak, took := 0, uint64(0), time.Duration(0)
	for b.Loop() {
		runtime.GC()
		begin := time.Now()
		out, err := l.o.Run(b.Context(), p, applied, orchestrator.RunOptions{})
		if err != nil {
			b.Fatal(err)
		}
		took += time.Since(begin)
		runtime.ReadMemStats(&mem)
		steps, peak = out.Steps, max(peak, mem.Sys)
		b.StopTimer()
		if _, err := l.o.Run(b.Context(), p, destroyed, orchestrator.RunOptions{}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "s/apply")
	b.ReportMetric(float64(steps), "steps")
	b.ReportMetric(float64(peak>>20), "MB-of-the-process")
}
