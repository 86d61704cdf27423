package controller

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// manyHosts is a hub over a real store with many hosts, whose agents are the test.
type manyHosts struct {
	*hub
	t      *testing.T
	queues map[model.HostName]*hostsync.Queue
	stop   func()
}

// hostNames are the names of n hosts.
func hostNames(n int) (out []model.HostName) {
	for i := range n {
		out = append(out, model.HostName(fmt.Sprintf("h%04d", i)))
	}
	return out
}

func openStore(t *testing.T) store.Store {
	t.Helper()
	st, err := etcdstore.Open(t.Context(), etcdstore.Options{DataDir: t.TempDir(), Migrations: site.Migrations(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// fabricEnd is the end of the fabric of a host of hostNames; of others, one of its own.
func fabricEnd(name model.HostName) netip.AddrPort {
	i := 65000 + len(name)
	fmt.Sscanf(string(name), "h%d", &i)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 98, byte(i >> 8), byte(i)}), 4798)
}

// knowHosts puts hosts into the store that have been away since.
func knowHosts(t *testing.T, st store.Store, names []model.HostName) {
	t.Helper()
	for len(names) > 0 {
		chunk := names[:min(len(names), 50)]
		names = names[len(chunk):]
		if _, err := st.Update(t.Context(), func(tx store.Tx) error {
			for _, name := range chunk {
				store.Put(tx, store.Hosts, string(name), &model.Host{Name: name, Fabric: model.Fabric{Addr: fabricEnd(name).Addr(), Port: fabricEnd(name).Port()}})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// startHub runs a hub as a controller does.
func startHub(t *testing.T, st store.Store) *manyHosts {
	return startHubWith(t, st, slog.New(slog.DiscardHandler), 0)
}

// startHubWith is startHub with a time after which hosts are gone, if that is not 0.
func startHubWith(t *testing.T, st store.Store, log *slog.Logger, timeout time.Duration) *manyHosts {
	t.Helper()
	m := &manyHosts{t: t, queues: map[model.HostName]*hostsync.Queue{},
		hub: newHub(st, site.New(st, site.Options{Logger: log}), metrics.NewController("test"), log)}
	// Here no stream sends a first delta, which would end an agent's turn: all have one at once.
	m.line = newLine(1 << 12)
	if timeout != 0 {
		m.life.timeout = timeout
	}
	m.stop = m.run(t)
	t.Cleanup(m.stop)
	return m
}

// connect has agents connect that have applied a revision.
func (m *manyHosts) connect(applied int64, names ...model.HostName) {
	m.t.Helper()
	errs := make(chan error)
	for _, name := range names {
		go func() {
			q, err := m.Connect(m.t.Context(), name, hostsync.Agent{Revision: applied, Fabric: fabricEnd(name)})
			if err == nil {
				m.mu.Lock()
				m.queues[name] = q
				m.mu.Unlock()
			}
			errs <- err
		}()
	}
	for range names {
		if err := testutil.Receive(m.t, "a connection", errs); err != nil {
			m.t.Fatal(err)
		}
	}
}

// settle has hosts acknowledge what they were sent once the hub has seen all there is.
func (m *manyHosts) settle(names ...model.HostName) {
	m.t.Helper()
	revision := m.view().Revision()
	testutil.Eventually(m.t, "the hub has seen all", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.revision >= revision
	})
	for _, name := range names {
		m.mu.Lock()
		sent := m.hosts[name].sent
		m.mu.Unlock()
		m.Report(name, queueOf(m.hub, name), hostsync.Report{Revision: sent})
	}
}

// network makes a network, and drop deletes it.
func (m *manyHosts) network() *model.Network {
	m.t.Helper()
	n := &model.Network{Standard: model.Standard{Name: "n"}, Type: model.NetworkOverlay, AdminStateUp: true}
	made, err := m.rules.CreateNetworks(m.t.Context(), []*model.Network{n})
	if err != nil {
		m.t.Fatal(err)
	}
	return made[0]
}

func (m *manyHosts) drop(n *model.Network) (revision int64) {
	m.t.Helper()
	if err := m.rules.DeleteNetwork(m.t.Context(), string(n.ID), nil); err != nil {
		m.t.Fatal(err)
	}
	return m.view().Revision()
}

func (m *manyHosts) view() store.Snapshot {
	m.t.Helper()
	snap, err := m.st.View(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return snap
}

func (m *manyHosts) held(n *model.Network) bool {
	_, held := m.view().Lookup("key", fmt.Sprintf("network/%d", n.Key))
	return held
}

func (m *manyHosts) free(what string, n *model.Network) {
	m.t.Helper()
	testutil.Eventually(m.t, what, func() bool { return !m.held(n) })
}

// round has the hub vouch at once, as it does when it is woken, and returns what is held then.
func (m *manyHosts) round(n *model.Network) bool {
	m.t.Helper()
	m.mu.Lock()
	applied := m.applied()
	m.mu.Unlock()
	if err := m.rules.Vouch(m.t.Context(), m.id, applied); err != nil {
		m.t.Fatal(err)
	}
	return m.held(n)
}

// TestDeleteAtManyHosts: what a deletion writes does not depend on how many hosts there are.
func TestDeleteAtManyHosts(t *testing.T) {
	st := openStore(t)
	names := hostNames(1000)
	knowHosts(t, st, names)
	m := startHub(t, st)
	m.connect(0, names...)
	first := m.network()
	m.settle(names...)
	m.drop(first)
	m.settle(names...)
	m.free("the first key", first) // and what the start has left
	n := m.network()
	m.settle(names...)
	before := m.view().Revision()
	begin := time.Now()
	m.drop(n)
	m.settle(names...)
	m.free("the key", n)
	took := time.Since(begin)
	wrote := m.view().Revision() - before
	t.Logf("%d hosts: a deletion made %d writes, and its key was free after %v", len(names), wrote, took)
	if wrote > 3 {
		t.Errorf("%d writes, at most 3 were to be: the deletion, the mark and the key", wrote)
	}
}

// TestHostsThatAreAway: a host whose agent is away holds keys, through a restart of the
// controller, until it is back and has passed.
func TestHostsThatAreAway(t *testing.T) {
	st := openStore(t)
	names := hostNames(20)
	knowHosts(t, st, names)
	m := startHub(t, st)
	m.connect(0, names...)
	m.settle(names...)
	away := names[7]
	others := append(append([]model.HostName{}, names[:7]...), names[8:]...)
	n := m.network()
	m.settle(names...)
	m.Disconnect(away, m.queues[away])
	m.drop(n)
	m.settle(others...)
	if !m.round(n) {
		t.Fatal("the key is free while a host is away")
	}
	m.stop()
	m = startHub(t, st)
	m.connect(0, others...)
	m.settle(others...)
	if !m.round(n) {
		t.Fatal("the key is free while a host is away, after a restart")
	}
	m.connect(0, away)
	if !m.round(n) {
		t.Fatal("the key is free before the host that is back has its state")
	}
	m.settle(away)
	m.free("the key after the host is back", n)
}

// TestSetBack: what was vouched for does not speak for a host that connects with an older
// state, as a virtual machine does that was set back.
func TestSetBack(t *testing.T) {
	st := openStore(t)
	names := hostNames(3)
	knowHosts(t, st, names)
	m := startHub(t, st)
	m.connect(0, names[:2]...)
	m.settle(names[:2]...)
	n := m.network()
	before := m.view().Revision()
	m.drop(n)
	m.settle(names[:2]...)
	m.round(n) // h0 and h1 are vouched for past the deletion; h2 holds the key
	h := store.Get(m.view(), store.Hosts, string(names[0]))
	if c := store.Get(m.view(), store.Controllers, m.id); c == nil || c.AckedRevision < before+1 || c.Sessions < h.Session {
		t.Fatalf("not vouched for: %+v", c)
	}
	m.connect(before, names[0])
	m.connect(0, names[2])
	m.settle(names[1], names[2])
	if !m.round(n) {
		t.Fatal("the key is free while the host that was set back may have rows of it")
	}
	m.settle(names[0])
	m.free("the key", n)
}

// run runs what of a hub this is about, until the function that it returns is called.
func (h *hub) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return h.watch(ctx) })
	group.Go(func() error { return h.vouch(ctx) })
	group.Go(func() error { return h.advance(ctx) })
	group.Go(func() error { return h.deliver(ctx) })
	group.Go(func() error { return h.watchHosts(ctx) })
	return sync.OnceFunc(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}
