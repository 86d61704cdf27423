package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
)

// Config says how an agent runs.
type Config struct {
	PinDir   string // on a BPF file system
	StateDir string // made if need be
	// UnderlayInterfaces carry tunnels. Empty: every Ethernet interface with an
	// IPv4 address that is no workload's.
	UnderlayInterfaces []string
	// WorkloadInterfaces are patterns (path.Match) of names that belong to
	// workloads, whether a port is bound to them or not.
	WorkloadInterfaces []string
	// ICMPRate and ICMPBurst bound the ICMP errors of each router, a second and
	// at once; a rate of 0 is no bound.
	ICMPRate, ICMPBurst uint32
	Limits              dataplane.Limits
	MetricsListen       string // HOST:PORT or unix:PATH; empty: none
	Log                 *slog.Logger
}

// Controller is the site's controller as the agent sees it: *hostsync.Client.
type Controller interface {
	// Run brings updates to the sink until ctx ends.
	Run(ctx context.Context, sink hostsync.Sink) error
	// Report never blocks.
	Report(r hostsync.Report)
	// Connected tells whether Run has a stream that has brought the whole state.
	Connected() bool
}

// Agent is the agent of one host.
type Agent struct {
	cfg  Config
	log  *slog.Logger
	ctl  Controller
	host *hostnet.Host
	dp   *dataplane.Dataplane
	slow *slowService

	updates  chan updateRequest
	tooSmall chan hostnet.PathTooSmall

	// The rest belongs to the loop.

	journal journal
	watcher *hostnet.Watcher
	known   bool            // state is what the controller said, lately or before a restart
	state   hoststate.State // to be true on this host; never changed in place
	want    int64           // revision of state
	have    int64           // revision that the maps are known to hold

	env      dataplane.Env
	ports    map[model.PortKey]hoststate.Port // rows of state.Ports as they were last looked at
	byIf     map[string]map[model.PortKey]struct{}
	sharers  map[model.PortKey]model.PortKey // port → the port that has its interface
	unproven map[model.PortKey]error         // why rows of a port could not be written
	// attached are the workload interfaces with a program, by index.
	attached    *attachments
	refused     map[string]error  // interface → why it carries no port
	vteps       map[vtep]struct{} // of the remote endpoints in state
	underlay    map[int]string    // interfaces with the underlay program, by index
	absent      map[string]bool   // configured underlay interfaces that are not there
	defaults    []int             // interfaces of the default routes; nil: to be looked up
	carriers    map[int]int       // interfaces that outer packets leave by → MTU
	underlayMTU int
	agenda      agenda
	later       agenda // what is done at a pace of its own
	backoff     backoff

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
		updates:  make(chan updateRequest),
		tooSmall: make(chan hostnet.PathTooSmall, 64),
		journal:  journal{path: filepath.Join(cfg.StateDir, journalFile), life: life},
		state:    hoststate.NewState(),
		env: dataplane.Env{
			Links:   map[string]dataplane.Link{},
			Trunks:  map[string]dataplane.Link{},
			Tables:  map[model.GatewayDeviceID]uint32{},
			PathMTU: map[netip.Addr]int{},
		},
		ports: map[model.PortKey]hoststate.Port{}, byIf: map[string]map[model.PortKey]struct{}{},
		sharers: map[model.PortKey]model.PortKey{},
		refused: map[string]error{}, underlay: map[int]string{}, absent: map[string]bool{}, carriers: map[int]int{},
		reports: newReporter(),
	}
	// From here on no event is missed, so what is looked at below stays true.
	if a.watcher, err = host.Watch(ctx); err != nil {
		return nil, err
	}
	// The devices before the programs: an agent that cannot have its port 4789
	// leaves no trace but a device.
	if err := a.ensureDevices(); err != nil {
		return nil, err
	}
	// Programs of two agents on one device would drop each other's packets: this
	// one begins with none where another has the tap.
	tap, err := host.OpenTap()
	if err != nil {
		return nil, fmt.Errorf("slow path: %w", err)
	}
	tap.Close()
	a.dp, err = dataplane.Open(dataplane.Config{PinDir: cfg.PinDir, ICMPRate: cfg.ICMPRate, ICMPBurst: cfg.ICMPBurst, Limits: cfg.Limits})
	if err != nil {
		return nil, fmt.Errorf("open the dataplane: %w", err)
	}
	a.slow = newSlowService(host, cfg.Log)
	if err := a.attachOwn(); err != nil {
		return nil, closing(err, a.dp)
	}
	if a.attached, err = openAttachments(cfg.StateDir, life); err != nil {
		return nil, closing(err, a.dp)
	}
	st, rev, ok, err := readJournal(cfg.StateDir, life)
	if err != nil {
		// It only spares the wait for the controller.
		a.log.Warn("the state from before the restart is lost", "err", err)
		ok = false
	}
	if ok {
		a.log.Info("going on from the state before the restart", "revision", rev)
		a.state, a.want, a.known = st, rev, true
		a.agenda = everything()
		a.reindex()
		if err := a.journal.begin(st, rev); err != nil {
			a.log.Warn("journal", "err", err)
		}
	}
	a.agenda = everything()
	a.changedAll = true
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
		a.journal.close()
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
	feed("controller", func() error { return a.ctl.Run(ctx, a) })
	feed("path MTU", func() error {
		return a.host.WatchPathMTU(ctx, func(p hostnet.PathTooSmall) {
			select {
			case a.tooSmall <- p:
			default: // a flood of them: the kernel remembers, the next one tells
			}
		})
	})
	a.log.Info("agent is running", "pin_dir", a.cfg.PinDir, "state_dir", a.cfg.StateDir)

	// The kernel forgets what ICMP taught it of a path after net.ipv4.route.mtu_expires
	// (10 minutes) without an event.
	expiry, expires := time.NewTimer(time.Hour), false
	expiry.Stop()
	defer expiry.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	paced := newPace()
	defer paced.timer.Stop()
	forget := time.NewTicker(forgetEvery)
	defer forget.Stop()
	for {
		if a.later.any() {
			paced.arm()
		}
		if a.agenda.any() {
			retry.Reset(a.backoff.next())
		} else {
			a.backoff.reset()
			retry.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case u := <-a.updates:
			a.take(u.Update)
			a.reconcile(ctx)
			close(u.done)
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
			if a.agenda.any() {
				a.reconcile(ctx)
			}
		case p := <-a.tooSmall:
			// Anybody can send such ICMP; who is no VTEP of ours is not asked about.
			if _, ok := a.vteps[vtep{p.Local, p.Remote}]; !ok {
				continue
			}
			a.later.vteps = add(a.later.vteps, p.Remote)
			if !expires {
				expires = true
				expiry.Reset(pathMTUExpiry)
			}
		case <-paced.timer.C:
			paced.fired()
			a.agenda.gateways = a.agenda.gateways || a.later.gateways
			a.agenda.paths = a.agenda.paths || a.later.paths
			for ip := range a.later.vteps {
				a.agenda.vteps = add(a.agenda.vteps, ip)
			}
			a.later = agenda{}
			a.reconcile(ctx)
		case <-expiry.C:
			expires = false
			a.agenda.paths = true
			a.reconcile(ctx)
		case <-forget.C:
			if st, _ := a.withoutSharers(hoststate.Delta{}); a.known {
				if err := a.dp.Forget(st, a.env); err != nil {
					a.log.Warn("what was learned of address pairs stays longer", "err", err)
				}
			}
		case <-retry.C:
			a.reconcile(ctx)
		}
	}
}

// forgetEvery is how often room is made of addresses that nobody has used for long.
const forgetEvery = time.Minute

const pathMTUExpiry = 10*time.Minute + 5*time.Second

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
