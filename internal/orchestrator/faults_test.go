package orchestrator_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/apply"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// foreign is what of a state no peering may touch: everything that was there before,
// as it was. A peer router may gain routes into the multi-site network and marks, a
// gateway device remote MAC entries.
func foreign(before, now map[string]object, cidr netip.Prefix) (diffs []string) {
	for key, was := range before {
		is, ok := now[key]
		if !ok {
			diffs = append(diffs, key+" is gone")
			continue
		}
		if d := cmp.Diff(untouched(was, was, cidr), untouched(is, was, cidr)); d != "" {
			diffs = append(diffs, key+": "+d)
		}
	}
	return diffs
}

func untouched(o, was object, cidr netip.Prefix) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	if tags, ok := o["tags"].([]any); ok {
		out["tags"] = slices.DeleteFunc(slices.Clone(tags), func(t any) bool {
			return strings.HasPrefix(t.(string), "causeway:uses:acme") || strings.HasPrefix(t.(string), "causeway:lease:")
		})
	}
	if routes, ok := o["routes"].([]any); ok {
		out["routes"] = slices.DeleteFunc(slices.Clone(routes), func(r any) bool {
			hop, _ := netip.ParseAddr(r.(object)["nexthop"].(string))
			return cidr.Contains(hop)
		})
	}
	if entries, ok := o["remote_mac_entries"].([]any); ok {
		kept := []any{}
		for _, e := range entries {
			if slices.ContainsFunc(was["remote_mac_entries"].([]any), func(x any) bool { return x.(object)["id"] == e.(object)["id"] }) {
				kept = append(kept, e)
			}
		}
		out["remote_mac_entries"] = kept
	}
	return out
}

// world is a random topology with a random peering over it.
type world struct {
	*lab
	servers []server // the clouds' own; nil where they are never killed
	rnd     *rand.Rand
	p       *peering.Peering
	first   *peering.Peering
	before  []map[string]object
	cidr    netip.Prefix
	runs    int
	dead    map[string]bool
}

func newWorld(t testing.TB, g ground, seed uint64) *world {
	w := &world{lab: &lab{t: t}, rnd: rand.New(rand.NewPCG(seed, 7)), dead: map[string]bool{}, cidr: netip.MustParsePrefix("192.168.0.0/24")}
	n := 2 + w.rnd.IntN(maxSites-1)
	w.servers = g.servers(t, n)
	w.p = &peering.Peering{Name: "acme", Network: peering.Network{CIDR: w.cidr}}
	if w.chance(0.5) {
		w.p.Network.VNI = model.VNI(100 + w.rnd.IntN(3))
	}
	other := &peering.Peering{Name: "beta", Network: peering.Network{CIDR: netip.MustParsePrefix("192.168.7.0/24")}}
	for i := range n {
		c := newCloudOf(t, siteName(i), w.servers[i])
		w.clouds = append(w.clouds, c)
		spec := peering.Site{Name: c.name, Access: peering.Access{Endpoint: c.srv.URL}, Router: "tenant-router"}
		var cidrs []string
		for j := range 1 + w.rnd.IntN(3) {
			cidrs = append(cidrs, fmt.Sprintf("10.%d.%d.0/24", i, j))
		}
		router := c.tenant("tenant-router", cidrs...)
		switch w.rnd.IntN(3) {
		case 0:
			c.gateway("gateway", tunnelIP(i))
			spec.Gateway.Device = "gateway"
		case 1:
			c.make("routers", "router", object{"name": "vtep", "description": "somebody's"})
			spec.Gateway = peering.Gateway{Router: "vtep", TunnelIP: netip.MustParseAddr(tunnelIP(i))}
		default:
			spec.Gateway = peering.Gateway{Router: "vtep", TunnelIP: netip.MustParseAddr(tunnelIP(i))}
		}
		if w.chance(0.4) {
			spec.Address = netip.MustParseAddr(fmt.Sprintf("192.168.0.%d", 20+i))
		}
		if w.chance(0.4) {
			spec.MAC, _ = model.ParseNamedMAC(fmt.Sprintf("16:B7:B5:A4:57:%02X", i))
		}
		w.clutter(c, router)
		w.p.Sites = append(w.p.Sites, spec)
		spec.Address, spec.MAC = netip.Addr{}, model.NamedMAC{}
		spec.Advertise = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("172.16.%d.0/24", i))}
		other.Sites = append(other.Sites, spec)
	}
	w.first = w.p
	w.o = orchestrator.New(options("setup"))
	if w.chance(0.5) {
		// Another peering shares routers and gateway devices.
		w.apply(other)
	}
	w.before = w.states()
	return w
}

func (w *world) chance(p float64) bool { return w.rnd.Float64() < p }

// clutter is what other people have at a site.
func (w *world) clutter(c *cloud, router string) {
	if w.chance(0.5) {
		net := c.make("networks", "network", object{"name": "causeway-acme-" + c.name}) // the name alone is no mark
		c.make("subnets", "subnet", object{"network_id": net, "ip_version": 4, "cidr": "192.168.0.0/24"})
		c.make("ports", "port", object{"network_id": net})
	}
	if w.chance(0.5) {
		g := c.gateway("elsewhere", "200.201.0.1")
		table := "gw/gateway_devices/" + g + "/remote_mac_entries"
		c.make(table, "remote_mac_entry", object{"mac_address": "16:B7:B5:A4:57:00", "vtep_address": "200.201.0.9", "segmentation_id": "100"})
		l2 := c.make("l2-gateways", "l2_gateway", object{"name": "other", "devices": []object{{"device_id": g, "segmentation_id": "100"}}})
		net := c.make("networks", "network", object{"name": "other"})
		c.make("l2-gateway-connections", "l2_gateway_connection", object{"l2_gateway_id": l2, "network_id": net})
	}
	if w.chance(0.5) {
		// The tenant's own second router is a next hop.
		var third byte
		for _, s := range c.list("subnets") {
			if strings.HasPrefix(s["name"].(string), "tenant-router-") {
				p := netip.MustParsePrefix(s["cidr"].(string)).Addr().As4()
				p[3], third = 250, p[1]
				c.put("routers/"+router, "router", object{"routes": []object{{"destination": fmt.Sprintf("172.31.%d.0/24", third), "nexthop": netip.AddrFrom4(p).String()}}})
				break
			}
		}
	}
	if w.chance(0.5) {
		c.call(http.MethodPut, "routers/"+router+"/tags", object{"tags": []string{"billing", "causeway"}})
	}
}

var (
	seeds           = flag.Int("seeds", 30, "how many random worlds TestFaults goes through")
	controllerSeeds = flag.Int("controller-seeds", 6, "how many random worlds TestFaultsOfControllers goes through")
)

// change makes the file say something else.
func (w *world) change() {
	w.p = w.original()
	s := &w.p.Sites[w.rnd.IntN(len(w.p.Sites))]
	switch w.rnd.IntN(6) {
	case 0:
		w.p.Network.VNI = model.VNI(200 + w.rnd.IntN(3))
	case 1:
		s.Address = netip.MustParseAddr(fmt.Sprintf("192.168.0.%d", 100+w.rnd.IntN(3)))
	case 2:
		s.MAC, _ = model.ParseNamedMAC(fmt.Sprintf("16:B7:B5:A4:58:%02X", w.rnd.IntN(3)))
	case 3:
		s.Advertise = []netip.Prefix{}
	case 4:
		if len(w.p.Sites) > 2 {
			w.p.Sites = w.p.Sites[1:]
		}
	case 5:
		// Two sites change places.
		a, b := &w.p.Sites[0], &w.p.Sites[1]
		a.Address, b.Address = netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("192.168.0.1")
		if w.chance(0.5) {
			a.Address, b.Address = b.Address, a.Address
		}
	}
}

// original is the file as it was first.
func (w *world) original() *peering.Peering {
	p := *w.first
	p.Sites = slices.Clone(w.first.Sites)
	return &p
}

// TestFaults is the random test: peerings over random topologies, with errors, lost
// answers and kills anywhere; after a last apply everything is as planned, and after
// destroy as before, and nothing else is ever touched.
func TestFaults(t *testing.T) {
	g := newInProcess(t)
	for seed := range worlds(*seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			goThrough(newWorld(t, g, seed))
		})
	}
}

// TestFaultsOfControllers is the same with sites that are processes of their own.
func TestFaultsOfControllers(t *testing.T) {
	const atOnce = 2
	g := newControllers(t, atOnce, maxSites)
	for seed := range worlds(*controllerSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			goThrough(newWorld(t, g, seed))
		})
	}
}

// worlds is how many of n a run goes through: few where tests are to be short.
func worlds(n int) uint64 {
	if testing.Short() {
		n = (n + 5) / 6
	}
	return uint64(n)
}

// goThrough makes random runs, and in the end those that have to succeed.
func goThrough(w *world) {
	t := w.t
	defer func() {
		for _, c := range w.clouds {
			c.interpose(nil)
		}
	}()
	for range 2 + w.rnd.IntN(4) {
		f := &faults{rate: w.rnd.IntN(20)}
		switch w.rnd.IntN(6) {
		case 0:
		case 1:
			f.refuseAt = 1 + w.rnd.IntN(60)
		case 2, 3:
			f.killAt = 1 + w.rnd.IntN(200)
		default:
			f.crashAt = w.someRequests(150)
		}
		planner := applied
		if w.chance(0.25) {
			planner = destroyed
		}
		if w.chance(0.5) {
			w.change()
		}
		states := w.statesWithoutLease()
		out, err := w.run(planner, f)
		var blocked orchestrator.Blocked
		if errors.As(err, &blocked) && !hasDown(blocked.Plan) {
			t.Fatal(inFull(err))
		}
		var step *apply.StepError
		if errors.As(err, &step) && step.TakenBack && len(step.Late) == 0 && onlyMakes(out.Plan) {
			if d := cmp.Diff(states, w.statesWithoutLease()); d != "" {
				t.Fatalf("taken back, and not as before: %v\n%s", err, d)
			}
		}
	}
	w.p = w.original()
	if _, err := w.run(applied, &faults{}); err != nil {
		t.Fatalf("the last apply: %v", inFull(err))
	}
	w.checkApplied()
	if out, err := w.run(applied, &faults{}); err != nil || out.Steps != 0 {
		t.Fatalf("applied twice: %v, %d steps", err, out.Steps)
	}
	// Kills in the middle of taking it away.
	for w.chance(0.6) {
		f := &faults{rate: w.rnd.IntN(10), killAt: 1 + w.rnd.IntN(120)}
		if w.chance(0.5) {
			f.killAt, f.crashAt = 0, w.someRequests(100)
		}
		if _, err := w.run(destroyed, f); err == nil {
			break
		}
	}
	if _, err := w.run(destroyed, &faults{}); err != nil {
		t.Fatalf("the last destroy: %v", inFull(err))
	}
	if d := cmp.Diff(w.before, w.states()); d != "" {
		t.Fatalf("after destroy: %s", d)
	}
}

// someRequests are numbers of one to three requests, the highest at most n.
func (w *world) someRequests(n int) []int {
	var out []int
	for range 1 + w.rnd.IntN(3) {
		out = append(out, 1+w.rnd.IntN(n))
	}
	return out
}

// inFull is an error with all that stands in the way.
func inFull(err error) error {
	var blocked orchestrator.Blocked
	if errors.As(err, &blocked) {
		return fmt.Errorf("%w: %v", err, blocked.Plan.Blockers)
	}
	return err
}

func hasDown(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Blockers, func(b plan.Problem) bool {
		return strings.Contains(b.Text, "API") || strings.Contains(b.Text, "refused")
	})
}

// onlyMakes tells whether a plan takes nothing away that would come back under
// another id.
func onlyMakes(p *plan.Plan) bool {
	return !slices.ContainsFunc(p.Actions, func(a plan.Action) bool {
		return a.Op == plan.Delete || a.Op == plan.Detach || a.Op == plan.Attach && a.Target.From == ""
	})
}

// statesWithoutLease are the states, with routes in order, without what a lease leaves that could not be
// given back.
func (w *world) statesWithoutLease() []map[string]object {
	out := w.states()
	for _, s := range out {
		for _, o := range s {
			if tags, ok := o["tags"].([]any); ok {
				o["tags"] = slices.DeleteFunc(tags, func(t any) bool { return strings.HasPrefix(t.(string), "causeway:lease:") })
			}
			if routes, ok := o["routes"].([]any); ok {
				// One that was taken away and is put back is the last.
				slices.SortFunc(routes, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	}
	return out
}

// checkApplied looks at the sites with the eyes of the guide: each piece that its
// steps make, for each pair, and not one more.
func (w *world) checkApplied() {
	w.t.Helper()
	st := w.status(w.p)
	if !st.InSync {
		w.t.Fatalf("not in sync: %v %v", st.Drift, st.Problems)
	}
	vni := float64(st.Choices.VNI)
	for i, c := range w.clouds {
		ch := st.Choices.Sites[i]
		net := c.one("networks", object{"description": "causeway:peering:acme:" + c.name})
		c.one("subnets", object{"network_id": net["id"], "cidr": "192.168.0.0/24"})
		conn := c.one("l2-gateway-connections", object{"network_id": net["id"]})
		gw := c.one("l2-gateways", object{"id": conn["l2_gateway_id"]})
		dev := gw["devices"].([]any)[0].(object)
		if dev["segmentation_id"] != fmt.Sprint(st.Choices.VNI) {
			w.t.Fatalf("%s: VNI %v, want %v", c.name, dev, vni)
		}
		device := c.one("gw/gateway_devices", object{"id": dev["device_id"]})
		if device["tunnel_ips"].([]any)[0] != tunnelIP(i) {
			w.t.Fatalf("%s: gateway device %v", c.name, device)
		}
		router := c.one("routers", object{"name": "tenant-router"})
		peer := c.one("ports", object{"network_id": net["id"], "device_id": router["id"]})
		if addrOf(peer) != ch.Address.String() || !strings.EqualFold(peer["mac_address"].(string), ch.MAC.String()) {
			w.t.Fatalf("%s: peer router port %v", c.name, peer)
		}
		if n := len(c.all("ports", object{"network_id": net["id"]})); n != len(w.clouds) {
			w.t.Fatalf("%s: %d ports on the multi-site network", c.name, n)
		}
		var routes []string
		for _, r := range router["routes"].([]any) {
			if hop, _ := netip.ParseAddr(r.(object)["nexthop"].(string)); w.cidr.Contains(hop) {
				routes = append(routes, fmt.Sprint(r.(object)["destination"], " ", hop))
			}
		}
		var wantRoutes []string
		entries := 0
		for j, o := range w.clouds {
			if j == i {
				continue
			}
			och := st.Choices.Sites[j]
			port := c.one("ports", object{"network_id": net["id"], "device_owner": "network:remote_site", "mac_address": och.MAC.String()})
			if addrOf(port) != och.Address.String() {
				w.t.Fatalf("%s: remote-site port %v", c.name, port)
			}
			c.one("gw/gateway_devices/"+device["id"].(string)+"/remote_mac_entries",
				object{"mac_address": och.MAC.String(), "vtep_address": tunnelIP(j), "segmentation_id": vni})
			for _, s := range o.list("subnets") {
				if strings.HasPrefix(s["name"].(string), "tenant-router-") {
					wantRoutes = append(wantRoutes, fmt.Sprint(s["cidr"], " ", och.Address))
				}
			}
		}
		for _, e := range c.list("gw/gateway_devices/" + device["id"].(string) + "/remote_mac_entries") {
			if e["segmentation_id"] == vni {
				entries++
			}
		}
		if entries != len(w.clouds)-1 {
			w.t.Fatalf("%s: %d remote MAC entries", c.name, entries)
		}
		slices.Sort(routes)
		slices.Sort(wantRoutes)
		if d := cmp.Diff(wantRoutes, routes); d != "" {
			w.t.Fatalf("%s: routes: %s", c.name, d)
		}
	}
}
