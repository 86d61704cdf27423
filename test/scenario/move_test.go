package scenario

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
)

// TestPortMoves: a port that moves from host to host and back, with a virtual machine of its address in both places, answers each
// packet once: from its network, from another one, from the host that it leaves, the one that it comes to and a third. No host refuses
// any, and none goes round.
func TestPortMoves(t *testing.T) {
	l := newHostsLab(t, 1, 3)
	s := l.sites[0]
	near := s.create(client.Networks, client.Attrs{"name": "near"})
	far := s.create(client.Networks, client.Attrs{"name": "far"})
	router := s.create(client.Routers, client.Attrs{"name": "router"})
	for n, cidr := range map[string]string{near: "10.0.0.0/24", far: "10.0.60.0/24"} {
		s.addInterface(router, "subnet_id", s.create(client.Subnets, client.Attrs{"network_id": n, "ip_version": 4, "cidr": cidr}))
	}
	hosts := []string{"a1", "a2", "a3"}
	for i, h := range hosts {
		s.attachOn(h, "near-"+h, near, fmt.Sprintf("10.0.0.%d", 11+i))
		s.attachOn(h, "far-"+h, far, fmt.Sprintf("10.0.60.%d", 11+i))
	}
	port := s.create(client.Ports, client.Attrs{"network_id": near, "name": "moves", "fixed_ips": []client.Attrs{{"ip_address": "10.0.0.99"}}})
	if _, err := s.lab.Attach(t.Context(), testbed.AttachOptions{Site: s.name, Host: "a1", Port: port, Name: "moves-a1"}); err != nil {
		t.Fatal(err)
	}
	// Its other place: a workload of another port, which then is unbound.
	s.attachOn("a2", "moves-a2", near, "10.0.0.98")
	place := map[string]testbed.Workload{}
	for _, w := range l.Workloads() {
		place[w.Name] = w
	}
	there := place["moves-a2"]
	bind := func(port, host, iface string) {
		t.Helper()
		if _, err := s.api.Update(t.Context(), client.Ports, port, client.Attrs{"binding:host_id": host, "binding:profile": client.Attrs{"interface_name": iface}}); err != nil {
			t.Fatal(err)
		}
	}
	bind(there.PortID, "", "")
	l.mustRun("moves-a2", "ip", "link", "set", "eth0", "address", place["moves-a1"].MAC)
	l.mustRun("moves-a2", "ip", "addr", "flush", "dev", "eth0")
	l.mustRun("moves-a2", "ip", "addr", "add", "10.0.0.99/24", "dev", "eth0")
	l.mustRun("moves-a2", "ip", "route", "replace", "default", "via", "10.0.0.1")
	during := func(what string, f func()) {
		t.Helper()
		results := make(chan string)
		senders := 0
		for _, h := range hosts {
			for _, from := range []string{"near-" + h, "far-" + h} {
				senders++
				go func() {
					out, err := l.run(from, "ping", "-q", "-n", "-i", "0.005", "-c", "1000", "-W", "5", "10.0.0.99")
					if err != nil || !strings.Contains(out, " 0% packet loss") || strings.Contains(out, "duplicates") {
						results <- fmt.Sprintf("%s, from %s: %v %s", what, from, err, out)
						return
					}
					results <- ""
				}()
			}
		}
		f()
		for range senders {
			if r := <-results; r != "" {
				t.Error(r)
			}
		}
	}
	came := func(name string) int {
		t.Helper()
		var links []struct {
			Stats struct{ Rx struct{ Packets int } } `json:"stats64"`
		}
		if err := json.Unmarshal([]byte(l.mustRun(name, "ip", "-j", "-s", "link", "show", "dev", "eth0")), &links); err != nil || len(links) != 1 {
			t.Fatalf("what came to %s: %v", name, err)
		}
		return links[0].Stats.Rx.Packets
	}
	for _, h := range hosts {
		l.reach("near-"+h, "10.0.0.99")
		l.reach("far-"+h, "10.0.0.99")
	}
	before := came("moves-a2")
	during("there", func() { bind(port, "a2", there.Interface) })
	if n := came("moves-a2") - before; n < 1000 {
		t.Errorf("only %d packets came to the new place", n)
	}
	during("and back", func() { bind(port, "a1", place["moves-a1"].Interface) })
	if d := l.fabricDrops(hosts...); len(d) > 0 {
		t.Errorf("the fabric dropped: %s", strings.Join(d, "\n"))
	}
}
