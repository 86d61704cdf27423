package site_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
)

// agents is a site's agents, which connect one after another.
type agents struct {
	*fixture
	sessions uint64
}

func (a *agents) register(name model.HostName, end string) error {
	a.sessions++
	s := site.Session{Host: name, Controller: "c1", Number: a.sessions}
	if end != "" {
		s.Fabric = netip.MustParseAddrPort(end)
	}
	return a.RegisterHost(a.Context(), s)
}

func (a *agents) refused(name model.HostName, end string, words ...string) {
	a.Helper()
	err := a.register(name, end)
	a.wantErr(err, model.KindConflict, "HostNotOnFabric")
	for _, w := range words {
		if err != nil && !strings.Contains(err.Error(), w) {
			a.Errorf("%v does not say %q", err, w)
		}
	}
}

// gone has hosts be gone.
func (a *agents) gone(names ...model.HostName) {
	a.Helper()
	for _, name := range names {
		h := store.Get(a.view(), store.Hosts, string(name))
		if ok, err := a.HostGone(a.Context(), site.Signs{Host: name, Controller: h.Controller, Session: h.Session}); err != nil || !ok {
			a.Fatal(name, ok, err)
		}
	}
}

// report has a host's agent report, so that the host is back.
func (a *agents) report(name model.HostName) {
	a.Helper()
	h := store.Get(a.view(), store.Hosts, string(name))
	if ok, err := a.HostBack(a.Context(), site.Session{Host: name, Controller: h.Controller, Number: h.Session}); err != nil || !ok {
		a.Fatal(name, ok, err)
	}
}

// TestSeveralHosts: a host that the others cannot reach by the fabric is refused, in words that name the setting.
func TestSeveralHosts(t *testing.T) {
	f := &agents{fixture: newSite(t)}
	f.ok(f.register("h1", ""))
	f.refused("h2", "", "h1", "--fabric-address")
	f.refused("h2", "192.0.2.2:4798", "h1", "--fabric-address")
	f.ok(f.register("h1", "192.0.2.1:4798"))
	f.refused("h2", "", "h1", "--fabric-address")
	f.refused("h2", "192.0.2.1:4798", "h1", "192.0.2.1")
	f.refused("h2", "192.0.2.2:4799", "4798", "4799", "--fabric-port")
	f.ok(f.register("h2", "192.0.2.2:4798"))
	f.refused("h1", "", "h2")
	f.ok(f.SetMTUs(t.Context(), "h2", 1500, 9000))
	f.ok(f.register("h2", "192.0.2.2:4798"))
	want := model.Fabric{Addr: netip.MustParseAddr("192.0.2.2"), Port: 4798, MTU: 9000}
	if h := store.Get(f.view(), store.Hosts, "h2"); h.Fabric != want || h.UnderlayMTU != 1500 {
		t.Errorf("%+v", h)
	}
	// Another address: what its interface takes is not known.
	f.ok(f.register("h2", "192.0.2.3:4798"))
	if h := store.Get(f.view(), store.Hosts, "h2"); h.Fabric.MTU != 0 || h.Fabric.Addr != netip.MustParseAddr("192.0.2.3") {
		t.Errorf("%+v", h)
	}
}

// TestFabricAddressIsFree: an address that a host has left may be another's, and so may that of a deleted host;
// the last host may leave the fabric.
func TestFabricAddressIsFree(t *testing.T) {
	f := &agents{fixture: newSite(t)}
	f.ok(f.register("h1", "192.0.2.1:4798"))
	f.ok(f.register("h2", "192.0.2.2:4798"))
	f.refused("h1", "192.0.2.2:4798", "that of host h2")
	f.ok(f.register("h1", "192.0.2.3:4798"))
	f.ok(f.register("h2", "192.0.2.1:4798"))
	f.ok(f.DeleteAgent(t.Context(), string(site.AgentID("h2")), true))
	f.ok(f.register("h3", "192.0.2.1:4798"))
	f.ok(f.DeleteAgent(t.Context(), string(site.AgentID("h3")), true))
	f.ok(f.register("h1", ""))
	f.refused("h2", "192.0.2.3:4798", "host h1 has no address")
	f.ok(f.DeleteAgent(t.Context(), string(site.AgentID("h1")), true))
	f.ok(f.register("h2", "192.0.2.3:5000"))
	f.ok(f.register("h1", "192.0.2.1:5000"))
}

// TestFabricEnds: what no host can have as its end of the fabric is refused, of the first host too.
func TestFabricEnds(t *testing.T) {
	for end, words := range map[string]string{
		"[2001:db8::2]:4798": "IPv6 yet", "[::ffff:10.0.0.1]:4798": "is not IPv4", "127.0.0.1:4798": "no other host", "255.255.255.255:4798": "no other host",
		"0.0.0.0:4798": "no other host", "224.0.0.1:4798": "no other host", "169.254.0.1:4798": "no other host", "10.0.0.1:4789": "tunnels between sites", "10.0.0.1:0": "port is 0",
	} {
		f := &agents{fixture: newSite(t)}
		f.refused("h1", end, words, "--fabric-")
	}
}

// TestFabricPort: all hosts get another port while the others are away. One that has come back counts from its
// session on, not only from its first report.
func TestFabricPort(t *testing.T) {
	f := &agents{fixture: newSite(t)}
	f.ok(f.register("h1", "192.0.2.1:4798"))
	f.ok(f.register("h2", "192.0.2.2:4798"))
	f.gone("h1")
	f.refused("h1", "192.0.2.1:5000", "5000", "4798", "h2")
	f.gone("h2")
	f.ok(f.register("h1", "192.0.2.1:5000"))
	f.refused("h2", "192.0.2.2:4798", "5000", "h1")
	f.report("h1")
	f.refused("h2", "192.0.2.2:4798", "5000", "h1")
	f.ok(f.register("h2", "192.0.2.2:5000"))
	f.report("h2")
	f.refused("h3", "192.0.2.3:4798", "5000")
	// All away again: each counts as away anew.
	f.gone("h1", "h2")
	f.ok(f.register("h2", "192.0.2.2:6000"))
	f.refused("h1", "192.0.2.1:5000", "6000", "h2")
	f.ok(f.DeleteAgent(t.Context(), string(site.AgentID("h2")), true))
	f.ok(f.register("h1", "192.0.2.1:5000"))
}

// counted counts how often transactions ran.
type counted struct {
	store.Store
	runs atomic.Int64
}

func (c *counted) Update(ctx context.Context, fn func(store.Tx) error) (store.Result, error) {
	return c.Store.Update(ctx, func(tx store.Tx) error {
		c.runs.Add(1)
		return fn(tx)
	})
}

// TestAllHostsAtOnce: all agents of a site come at once, first as new ones and then again, as when their controller has
// died. Then none gets in another's way.
func TestAllHostsAtOnce(t *testing.T) {
	const hosts = 300
	etcd, err := etcdstore.Open(t.Context(), etcdstore.Options{DataDir: t.TempDir(), Migrations: site.Migrations(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	st := &counted{Store: etcd}
	s := site.New(st, site.Options{})
	for round := range 2 {
		st.runs.Store(0)
		errs := make([]error, hosts)
		var wg sync.WaitGroup
		for i := range hosts {
			wg.Go(func() {
				errs[i] = s.RegisterHost(t.Context(), site.Session{
					Host: model.HostName(fmt.Sprint("h", i)), Controller: "c", Number: uint64(round*hosts + i + 1),
					Fabric: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 4798),
				})
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("round %d: %.2000s", round, err.Error())
		}
		runs := st.runs.Load()
		t.Logf("round %d: %d hosts, %d runs of transactions", round, hosts, runs)
		if round > 0 && runs > hosts+hosts/10 {
			t.Errorf("%d hosts that are known took %d runs", hosts, runs)
		}
	}
}
