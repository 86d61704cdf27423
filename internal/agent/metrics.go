package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// stats is what the loop leaves for the metrics to read.
type stats struct {
	mu         sync.Mutex
	want, have int64
	ports      map[string]int
	interfaces map[model.PortID]string
	shut       int
}

// setShut keeps how many VTEPs an IPsec policy has shut.
func (s *stats) setShut(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = n
}

func (s *stats) setRevision(want, have int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want, s.have = want, have
}

func (s *stats) revisions() (want, have int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want, s.have
}

// port counts a port under its new status; a report without a status is none.
func (s *stats) port(old, now hostsync.PortReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports == nil {
		s.ports = map[string]int{}
	}
	if old.Status != "" {
		s.ports[string(old.Status)]--
	}
	if now.Status != "" {
		s.ports[string(now.Status)]++
	}
}

// setName keeps the name of the interface for the port's counter.
func (s *stats) setName(id model.PortID, iface string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.interfaces == nil {
		s.interfaces = map[model.PortID]string{}
	}
	if iface == "" {
		delete(s.interfaces, id)
	} else {
		s.interfaces[id] = iface
	}
}

func (a *Agent) snapshot() (metrics.Agent, error) {
	m := metrics.Agent{Drops: make(map[string]uint64, reason.Count), PortStatus: map[string]int{}, Failing: map[string]bool{}}
	for _, st := range []model.PortStatus{model.PortActive, model.PortDown, model.PortError} {
		m.PortStatus[string(st)] = 0 // a host without ports says so
	}
	drops, err := a.dp.Drops()
	if err != nil {
		return m, fmt.Errorf("read the drop counters: %w", err)
	}
	for r, n := range drops {
		if r := reason.Reason(r); r != reason.None {
			m.Drops[r.String()] = n
		}
	}
	c := a.slow.counters()
	m.SlowPath = map[string]uint64{
		"icmp": c.ICMP, "fragment": c.Fragment, "arp": c.ARP, "probe": c.Probe, "sent": c.Sent, "limited": c.Limited,
		"forbidden": c.Forbidden, "malformed": c.Malformed, "failed": c.Failed,
	}
	counters, err := a.dp.Counters()
	if err != nil {
		return m, err
	}
	programs, err := a.dp.Programs()
	if err != nil {
		return m, err
	}
	for _, p := range programs {
		m.Programs = append(m.Programs, metrics.Program{Name: p.Name, RunTime: p.Time.Seconds(), RunCount: p.Runs})
	}
	uses, err := a.dp.Maps()
	if err != nil {
		return m, err
	}
	for _, u := range uses {
		m.Maps = append(m.Maps, metrics.Map{Name: u.Name, Rows: u.Rows, Limit: int(u.Limit), LeftOut: u.Waiting, Bytes: u.Memory})
	}
	for t, n := range counters.Tunnels {
		m.Tunnels = append(m.Tunnels, metrics.TunnelTraffic{
			TunnelIP: t.Local.String(), VTEP: t.Remote.String(), VNI: uint32(t.VNI), Traffic: metrics.Traffic(n),
		})
	}
	for k, s := range a.pathMTU.States() {
		m.Paths = append(m.Paths, metrics.Path{
			TunnelIP: k.Local.String(), VTEP: k.Remote.String(), MTU: s.MTU, State: s.Kind.String(), By: s.By.Name(),
		})
	}
	sent, answered := a.pathMTU.Counts()
	m.PathProbes = map[string]uint64{"sent": sent, "answered": answered}
	for k, n := range counters.VLANs {
		m.VLANs = append(m.VLANs, metrics.VLANTraffic{Interface: k.Interface, VLAN: k.ID, Traffic: metrics.Traffic(n)})
	}
	s := &a.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range counters.Ports {
		m.Ports = append(m.Ports, metrics.PortTraffic{Port: string(id), Interface: s.interfaces[id], Traffic: metrics.Traffic(n)})
	}
	m.Connected = a.ctl.Connected()
	m.WantedRevision, m.AppliedRevision = s.want, s.have
	m.ShutVTEPs = s.shut
	for k, n := range s.ports {
		m.PortStatus[k] = n
	}
	m.Objects, m.Failing = a.objectCounts(time.Now())
	return m, nil
}

// listenMetrics begins to listen and returns what serves until its context ends.
func (a *Agent) listenMetrics() (serve func(context.Context) error, err error) {
	if a.cfg.MetricsListen == "" {
		return func(context.Context) error { return nil }, nil
	}
	network, addr := "tcp", a.cfg.MetricsListen
	if p, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", p
		// Left behind by a run that was killed; the lock says that none runs now.
		if st, err := os.Lstat(p); err == nil && st.Mode()&os.ModeSocket != 0 {
			if err := os.Remove(p); err != nil {
				return nil, fmt.Errorf("metrics: %w", err)
			}
		}
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.AgentHandler(a.snapshot))
	a.serveStatus(mux)
	if apiserver.Exposed(l.Addr()) {
		a.log.Warn("the metrics are open to whoever reaches their address: they name ports, routers and addresses of tenants", "metrics", l.Addr().String())
	}
	return func(ctx context.Context) error {
		// A scrape that is under way reads the maps, so its end is waited for.
		return apiserver.ServeMetrics(ctx, l, mux, apiserver.Options{Logger: a.log})
	}, nil
}

// objectCounts is how many objects of each kind are in which state, and which kinds have one
// that fails; a kind that never had is not there. The ports are counted apart.
func (a *Agent) objectCounts(now time.Time) (out []metrics.Objects, failing map[string]bool) {
	failing = map[string]bool{}
	for _, c := range a.objs.set.Counts() {
		o := metrics.Objects{Kind: c.Kind, States: map[string]int{}, Failures: c.Failures}
		for _, s := range reconcile.States {
			o.States[string(s)] = c.Of[s]
		}
		if !c.Next.IsZero() {
			o.NextTry = max(0, c.Next.Sub(now).Seconds())
		}
		out = append(out, o)
		if c.EverFailed && c.Kind != kindPorts {
			failing[c.Kind] = c.Of[reconcile.Failed] > 0
		}
	}
	return out, failing
}
