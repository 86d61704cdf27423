package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testutil"
)

// fullHost has a tenant fill the maps of host a1 by what the API allows: many routers on one network, each with as
// many routes as it may have, and many ports.
type fullHost struct {
	*pair
	routerPorts []string
}

func (f *fullHost) fill() {
	const routers, routes, ports = 20, 30, 150
	s := f.a.site
	network := s.create(client.Networks, client.Attrs{"name": "mallory"})
	subnet := s.create(client.Subnets, client.Attrs{"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/16"})
	port := func(i int) string {
		return s.create(client.Ports, client.Attrs{"network_id": network, "fixed_ips": []client.Attrs{
			{"subnet_id": subnet, "ip_address": fmt.Sprintf("10.9.1.%d", i)},
		}})
	}
	if _, err := f.Attach(f.t.Context(), testbed.AttachOptions{Site: s.name, Host: s.host, Port: port(1), Name: "mallory"}); err != nil {
		f.t.Fatal(err)
	}
	for i := range routers {
		r := s.create(client.Routers, client.Attrs{"name": fmt.Sprint("mallory-", i)})
		f.routerPorts = append(f.routerPorts, s.addInterface(r, "port_id", port(10+i)))
		var rs []client.Attrs
		for j := range routes {
			rs = append(rs, client.Attrs{"destination": fmt.Sprintf("10.%d.%d.0/24", 100+i, j), "nexthop": "10.9.1.1"})
		}
		s.update(client.Routers, r, client.Attrs{"routes": rs})
	}
	for i := range ports {
		port(50 + i)
	}
}

// waiting is how many rows of a map have no room.
func (f *fullHost) waiting(name string) float64 {
	m, err := f.metrics("a1")
	if err != nil {
		return 0
	}
	return m[fmt.Sprintf(`causeway_agent_map_rows_left_out{map=%q}`, name)]
}

// told checks that the maps are full, and that it is said to whom it concerns.
func (f *fullHost) told() {
	f.t.Helper()
	for _, name := range []string{"routes", "fdb", "neighbors"} {
		testutil.Eventually(f.t, name+" to be full", func() bool { return f.waiting(name) > 0 })
	}
	testutil.Succeeds(f.t, "ports without room to be ERROR", func() error {
		states := map[string]int{}
		for _, p := range f.routerPorts {
			states[client.Str(f.a.site.get(client.Ports, p), "status")]++
		}
		if states["ERROR"] == 0 {
			return fmt.Errorf("the routers' ports are %v", states)
		}
		return nil
	})
	log, err := os.ReadFile(filepath.Join(filepath.Dir(f.MetricsSocket("x")), "agent-a1.log"))
	if err != nil || !strings.Contains(string(log), "maps are full") {
		f.t.Errorf("the agent's log says nothing of it (%v)", err)
	}
}

// TestFullHost: a tenant that fills the maps of a host harms no tenant who was there before, and
// who comes has a gateway and neighbours; where the host begins anew, a way to the other site too.
func TestFullHost(t *testing.T) {
	f := &fullHost{pair: newPair(t)}
	limits := []string{"--max-routes", "400", "--max-endpoints", "150", "--max-neighbors", "150"}
	if err := f.Restart(t.Context(), "a1", limits...); err != nil {
		t.Fatal(err)
	}
	f.fill()
	f.told()
	f.reach(f.vmA, f.addrB)
	f.reach(f.vmB, f.addrA)
	f.a.site.waitStatus(f.a.workloadPorts[f.vmA], "ACTIVE")

	after := []*tenant{f.sites[0].newTenant("new", 200), f.sites[1].newTenant("new", 200)}
	peer(after...)
	after[0].attach("new-a", 4, "")
	after[1].attach("new-b", 4, "")
	after[0].attach("new-c", 5, "")
	f.reach("new-a", "10.0.0.1")
	f.reach("new-a", "10.0.0.5")
	after[0].site.waitStatus(after[0].workloadPorts["new-a"], "ACTIVE")

	if err := f.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(f.PinDir("a1")); err != nil {
		t.Fatal(err)
	}
	if err := f.Restart(t.Context(), "a1", limits...); err != nil {
		t.Fatal(err)
	}
	f.told()
	f.reach(f.vmA, f.addrB)
	f.reach(f.vmB, f.addrA)
	f.reach("new-a", "10.0.0.1")
	f.reach("new-a", "10.0.0.5")
	f.reach("new-a", "10.0.1.4")
	f.reach("new-b", "10.0.0.4")
}
