package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/journal"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pki"
)

// life is what the journals are of.
const life = "bench"

// fabricPort is what all agents say of the fabric.
const fabricPort = 4798

// agent is a host's agent without its kernel: it takes what it is sent, keeps rows, digest and journal, and
// acknowledges.
type agent struct {
	name    string
	fleet   *fleet
	opt     hostsync.ClientOptions
	bytes   atomic.Int64 // over its connections, both ways
	mute    bool         // it acknowledges nothing
	noWatch bool         // it is not one of those that are counted
	// skims: it keeps no rows but those of ports and networks, and counts the others of the first delta.
	skims *hostsync.Skim

	mu      sync.Mutex
	client  *hostsync.Client
	state   hoststate.State
	known   bool
	digests hoststate.DigestKeeper
	journal journal.Journal
	saw     *watch
	first   chan struct{} // closed with the first update of a connection
	cancel  context.CancelFunc
	done    chan struct{}
	rows    int64 // taken: set or unset
	bad     error
}

// fleet are the agents of one site.
type fleet struct {
	agents  []*agent // nil: a real one's
	targets []string
	ca      *pki.Authority
	dir     string
	watch   atomic.Pointer[watch]
	digests *hostsync.RowDigests // of those that skim
}

// newFleet makes agents for hosts from a number on, each with a certificate of its own. It starts none. The last ones, so
// many as whole, keep all rows, and a journal if they are to; the others skim.
func newFleet(dir string, ca *pki.Authority, target string, from, hosts, whole int, keep bool) (*fleet, error) {
	f := &fleet{targets: []string{target}, ca: ca, dir: dir, digests: hostsync.NewRowDigests()}
	for i := range hosts {
		if i < from {
			f.agents = append(f.agents, nil)
			continue
		}
		skims := i < hosts-whole
		a, err := f.agent(i, keep && !skims)
		if err != nil {
			return nil, err
		}
		if skims {
			a.skims = &hostsync.Skim{}
			a.opt.Skim = a.skims
		}
		f.agents = append(f.agents, a)
	}
	return f, nil
}

func (f *fleet) agent(i int, keep bool) (*agent, error) {
	name := hostName(i)
	dir := filepath.Join(f.dir, name)
	cert, err := f.ca.Issue(pki.Request{Kind: pki.Host, Name: name, Days: 1, Dir: dir})
	if err != nil {
		return nil, err
	}
	a := &agent{name: name, fleet: f, state: hoststate.NewState()}
	if keep {
		a.journal = journal.In(dir, life)
	}
	a.opt = hostsync.ClientOptions{
		Targets: f.targets, Version: "bench", Logger: slog.New(slog.DiscardHandler), Dial: a.dialer(i),
		Fabric: netip.AddrPortFrom(fabricAddr(i), fabricPort),
		TLS:    &hostsync.TLSFiles{CA: f.ca.Path(pki.CAFile)},
	}
	a.opt.TLS.Cert, a.opt.TLS.Key = cert.Files()
	return a, nil
}

// fabricAddr is where the fabric reaches a host.
func fabricAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, byte((i + 256) >> 8), byte(i)})
}

// dialer connects from an address of the host's own, as hosts do, and counts bytes.
func (a *agent) dialer(i int) func(context.Context, string, string) (net.Conn, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countedConn{c, &a.bytes}, nil
	}
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// start connects the agent, which goes on from what it has.
func (a *agent) start(ctx context.Context) error {
	client, err := hostsync.NewClient(a.opt)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	a.mu.Lock()
	a.client, a.cancel, a.done, a.first = client, cancel, make(chan struct{}), make(chan struct{})
	done := a.done
	a.mu.Unlock()
	go func() {
		defer close(done)
		_ = client.Run(ctx, a)
	}()
	return nil
}

// stop ends the agent's connection and waits for it.
func (a *agent) stop() {
	if a.cancel != nil {
		a.cancel()
		<-a.done
	}
}

// restart is stop, and start with no rows or with those that it has.
func (a *agent) restart(ctx context.Context, empty bool) error {
	a.stop()
	if empty {
		a.mu.Lock()
		a.state, a.known, a.digests = hoststate.NewState(), false, hoststate.DigestKeeper{}
		a.mu.Unlock()
	}
	return a.start(ctx)
}

// Have implements hostsync.Resumer.
func (a *agent) Have(context.Context) (hostsync.Have, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known {
		return hostsync.Have{}, false
	}
	if a.skims != nil {
		have := a.skims.Seen().Digests
		return hostsync.Have{Digests: have, Names: hoststate.State{Ports: maps.Clone(a.state.Ports)}}, have != nil
	}
	return hostsync.Have{Digests: a.digests.Digests(&a.state), Names: hoststate.State{Ports: maps.Clone(a.state.Ports)}}, true
}

// Update implements hostsync.Sink.
func (a *agent) Update(_ context.Context, u hostsync.Update) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.state.Resolve(u.Delta)
	if a.skims == nil {
		a.digests.Change(&a.state, d)
	}
	a.state.Apply(d)
	a.rows += int64(d.Set.Len() + d.Unset.Len())
	if !a.known && a.skims == nil {
		a.digests.Digests(&a.state)
	}
	a.known = true
	if a.journal != (journal.Journal{}) {
		if err := a.journal.Add(d, a.state); err != nil {
			a.bad = err
		}
	}
	if !a.mute {
		r := hostsync.Report{Revision: d.Revision, UnderlayMTU: 1500}
		for _, p := range d.Set.Ports {
			r.Ports = append(r.Ports, hostsync.PortReport{ID: p.ID, Status: model.PortActive})
		}
		a.client.Report(r)
	}
	if w := a.fleet.watch.Load(); w != nil && a.saw != w && !a.noWatch && w.matches(&d) {
		a.saw = w
		w.hit()
	}
	if u.First {
		select {
		case <-a.first:
		default:
			close(a.first)
		}
	}
}

// connected waits until the present connection has brought its first update.
func (a *agent) connected(ctx context.Context) error {
	a.mu.Lock()
	first := a.first
	a.mu.Unlock()
	select {
	case <-first:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s is not connected: %w", a.name, ctx.Err())
	}
}

// each does something with all agents that there are.
func (f *fleet) each(fn func(*agent) error) error {
	for _, a := range f.agents {
		if a != nil {
			if err := fn(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fleet) start(ctx context.Context) error {
	return f.each(func(a *agent) error { return a.start(ctx) })
}

// again expects each agent to get the first update of a new connection; it is to be called while none can.
func (f *fleet) again() {
	_ = f.each(func(a *agent) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.first = make(chan struct{})
		return nil
	})
}

func (f *fleet) connected(ctx context.Context) error {
	return f.each(func(a *agent) error { return a.connected(ctx) })
}

func (f *fleet) stop() {
	var all sync.WaitGroup
	_ = f.each(func(a *agent) error {
		all.Go(a.stop)
		return nil
	})
	all.Wait()
	_ = f.each(func(a *agent) error {
		a.journal.Close()
		return nil
	})
	_ = os.RemoveAll(f.dir)
}

// learn has those that skim take everything once more and work out its digests, so that they can go on from it.
func (f *fleet) learn(ctx context.Context) error {
	some := false
	err := f.each(func(a *agent) error {
		if a.skims == nil {
			return nil
		}
		some = true
		a.stop()
		a.skims.Digests = f.digests
		return a.restart(ctx, true)
	})
	if err != nil || !some {
		return err
	}
	return f.connected(ctx)
}

// having is how many agents have a network.
func (f *fleet) having(id string) (n int) {
	key := model.NetworkKey(0)
	_ = f.each(func(a *agent) error {
		if a.noWatch {
			return nil
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if key == 0 {
			for k, x := range a.state.Networks {
				if string(x.ID) == id {
					key = k
				}
			}
		}
		if _, has := a.state.Networks[key]; has && key != 0 {
			n++
		}
		return nil
	})
	return n
}

// taken is how many rows all agents have been sent so far, and how many they have.
func (f *fleet) taken() (rows int64, have int) {
	_ = f.each(func(a *agent) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.skims != nil {
			seen := a.skims.Seen()
			rows, have = rows+seen.All, have+int(seen.Last)
			return nil
		}
		rows, have = rows+a.rows, have+a.state.Len()
		return nil
	})
	return rows, have
}

// watch waits until a change has come to so many agents.
type watch struct {
	matches func(*hoststate.Delta) bool
	left    atomic.Int64
	done    chan struct{}
	last    time.Time
}

func (w *watch) hit() {
	if w.left.Add(-1) == 0 {
		w.last = time.Now()
		close(w.done)
	}
}

// until makes a change and returns how long it took, from the request on, until so many agents have handed in that
// they have applied it.
func (f *fleet) until(ctx context.Context, agents int, matches func(*hoststate.Delta) bool, change func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	w := &watch{matches: matches, done: make(chan struct{})}
	w.left.Store(int64(agents))
	f.watch.Store(w)
	defer f.watch.Store(nil)
	begin := time.Now()
	if err := change(ctx); err != nil {
		return 0, err
	}
	select {
	case <-w.done:
		return w.last.Sub(begin), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%d of %d agents have not got the change: %w", w.left.Load(), agents, ctx.Err())
	}
}

// mac matches what brings a MAC, or takes it away.
func withMAC(mac model.MAC, gone bool) func(*hoststate.Delta) bool {
	return func(d *hoststate.Delta) bool {
		if gone {
			for _, k := range d.Unset.FDB {
				if k.MAC == mac {
					return true
				}
			}
			return false
		}
		for k := range d.Set.FDB {
			if k.MAC == mac {
				return true
			}
		}
		return false
	}
}
