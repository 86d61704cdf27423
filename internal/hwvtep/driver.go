package hwvtep

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

// Site is what a driver tells its site. The epoch that taking a switch gives keeps
// what an earlier driver of it still says from counting.
type Site interface {
	TakeSwitch(ctx context.Context, id model.GatewayDeviceID, driver string) (epoch uint64, err error)
	SetSwitchStatus(ctx context.Context, id model.GatewayDeviceID, driver string, epoch uint64, status model.SwitchStatus) error
	SetLearnedMACs(ctx context.Context, id model.GatewayDeviceID, epoch uint64, conn model.L2GatewayConnectionID, macs []model.MAC) error
	SwitchCleaned(ctx context.Context, id model.GatewayDeviceID, epoch uint64) error
}

// Counts are a driver's metrics.
type Counts interface {
	SwitchStatus(device string, status model.SwitchStatus)
	SwitchLearned(device string, macs int)
	SwitchTransaction(device string, refused bool)
	SwitchGone(device string)
}

// Options configure Run.
type Options struct {
	Site   Site
	Counts Counts
	// Driver is this controller's name.
	Driver string
	// TLS, if not nil, is spoken with every switch.
	TLS *tls.Config
	// Alive tells whether the site's store can be reached. A driver that has lost it
	// for long lets another controller take the switch.
	Alive  func(context.Context) error
	Logger *slog.Logger

	aliveEvery time.Duration // for tests; 0: aliveEvery
}

// Target is a switch to drive.
type Target struct {
	Address netip.AddrPort
	Want    Want
	// Retired: the device has been deleted. Its want is empty, and the switch is
	// driven until it has nothing of the device any more and the site knows.
	Retired bool
}

// Pauses between attempts to reach a switch.
const (
	leastPause  = 250 * time.Millisecond
	mostPause   = 30 * time.Second
	dialTimeout = 5 * time.Second
	tellTimeout = 3 * time.Second
)

// driver keeps one switch as it is to be. Each has a goroutine of its own, so that
// a switch that is away keeps no other waiting.
type driver struct {
	opts    Options
	device  model.GatewayDeviceID
	address netip.AddrPort
	log     *slog.Logger
	wake    chan struct{} // capacity 1: the target has changed

	mu     sync.Mutex
	target Target

	// Of the goroutine.
	told model.SwitchStatus // what the site was last told, or has refused
	said bool
}

func newDriver(opts Options, t Target) *driver {
	return &driver{
		opts: opts, device: t.Want.Device, address: t.Address, target: t,
		log:  opts.Logger.With("gateway_device", t.Want.Device, "switch", t.Address),
		wake: make(chan struct{}, 1),
	}
}

func (d *driver) set(t Target) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = t
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *driver) wanted() Target {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.target
}

// run drives the switch until ctx ends or a retired one is clean.
func (d *driver) run(ctx context.Context) {
	defer d.opts.Counts.SwitchGone(string(d.device))
	pause := leastPause
	for {
		begin := time.Now()
		err := d.session(ctx)
		if ctx.Err() != nil || err == nil {
			return
		}
		if time.Since(begin) > mostPause {
			pause = leastPause // it held for a while
		}
		d.log.Warn("the switch's session ended", "error", err, "retry_in", pause)
		// Half of the pause at random, so that controllers do not come all at once.
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, mostPause)
	}
}

// session is one connection to the switch, from dialing to its end. It returns nil
// only for a retired switch that is clean.
func (d *driver) session(ctx context.Context) error {
	stream, err := d.dial(ctx)
	if err != nil {
		d.tell(ctx, 0, model.SwitchStatus{Error: fmt.Sprintf("cannot reach %s: %v", d.address, err)})
		return err
	}
	s := &session{d: d, changed: make(chan struct{}, 1), lock: make(chan bool, 2)}
	s.conn = newConn(stream, s.notify)
	err = s.run(ctx)
	s.conn.close()
	switch {
	case ctx.Err() != nil && s.epoch != 0:
		d.tell(context.WithoutCancel(ctx), s.epoch, model.SwitchStatus{Error: "the controller that drove it has ended"})
	case err != nil && ctx.Err() == nil:
		d.tell(ctx, s.epoch, model.SwitchStatus{Error: err.Error()})
	}
	return err
}

func (d *driver) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if d.opts.TLS == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", d.address.String())
	}
	return (&tls.Dialer{Config: d.opts.TLS}).DialContext(ctx, "tcp", d.address.String())
}

// tell notes the switch's status, for people. It tells whether another controller
// drives the switch by now.
func (d *driver) tell(ctx context.Context, epoch uint64, st model.SwitchStatus) (taken bool) {
	d.opts.Counts.SwitchStatus(string(d.device), st)
	if d.said && same(d.told, st) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	err := d.opts.Site.SetSwitchStatus(ctx, d.device, d.opts.Driver, epoch, st)
	switch model.KindOf(err) {
	case model.KindConflict:
		return true
	case model.KindNotFound: // the device is gone: the driver soon is, too
		return false
	}
	if err != nil {
		d.log.Warn("the switch's status was not stored", "error", err)
		d.said = false
		return false
	}
	d.log.Info("switch", "connected", st.Connected, "in_sync", st.InSync, "error", st.Error, "problems", st.Problems)
	d.told, d.said = st, true
	return false
}

func same(a, b model.SwitchStatus) bool {
	if a.Connected != b.Connected || a.InSync != b.InSync || a.Error != b.Error || len(a.Problems) != len(b.Problems) {
		return false
	}
	for i := range a.Problems {
		if a.Problems[i] != b.Problems[i] {
			return false
		}
	}
	return true
}
