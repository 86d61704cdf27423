package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/journal"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/systemd"
)

// Config says how an agent runs.
type Config struct {
	PinDir   string // on a BPF file system
	StateDir string // made if need be
	// UnderlayInterfaces carry tunnels, beside the uplinks of gateway devices. Empty: those
	// that routes to remote VTEPs lead by.
	UnderlayInterfaces []string
	// AnyUnderlay takes packets of a VTEP by any of UnderlayInterfaces and the uplinks, not
	// only by those that the route to it leads by.
	AnyUnderlay bool
	// KernelOutput sends and takes tunnel packets by the kernel's own output and input.
	KernelOutput bool
	// UnderlayMark are bits of skb->mark; 0: dataplane.DefaultMark.
	UnderlayMark uint32
	// StopAfter is for how long the host forwards on once the agent is dead; 0: for good.
	StopAfter time.Duration
	// Fabric is this host's address on the fabric of its site, and the UDP port; zero: it is on none.
	Fabric   hostenv.Fabric
	grace    time.Duration // 0: wayGrace
	patience time.Duration // 0: healthPatience
	// WorkloadInterfaces are patterns (path.Match) of names that belong to
	// workloads, whether a port is bound to them or not.
	WorkloadInterfaces []string
	// ICMPRate and ICMPBurst bound the ICMP errors that one sender has of a router, a second
	// and at once; a rate of 0 is no bound. FloodRate and FloodBurst are the same for
	// copies of flooded frames.
	ICMPRate, ICMPBurst   uint32
	FloodRate, FloodBurst uint32
	Limits                dataplane.Limits
	PathMTU               pathmtu.Settings
	MetricsListen         string // HOST:PORT or unix:PATH; empty: none
	Log                   *slog.Logger
	// Service, if not nil, is told when the programs are attached, and that the agent lives.
	Service *systemd.Service
}

// Controller is the site's controller as the agent sees it: *hostsync.Client.
type Controller interface {
	// Run brings updates to the sink until ctx ends.
	Run(ctx context.Context, sink hostsync.Sink) error
	// Report never blocks.
	Report(r hostsync.Report)
	// Connected tells whether Run has a stream that has brought the whole state.
	Connected() bool
	// Problem is why it has none, with the name of the controller that said so; "": not known.
	Problem() string
}

// Agent is the agent of one host.
type Agent struct {
	cfg  Config
	log  *slog.Logger
	ctl  Controller
	host *hostnet.Host
	dp   *dataplane.Dataplane
	slow *slowService

	updates chan updateRequest
	asked   chan chan<- hostsync.Have // what rows there are
	audits  chan chan<- hostsync.Rows // the same, worked out anew
	pathMTU *pathMTU
	trouble troubles
	policed chan struct{} // IPsec policies have changed
	pulse   chan struct{} // taken by the loop each time it comes round

	// The rest belongs to the loop.

	journal journal.Journal
	digests hoststate.DigestKeeper // of state
	watcher *hostnet.Watcher
	vouched bool            // it has been seen to work since it began: the host may forward on
	known   bool            // state is what the controller said, lately or before a restart
	state   hoststate.State // to be true on this host; never changed in place
	want    int64           // revision of state
	have    int64           // revision that the maps are known to hold

	objs    objects
	pending pendingRows

	env      dataplane.Env
	byIf     map[string]map[model.PortKey]struct{} // ports by the interface that they name
	remote   remoteRows
	uplinks  map[string]struct{}     // interfaces that are uplinks
	unproven map[model.PortKey]error // why rows of a port could not be written
	leftOut  leftOut                 // what maps have no room for
	// attached are the interfaces with a program, by index.
	attached    *attachments
	refused     map[string]error // interface → why it carries no port
	out         map[dataplane.VTEP]leaving
	locals      map[netip.Addr]map[netip.Addr]struct{} // remote → tunnel IPs from which a path leads there
	leads       map[dataplane.VTEP]lead
	carry       map[uint32]bool      // interfaces that lead to VTEPs
	dropped     bool                 // a VTEP has gone since carry was worked out
	pathsGone   bool                 // what is known of paths may be of some to which nothing is sent any more
	leaving     map[uint32]time.Time // interfaces of VTEPs that have gone, and until when they keep the program
	strays      map[stray]bool
	underlay    map[int]string  // interfaces with the underlay program, by index
	absent      map[string]bool // configured underlay interfaces that are not there
	defaults    []int           // interfaces of the default routes; nil: to be looked up
	ipsec       hostnet.IPsec
	shut        map[dataplane.VTEP]string // VTEPs that an IPsec policy speaks of, and which
	underlayMTU int
	fabricMTU   int

	fabric fabricView
	// What to report: ports by key, all ports, uplink ports.
	changed                    map[model.PortKey]struct{}
	changedAll, changedUplinks bool
	uplinkPorts                map[model.PortID]struct{} // reported before
	reports                    reporter

	stats stats // shared with the metrics
}

type updateRequest struct {
	hostsync.Update
	done chan struct{}
}

// Run is the agent's whole life. It returns when ctx has ended and all is put
// down cleanly, or with the error that keeps it from its work; forwarding goes on
// after it either way.
func Run(ctx context.Context, cfg Config, ctl Controller) error {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.grace = cmp.Or(cfg.grace, wayGrace)
	cfg.patience = cmp.Or(cfg.patience, healthPatience)
	for _, p := range cfg.WorkloadInterfaces {
		if _, err := path.Match(p, "x"); err != nil {
			return fmt.Errorf("workload interface pattern %q: %w", p, err)
		}
	}
	if err := CheckKernel(); err != nil {
		return err
	}
	unlock, err := lock(cfg.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a, err := start(inner, cfg, ctl)
	if err != nil {
		return err
	}
	if err := a.run(inner, cancel); err != nil {
		return err
	}
	if ctx.Err() == nil {
		return context.Cause(inner) // one of the goroutines could not go on
	}
	return nil
}

// start opens everything and has the devices and the programs of earlier runs in
// place when it returns.
func start(ctx context.Context, cfg Config, ctl Controller) (_ *Agent, err error) {
	life, err := hostnet.Life()
	if err != nil {
		return nil, err
	}
	host, err := hostnet.Open(cfg.StateDir, cfg.Log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			host.Close()
		}
	}()
	a := &Agent{
		cfg: cfg, log: cfg.Log, ctl: ctl, host: host,
		updates: make(chan updateRequest),
		asked:   make(chan chan<- hostsync.Have),
		audits:  make(chan chan<- hostsync.Rows),
		policed: make(chan struct{}, 1),
		pulse:   make(chan struct{}),
		journal: journal.In(cfg.StateDir, life),
		state:   hoststate.NewState(),
		env: dataplane.Env{
			Links:   map[string]dataplane.Link{},
			Shared:  map[model.PortKey]model.PortKey{},
			Ways:    map[dataplane.VTEP]dataplane.Way{},
			Trunks:  map[string]dataplane.Link{},
			Tables:  map[model.GatewayDeviceID]uint32{},
			PathMTU: map[netip.Addr]int{},
		},
		byIf: map[string]map[model.PortKey]struct{}{}, remote: newRemoteRows(), uplinks: map[string]struct{}{},
		refused: map[string]error{}, leaving: map[uint32]time.Time{}, underlay: map[int]string{}, absent: map[string]bool{}, strays: map[stray]bool{},
		out: map[dataplane.VTEP]leaving{}, locals: map[netip.Addr]map[netip.Addr]struct{}{}, leads: map[dataplane.VTEP]lead{},
		shut:    map[dataplane.VTEP]string{},
		reports: newReporter(),
	}
	a.objs = a.newObjects()
	// From here on no event is missed, so what is looked at below stays true.
	if a.watcher, err = host.Watch(ctx); err != nil {
		return nil, err
	}
	// The devices before the programs: an agent that cannot have its port 4789
	// leaves no trace but a device.
	if err := a.openDevices(); err != nil {
		return nil, err
	}
	// Programs of two agents on one device would drop each other's packets: this
	// one begins with none where another has the tap.
	tap, err := host.OpenTap()
	if err != nil {
		return nil, fmt.Errorf("slow path: %w", err)
	}
	tap.Close()
	a.dp, err = dataplane.Open(dataplane.Config{PinDir: cfg.PinDir, ICMPRate: cfg.ICMPRate, ICMPBurst: cfg.ICMPBurst,
		ProbeRate: dataplane.DefaultProbeRate, FragmentRate: dataplane.DefaultFragmentRate,
		FloodRate: cfg.FloodRate, FloodBurst: cfg.FloodBurst, Limits: cfg.Limits, Mark: cfg.UnderlayMark, StopAfter: cfg.StopAfter})
	if err != nil {
		return nil, fmt.Errorf("open the dataplane: %w", err)
	}
	a.slow = newSlowService(host, a.dp, cfg.Log)
	if a.pathMTU, err = openPathMTU(cfg, life, a.slow); err != nil {
		return nil, closing(err, a.dp)
	}
	defer func() {
		if err != nil {
			a.pathMTU.close(a.log)
		}
	}()
	if err := a.attachOwn(); err != nil {
		return nil, closing(err, a.dp)
	}
	if a.attached, err = openAttachments(cfg.StateDir, life); err != nil {
		return nil, closing(err, a.dp)
	}
	st, rev, ok, err := journal.Read(cfg.StateDir, life)
	if err != nil {
		// It only spares the wait for the controller.
		a.log.Warn("the state from before the restart is lost", "err", err)
		ok = false
	}
	if ok {
		a.log.Info("going on from the state before the restart", "revision", rev)
		a.state, a.want, a.known = st, rev, true
		a.adopt(hoststate.NewState())
		a.kept(journal.File, a.journal.Begin(st, rev), "a restart will have to wait for the controller")
	} else {
		a.everything()
	}
	return a, nil
}

func closing(err error, dp *dataplane.Dataplane) error {
	if cerr := dp.Close(); cerr != nil {
		return fmt.Errorf("%w (and %w)", err, cerr)
	}
	return err
}

// run is the loop, with the goroutines that feed it.
func (a *Agent) run(ctx context.Context, cancel context.CancelCauseFunc) (err error) {
	var wg sync.WaitGroup
	defer func() {
		cancel(nil)
		wg.Wait()
		a.watcher.Wait()
		a.slow.stop()
		a.pathMTU.close(a.log)
		a.journal.Close()
		a.host.Close()
		err = errOr(err, a.dp.Close())
	}()
	feed := func(what string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	serve, err := a.listenMetrics()
	if err != nil {
		return err
	}
	feed("metrics", func() error { return serve(ctx) })
	// What is there of the state is in place before the controller brings more.
	a.reconcile(ctx)
	if err := a.refuseIPsec(); err != nil {
		return err
	}
	feed("IPsec policies", func() error {
		return a.host.WatchIPsec(ctx, func() {
			select {
			case a.policed <- struct{}{}:
			default: // the loop looks at all of them when it comes to it
			}
		})
	})
	feed("controller", func() error { return a.ctl.Run(ctx, a) })
	feed("path MTU", func() error { return a.pathMTU.run(ctx, a.host, a.dp) })
	feed("watchdog", func() error {
		a.cfg.Service.Watch(ctx, a.healthy)
		return nil
	})
	a.cfg.Service.Ready()
	a.log.Info("agent is running", "pin_dir", a.cfg.PinDir, "state_dir", a.cfg.StateDir)

	due := time.NewTimer(time.Hour)
	defer due.Stop()
	forget := time.NewTicker(forgetEvery)
	defer forget.Stop()
	vouch := time.NewTicker(vouchEvery)
	defer vouch.Stop()
	if a.cfg.StopAfter == 0 {
		vouch.Stop()
	}
	for {
		if at, ok := a.objs.set.Next(); ok {
			due.Reset(max(0, time.Until(at)))
		} else {
			due.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case u := <-a.updates:
			a.take(u.Update)
			a.reconcile(ctx)
			close(u.done)
		case r := <-a.asked:
			r <- a.rows()
		case r := <-a.audits:
			r <- hostsync.Rows{Digests: a.state.Digests(), Revision: a.want, Applied: a.have}
		case _, ok := <-a.watcher.Ready():
			if !ok {
				if ctx.Err() != nil {
					continue
				}
				if err := a.rewatch(ctx); err != nil {
					return err
				}
				continue
			}
			hostnet.Settle(ctx)
			a.notice(a.watcher.Take())
			a.reconcile(ctx)
		case <-vouch.C:
			a.vouched = true
			a.vouch()
		case <-a.pulse:
		case <-a.policed:
			a.objs.policies.Soon(single{})
		case <-a.pathMTU.Changed():
			a.pathsMoved()
		case <-a.pathMTU.retarget.C:
			a.pathMTU.SetTargets(targetsOf(a.state))
			a.pathMTU.targeted()
		case <-due.C:
			a.reconcile(ctx)
		case <-forget.C:
			a.objs.learned.Due(single{})
			a.reconcile(ctx)
		}
	}
}

// vouch has the host forward on, where it is to stop without the agent. Before the maps were written once, or the loop came
// round, the agent does not say that it lives.
func (a *Agent) vouch() {
	if a.cfg.StopAfter <= 0 || !a.vouched {
		return
	}
	if err := a.dp.Vouch(); err != nil {
		a.log.Error("the host will stop forwarding, as the agent cannot say that it lives", "stop_after", a.cfg.StopAfter, "err", err)
	}
}

// forgetEvery is how often room is made of addresses that nobody has used for long.
const forgetEvery = 10 * time.Second

// vouchEvery is how often the agent says that it lives where the host is to stop otherwise: by the loop, so
// that one that hangs says nothing.
const vouchEvery = time.Second

// Update takes what the controller says; it returns when it is applied, or has
// been tried.
func (a *Agent) Update(ctx context.Context, u hostsync.Update) {
	r := updateRequest{u, make(chan struct{})}
	select {
	case a.updates <- r:
	case <-ctx.Done():
		return
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	}
}

// rewatch begins anew after the watcher broke.
func (a *Agent) rewatch(ctx context.Context) error {
	a.log.Error("watching the host's network", "err", a.watcher.Err())
	w, err := a.host.Watch(ctx)
	if err != nil {
		return err
	}
	a.watcher = w
	a.notice(hostnet.All())
	a.reconcile(ctx)
	return nil
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func add[K comparable](set map[K]struct{}, k K) map[K]struct{} {
	if set == nil {
		set = map[K]struct{}{}
	}
	set[k] = struct{}{}
	return set
}
