package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

var causeway string

func TestMain(m *testing.M) {
	os.Exit(testutil.MainWithProgram(m, "github.com/causeway-net/causeway/cmd/causeway", func(path string) { causeway = path }))
}

// TestDraw: the site is the one that the law gives, and always the same.
func TestDraw(t *testing.T) {
	d, again := draw(50_000, 1000), draw(50_000, 1000)
	if d.String() != again.String() || fmt.Sprint(d) != fmt.Sprint(again) {
		t.Error("two drawings differ")
	}
	t.Log(d.String())
	if n := len(d.Networks); n < 1800 || n > 2200 || d.ports() != 50_000 {
		t.Errorf("%d networks, %d ports", n, d.ports())
	}
	shared, most := 0, 0
	for _, r := range d.Routers {
		if r.shared {
			shared++
		}
		if len(r.networks) == 0 {
			t.Error("a router without a network")
		}
		most = max(most, len(r.networks))
	}
	if n := len(d.Routers); n < 900 || n > 1100 || shared < n/5 || most != manyIfaces {
		t.Errorf("%d routers, %d of them on the shared network, one with %d interfaces", n, shared, most)
	}
	for _, n := range d.Networks {
		hosts := map[int]bool{}
		for _, h := range n.ports {
			hosts[h] = true
		}
		if len(n.ports) > mostPorts || len(hosts) > mostHosts || len(hosts) < min(len(n.ports), mostHosts, probeHosts) {
			t.Errorf("a network of %d ports on %d hosts", len(n.ports), len(hosts))
		}
	}
}

// TestCostFollowsChange: what a change makes agents take, a delete the store write, and a reconnect send does not grow with
// the site. All of it is counted, nothing timed.
func TestCostFollowsChange(t *testing.T) {
	t.Parallel()
	type counted struct{ change, writes, reconnect, rows float64 }
	var got [2]counted
	for i, size := range []struct{ ports, hosts int }{{100, 10}, {1000, 40}} {
		s, err := newSite(t.Context(), causeway, filepath.Join(t.TempDir(), "site"), draw(size.ports, size.hosts), 0, size.hosts, true)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}()
		c := &changer{site: s}
		if err := s.fleet.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.fleet.connected(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.quiet(t.Context(), quietFor); err != nil {
			t.Fatal(err)
		}
		if err := s.fleet.each(func(a *agent) error { return a.bad }); err != nil {
			t.Fatal(err)
		}
		agents := s.fleet.having(s.made.networks[0])
		if agents != probeHosts {
			t.Fatalf("%d agents have the probe network", agents)
		}
		before, _ := s.fleet.taken()
		const changes = 5
		for range changes {
			if _, _, err := c.onProbe(t.Context(), agents); err != nil {
				t.Fatal(err)
			}
		}
		after, have := s.fleet.taken()
		writes, err := c.writes(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		a := s.fleet.agents[size.hosts-1]
		_, sent, rows, err := c.reconnects(t.Context(), a, 3)
		if err != nil {
			t.Fatal(err)
		}
		got[i] = counted{float64(after-before) / changes, percentile(writes, 1), percentile(sent, .5), float64(have)}
		if rows != 0 {
			t.Errorf("an agent that came again was sent %d rows that it had", rows)
		}
	}
	small, large := got[0], got[1]
	t.Logf("small %+v, large %+v", small, large)
	if large.rows < 4*small.rows {
		t.Errorf("the large site has no more rows: %v and %v", large.rows, small.rows)
	}
	if large.change > 1.25*small.change {
		t.Errorf("a create and a delete are %v rows at the large site, %v at the small one", large.change, small.change)
	}
	if large.writes > 3 || small.writes > 3 {
		t.Errorf("a delete is %v and %v writes", large.writes, small.writes)
	}
	if large.reconnect > 1.25*small.reconnect {
		t.Errorf("a reconnect is %v bytes at the large site, %v at the small one", large.reconnect, small.reconnect)
	}
}

// TestOutput runs all of it, small.
func TestOutput(t *testing.T) {
	t.Parallel()
	o := options{
		binary: causeway, dir: t.TempDir(), ports: 100, hosts: 10, smallPorts: 40, smallHosts: 9, rounds: 2, changes: 2, count: 3, deletes: 1, attacks: true, whole: 5,
	}
	out, err := bench(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := out.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{law, "all 10 agents cold", "p99", "store writes that a delete makes", "large site against small", "floods reports", "reconnect", "controller, resident"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &b)
		}
	}
	if err := out.write(filepath.Join(t.TempDir(), "out.json")); err != nil {
		t.Error(err)
	}
}
