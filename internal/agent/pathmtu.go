package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pathmtu"
)

const (
	pathMTUFile = "path-mtu.json"
	// Targets are worked out of all rows, so no more often than this.
	retargetGap = time.Second
)

// pathMTU is the agent's knowledge of its paths, and what it takes to send and get
// probes. Its own fields belong to the loop.
type pathMTU struct {
	*pathmtu.Paths
	pinger *hostnet.Pinger
	ports  []uint16 // UDP ports that outer packets go to

	file     string
	life     string
	before   map[pathmtu.Key]int // what was proven before the restart
	retarget *time.Timer
	armed    bool
	last     time.Time
}

// pathWire sends probes of paths.
type pathWire struct {
	slow   *slowService
	pinger *hostnet.Pinger
}

// SendFrame implements pathmtu.Wire.
func (w *pathWire) SendFrame(network model.NetworkKey, frame []byte) error {
	return w.slow.bridge(network, frame)
}

// SendPacket implements pathmtu.Wire.
func (w *pathWire) SendPacket(k pathmtu.Key, ip []byte) error {
	return w.pinger.Send(k.Local, k.Remote, ip)
}

func openPathMTU(cfg Config, life string, slow *slowService) (*pathMTU, error) {
	w := &pathWire{slow: slow}
	p := &pathMTU{file: filepath.Join(cfg.StateDir, pathMTUFile), life: life, before: map[pathmtu.Key]int{}, ports: []uint16{hostnet.VXLANPort}}
	if cfg.Fabric.On() {
		p.ports = append(p.ports, cfg.Fabric.Port)
	}
	p.Paths = pathmtu.NewPaths(cfg.PathMTU.WithDefaults(), w, time.Now)
	slow.paths = p.Paths
	if err := p.load(); err != nil {
		cfg.Log.Warn("what was proven of paths before the restart is lost", "err", err)
	}
	var err error
	if p.pinger, err = hostnet.OpenPinger(p.EchoID()); err != nil {
		return nil, fmt.Errorf("path MTU: %w", err)
	}
	w.pinger = p.pinger
	p.retarget = time.NewTimer(time.Hour)
	p.retarget.Stop()
	return p, nil
}

// run probes until ctx ends.
func (p *pathMTU) run(ctx context.Context, host *hostnet.Host, dp *dataplane.Dataplane) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	for _, f := range []func() error{
		func() error { return p.Run(ctx) },
		func() error { return p.pinger.Run(ctx, func(ip []byte) { p.AnsweredPacket(ip) }) },
		func() error {
			return host.WatchPathMTU(ctx, p.ports, func(e hostnet.PathTooSmall) {
				k := pathmtu.Key{Local: e.Local, Remote: e.Remote}
				mtu := e.MTU
				if p.Heeds(k) {
					// Somebody on the path knows the port of a packet, and others have to guess.
					if sent, err := dp.SentFrom(e.Local, e.Remote, e.Port); err != nil || !sent {
						mtu = 0
					}
				}
				p.Hint(k, mtu)
			})
		},
	} {
		wg.Go(func() {
			errs <- f()
			cancel()
		})
	}
	wg.Wait()
	return errors.Join(<-errs, <-errs, <-errs)
}

// close keeps what is proven: the last of it may not have been taken over yet.
func (p *pathMTU) close(log *slog.Logger) {
	p.retarget.Stop()
	_ = p.pinger.Close()
	if err := p.save(); err != nil {
		log.Warn("after a restart the paths are searched anew", "err", err)
	}
}

// stale says that other routers may answer now.
func (p *pathMTU) stale() {
	if !p.armed {
		p.armed = true
		p.retarget.Reset(max(0, retargetGap-time.Since(p.last)))
	}
}

func (p *pathMTU) targeted() { p.armed, p.last = false, time.Now() }

// believed is what was proven of a path before the restart.
func (p *pathMTU) believed(k pathmtu.Key) int { return p.before[k] }

// Keep forgets the paths for which keep does not hold, and what was proven of them before the
// restart: one that comes back may be another path.
func (p *pathMTU) Keep(keep func(pathmtu.Key) bool) {
	p.Paths.Keep(keep)
	maps.DeleteFunc(p.before, func(k pathmtu.Key, _ int) bool { return !keep(k) })
}

// provenPath is a line of the file.
type provenPath struct {
	pathmtu.Key
	MTU int
}

type provenPaths struct {
	Life  string // the boot and network namespace it belongs to
	Paths []provenPath
}

func (p *pathMTU) load() error {
	b, err := os.ReadFile(p.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var f provenPaths
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("%s: %w", p.file, err)
	}
	if f.Life != p.life {
		return nil
	}
	for _, l := range f.Paths {
		p.before[l.Key] = l.MTU
	}
	return nil
}

// save keeps what is proven, for the next start. An agent that has heard of no path yet keeps
// what the last one left.
func (p *pathMTU) save() error {
	states := p.States()
	if len(states) == 0 && len(p.before) > 0 {
		return nil
	}
	f := provenPaths{Life: p.life, Paths: []provenPath{}}
	for k, s := range states {
		if s.Kind == pathmtu.Proven {
			f.Paths = append(f.Paths, provenPath{k, s.MTU})
		}
	}
	slices.SortFunc(f.Paths, func(a, b provenPath) int {
		return cmp.Or(a.Remote.Compare(b.Remote), a.Local.Compare(b.Local))
	})
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(p.file+".new", p.file)
}

// pathsMoved takes over what is believed of paths now.
func (a *Agent) pathsMoved() {
	states := a.pathMTU.States()
	for _, k := range a.pathMTU.Moved() {
		s := states[k]
		a.log.Info("path MTU", "vtep", k.Remote, "tunnel_ip", k.Local, "mtu", s.MTU, "state", s.Kind, "why", s.Words())
		a.objs.vteps.Soon(dataplane.VTEP(k))
	}
	a.keepPaths()
}

// forgetPaths forgets the paths to VTEPs that nothing is sent to any more.
func (a *Agent) forgetPaths() {
	if a.pathsGone {
		a.pathsGone = false
		a.pathMTU.Keep(func(k pathmtu.Key) bool { return a.remote.sendsTo(dataplane.VTEP(k)) })
		a.keepPaths()
	}
}

// targetsOf are the routers of the peers that can be asked through tunnels: those of a network
// that a router of ours is on too.
func targetsOf(st hoststate.State) map[pathmtu.Key][]pathmtu.Target {
	type router struct {
		mac model.MAC
		hoststate.FDBEntry
	}
	ours := map[model.NetworkKey][]router{}
	for k, e := range st.FDB {
		if e.Kind == hoststate.FDBRouter && e.Addr.Is4() {
			ours[k.Network] = append(ours[k.Network], router{k.MAC, e})
		}
	}
	out := map[pathmtu.Key][]pathmtu.Target{}
	for k, mac := range st.Neighbors {
		e, ok := st.FDB[hoststate.FDBKey{Network: k.Network, MAC: mac}]
		if !ok || e.Kind != hoststate.FDBRemote || !st.Here(e) || !k.IP.Is4() {
			continue
		}
		key := pathmtu.Key{Local: e.TunnelIP, Remote: e.Addr}
		for _, r := range ours[k.Network] {
			out[key] = append(out[key], pathmtu.Target{
				Network: k.Network, Router: r.Router, MAC: r.mac, RemoteMAC: mac, Source: r.Addr, Remote: k.IP,
			})
		}
	}
	for k, ts := range out {
		// Which ones, where there are many, stays the same.
		slices.SortFunc(ts, func(a, b pathmtu.Target) int {
			return cmp.Or(cmp.Compare(a.Network, b.Network), a.Remote.Compare(b.Remote), cmp.Compare(a.Router, b.Router), a.Source.Compare(b.Source))
		})
		out[k] = ts[:min(len(ts), pathmtu.MaxTargets)]
	}
	return out
}
