package hostsync

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// Sink takes updates in order, from one goroutine. The first after each
// connection is Full, unless the sink is a Resumer that has a state. The stream waits
// while it works.
type Sink interface {
	Update(ctx context.Context, u Update)
}

// Resumer is a Sink that can go on from the rows that it has. Have looks at those; false: it has no whole
// state. What it says must hold until the next Update.
type Resumer interface {
	Have(ctx context.Context) (Have, bool)
}

// socketName is the name of a controller that is reached by a unix socket.
const socketName = "localhost"

// ClientOptions configure a Client.
type ClientOptions struct {
	// Targets are the site's controllers, any one of which will do: unix:///PATH, with TLS or without,
	// or HOST:PORT, which needs TLS.
	Targets []string
	TLS     *TLSFiles
	Version string // of the agent, for people
	// Fabric is the host's end of the fabric of its site: address and UDP port; zero: it has none.
	Fabric netip.AddrPort
	// Dial makes connections; nil: as net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// GatewayPriority is not 0 where the host may serve gateway devices: see model.Host.
	GatewayPriority uint8
	// Skim is for benchmarks; nil: all rows are read.
	Skim   *Skim
	Logger *slog.Logger
}

// Client is the agent's end.
type Client struct {
	opt   ClientOptions
	creds func() (credentials.TransportCredentials, error) // for each connection, as files change

	controllers controllers // Run's own
	brought     bool        // the present stream has brought its first update; Run's own
	patience    time.Duration

	mu    sync.Mutex
	known Report // the latest of everything reported
	ports map[model.PortID]PortReport
	dirty map[model.PortID]bool // of ports, not sent yet
	send  bool                  // something of known is not sent yet
	wake  chan struct{}         // capacity 1
	named naming                // the ports that the controller's rows name
	told  bool                  // named says all: a controller has brought the whole state
	host  model.HostName        // as the controller last said
	// What the sink has applied counts for a connection once it has taken that one's first
	// update: until then, gated, what it says it has applied is held back.
	gated bool
	held  int64

	chain atomic.Pointer[[]*x509.Certificate] // of the controller, as it last showed it

	connected atomic.Bool            // a stream is up and has brought the whole state
	problem   atomic.Pointer[string] // why there is none, as it was last said; nil: not known
}

// NewClient checks the target and loads the certificates.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	c := &Client{
		opt: o, ports: map[model.PortID]PortReport{}, dirty: map[model.PortID]bool{}, named: newNaming(), wake: make(chan struct{}, 1),
		controllers: newControllers(o.Targets), patience: patience,
	}
	if len(o.Targets) == 0 {
		return nil, errors.New("no controller is named")
	}
	sockets := 0
	for _, target := range o.Targets {
		if network, _ := address(target); network == "unix" {
			sockets++
		} else if o.TLS == nil {
			return nil, fmt.Errorf("controller at %s: a network needs TLS", target)
		}
	}
	if o.TLS == nil && sockets == len(o.Targets) {
		c.creds = func() (credentials.TransportCredentials, error) { return unixCredentials{}, nil }
		return c, nil
	}
	c.creds = func() (credentials.TransportCredentials, error) {
		creds, err := o.TLS.client(&c.chain)
		if err != nil {
			return nil, fmt.Errorf("TLS to the controller: %w", err)
		}
		return creds, nil
	}
	if _, err := c.creds(); err != nil {
		return nil, err
	}
	return c, nil
}

// Report hands in what the agent knows. It never blocks; of each port, and of
// revision and MTU, the latest report wins. What was reported is said again after
// a reconnection. A report of a port of the host that no row names any more, which the agent has yet
// to be told, is for nobody.
func (c *Client) Report(r Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gated {
		c.held = r.Revision
	} else if r.Revision != 0 {
		c.known.Revision = r.Revision
	}
	if r.UnderlayMTU != 0 {
		c.known.UnderlayMTU = r.UnderlayMTU
	}
	if r.FabricMTU != 0 {
		c.known.FabricMTU = r.FabricMTU
	}
	for _, p := range r.Ports {
		if c.told && !isPlace(p.ID) && c.named.rows[p.ID] == 0 {
			continue
		}
		if old, ok := c.ports[p.ID]; !ok || old != p {
			c.ports[p.ID] = p
			c.dirty[p.ID] = true
		}
	}
	c.signal()
}

// Host is the name by which the controller knows this host; "" before the first
// connection.
func (c *Client) Host() model.HostName {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host
}

// Connected tells whether a stream to the controller is up and has brought the
// whole state.
func (c *Client) Connected() bool { return c.connected.Load() }

// Problem is why the last try to have a stream failed, with the controller's own words where it has refused the
// agent; "": a stream is up, or none has failed yet.
func (c *Client) Problem() string {
	if why := c.problem.Load(); why != nil && !c.Connected() {
		return *why
	}
	return ""
}

// signal needs mu.
func (c *Client) signal() {
	c.send = true
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take is what is to be sent next, if anything.
func (c *Client) take() (Report, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.send {
		return Report{}, false
	}
	r := c.known
	for id := range c.dirty {
		if len(r.Ports) == maxReports {
			break
		}
		delete(c.dirty, id)
		if p, ok := c.ports[id]; ok {
			r.Ports = append(r.Ports, p)
			if isWellElsewhere(p) {
				delete(c.ports, id)
			}
		}
	}
	c.send = len(c.dirty) > 0
	return r, true
}

// again makes everything known be sent on a new stream.
func (c *Client) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.ports {
		if isWellElsewhere(p) { // what the controller takes them for
			delete(c.ports, id)
			delete(c.dirty, id)
			continue
		}
		c.dirty[id] = true
	}
	if len(c.ports) > 0 || c.known.Revision != 0 || c.known.UnderlayMTU != 0 || c.known.FabricMTU != 0 {
		c.signal()
	}
}

// isWellElsewhere tells whether a report is of a port without an interface on the host that works.
// The controller takes them all for such until it is told of others, so it is kept until it is sent.
func isWellElsewhere(p PortReport) bool { return isPlace(p.ID) && p.Status == model.PortActive }

// forget drops the reports of ports that are no longer the host's, and of those
// bound anew: what the controller knew of a port ended with its binding, even if
// nothing has changed here. It costs what has changed.
func (c *Client) forget(d hoststate.Delta) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.Full {
		c.named, c.told = newNaming(), true
		c.named.apply(d)
		for id := range c.ports {
			if !isPlace(id) && c.named.rows[id] == 0 {
				delete(c.ports, id)
			}
		}
		return
	}
	d = c.named.complete(d)
	for _, p := range d.Set.Ports {
		delete(c.ports, p.ID)
	}
	for _, g := range d.Set.Gateways {
		for _, u := range g.Uplinks {
			delete(c.ports, u.Port)
		}
	}
	for _, id := range c.named.apply(d) {
		delete(c.ports, id)
	}
}

// Run keeps a stream to one of the controllers and feeds sink until ctx ends; then it
// returns nil. When a stream ends it goes to the next one at once, and once all have failed, after a
// pause that grows to 5 s. From another controller than its own it comes back when that answers.
func (c *Client) Run(ctx context.Context, sink Sink) error {
	pause := minBackoff
	for {
		begin := time.Now()
		target := c.controllers.now()
		c.brought = false
		welcome, err := c.stream(ctx, target, sink)
		if ctx.Err() != nil {
			return nil
		}
		c.controllers.ended(c.brought)
		if errors.Is(err, errHome) {
			c.controllers.goHome()
			c.opt.Logger.Info("back to the agent's own controller", "from", target, "controller", c.controllers.now())
			continue
		}
		// A stream that ends at once, as where two agents claim one host, is no
		// reason to hurry.
		well := welcome && time.Since(begin) > maxBackoff
		if well {
			pause = minBackoff
		}
		now := minBackoff
		if c.controllers.next(well) {
			now = pause
			pause = min(2*pause, maxBackoff)
		}
		why := fmt.Sprintf("%s: %s", target, words(err))
		c.problem.Store(&why)
		c.opt.Logger.Warn("no stream from the controller", "controller", target, "error", words(err), "next", c.controllers.now(), "retry_in", now)
		// Half of the pause at random, so that many agents do not come at once.
		timer := time.NewTimer(now/2 + rand.N(now/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// words takes gRPC's wrapping off.
func words(err error) string {
	if err == nil {
		return "the controller ended it"
	}
	if st, ok := status.FromError(err); ok {
		return st.Message()
	}
	return err.Error()
}

// stream serves one connection; welcome tells whether the controller let us in.
func (c *Client) stream(ctx context.Context, controller string, sink Sink) (welcome bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	cancel := func() { end(nil) }
	defer cancel()
	// What is cancelled says why.
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}()
	creds, err := c.creds()
	if err != nil {
		return false, err
	}
	have, resumes := c.have(ctx, sink)
	silent := time.AfterFunc(c.patience, func() { end(fmt.Errorf("it said nothing within %v", c.patience)) })
	defer silent.Stop()
	conn, err := c.connectTo(controller, creds)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	var options []grpc.CallOption
	if c.opt.Skim != nil {
		options = append(options, grpc.ForceCodecV2(c.opt.Skim.codec()))
	}
	stream, err := pb.NewHostSyncClient(conn).Connect(ctx, options...)
	if err != nil {
		return false, err
	}
	_, probes := sink.(Prober)
	hello := &pb.Hello{Groups: true, Waits: true, Probes: probes, Protocol: Protocol, AgentVersion: c.opt.Version, Revision: c.gate(), Fabric: true, GatewayPriority: uint32(c.opt.GatewayPriority)}
	if c.opt.Fabric.IsValid() {
		hello.FabricAddr, hello.FabricPort = addrBytes(c.opt.Fabric.Addr()), uint32(c.opt.Fabric.Port())
	}
	if resumes {
		total := have.Digests.Total()
		hello.Digest = total.Bytes()
	}
	// An error of Send is only that the stream is over; Recv says why.
	_ = stream.Send(&pb.FromAgent{Message: &pb.FromAgent_Hello{Hello: hello}})
	m, err := stream.Recv()
	for ; err == nil && m.GetWaiting() != nil; m, err = stream.Recv() {
		silent.Reset(c.patience)
		c.waits(controller, m.GetWaiting().Before)
	}
	if err != nil {
		return false, err
	}
	w := m.GetWelcome()
	if w == nil || w.Protocol != Protocol {
		return false, fmt.Errorf("the controller speaks version %d of the agent protocol, this agent version %d: use the same release on both", w.GetProtocol(), Protocol)
	}
	c.opt.Logger.Info("connected to the controller", "controller", controller, "version", w.ControllerVersion, "host", w.Host)
	c.mu.Lock()
	c.host = model.HostName(w.Host)
	c.mu.Unlock()
	if w.Have {
		if !resumes {
			return false, errors.New("the controller asks what rows there are where there are none")
		}
		_ = stream.Send(&pb.FromAgent{Message: &pb.FromAgent_Have{Have: encodeHave(have.Digests, w.Fabric)}})
	}
	// A controller from before the fabric knows nothing of these groups: it cannot take their rows away.
	var orphans []hoststate.Group
	for g := range have.Digests {
		if !w.Fabric && g.OfFabric() {
			orphans = append(orphans, g)
		}
	}
	if resumes {
		c.forget(hoststate.Delta{Full: true, Set: have.Names})
	}
	c.again()

	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	out := &sender{stream: stream}
	workers.Go(func() { c.report(ctx, out) })
	workers.Go(func() { c.untilRevoked(ctx, end) })
	workers.Go(func() { c.untilHome(ctx, end) })
	from := &receiver{stream: stream, probes: newProbing(ctx, sink, out, &workers)}
	from.first = silent.Stop
	silent.Reset(c.patience)
	return true, c.receive(ctx, from, sink, resumes, orphans)
}

// waits notes that the controller takes in others first.
func (c *Client) waits(controller string, before uint32) {
	why := fmt.Sprintf("%s: the controller takes in the agents of other hosts first; %d of them are before this one", controller, before)
	c.problem.Store(&why)
	c.opt.Logger.Info("the controller takes in other agents first", "controller", controller, "before", before)
}

// untilRevoked ends a stream to a controller whose certificate is revoked while it is open.
func (c *Client) untilRevoked(ctx context.Context, end context.CancelCauseFunc) {
	chain := c.chain.Load()
	if c.opt.TLS == nil || c.opt.TLS.Revoked == nil || chain == nil {
		return
	}
	for {
		changed := c.opt.TLS.Revoked.Changed()
		if err := c.opt.TLS.Revoked.Check(*chain); err != nil {
			end(fmt.Errorf("the controller: %w", err))
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// sender lets several goroutines send on a stream.
type sender struct {
	mu     sync.Mutex
	stream grpc.BidiStreamingClient[pb.FromAgent, pb.FromController]
}

func (s *sender) Send(m *pb.FromAgent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(m)
}

// receiver passes on what is about probes, at once, and returns the rest.
type receiver struct {
	stream grpc.BidiStreamingClient[pb.FromAgent, pb.FromController]
	probes *probing
	first  func() bool // called with each delta that comes
}

func (r *receiver) Recv() (*pb.FromController, error) {
	for {
		m, err := r.stream.Recv()
		if err != nil {
			return nil, err
		}
		if !r.probes.take(m) {
			r.first()
			return m, nil
		}
	}
}

func (c *Client) report(ctx context.Context, stream *sender) {
	for {
		for {
			r, ok := c.take()
			if !ok {
				break
			}
			if stream.Send(&pb.FromAgent{Message: &pb.FromAgent_Report{Report: encodeReport(r)}}) != nil {
				return // receive gets the reason; again says it anew
			}
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

func encodeReport(r Report) *pb.Report {
	m := &pb.Report{Revision: r.Revision, UnderlayMtu: uint32(max(r.UnderlayMTU, 0)), FabricMtu: uint32(max(r.FabricMTU, 0))}
	for _, p := range r.Ports {
		m.Ports = append(m.Ports, &pb.PortReport{Id: string(p.ID), Status: string(p.Status), Reason: p.Reason})
	}
	return m
}

// have is what the sink can go on from.
func (c *Client) have(ctx context.Context, sink Sink) (Have, bool) {
	r, ok := sink.(Resumer)
	if !ok {
		return Have{}, false
	}
	have, ok := r.Have(ctx)
	return have, ok && len(have.Digests) <= maxHave
}

func encodeHave(ds hoststate.Digests, fabric bool) *pb.Have {
	m := &pb.Have{}
	for g, d := range ds {
		if !fabric && g.OfFabric() {
			continue
		}
		m.Groups = append(m.Groups, &pb.GroupDigest{Group: groupRow(g), Digest: d.Bytes()})
	}
	return m
}

// gate holds back what is applied, and returns what was before.
func (c *Client) gate() (revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	revision = c.known.Revision
	c.gated, c.held, c.known.Revision = true, 0, 0
	return revision
}

// vouch lets pass what is applied from now on, and what was while the first update was taken.
func (c *Client) vouch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gated = false
	if c.held != 0 {
		c.known.Revision = c.held
		c.signal()
	}
}

func (c *Client) receive(ctx context.Context, stream *receiver, sink Sink, resumes bool, orphans []hoststate.Group) error {
	defer c.connected.Store(false)
	first := true
	for {
		d, err := receiveDelta(stream)
		if err != nil {
			return err
		}
		if first && !d.Full && !resumes {
			return errors.New("the controller does not begin with a full state")
		}
		if first && !d.Full {
			d.Replaced = append(d.Replaced, orphans...)
		}
		c.forget(d)
		sink.Update(ctx, Update{Delta: d, First: first})
		if first {
			c.vouch()
		}
		first, c.brought = false, true
		c.connected.Store(true)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// receiveDelta puts the parts of a delta together.
func receiveDelta(stream *receiver) (hoststate.Delta, error) {
	d := hoststate.Delta{Set: hoststate.NewState()}
	for n := range maxParts {
		m, err := stream.Recv()
		if err != nil {
			return d, err
		}
		part := m.GetDelta()
		switch {
		case part == nil:
			return d, errors.New("the controller sent no delta where one is due")
		case n == 0:
			d.Revision, d.Full = part.Revision, part.Full
		case part.Revision != d.Revision || part.Full != d.Full:
			return d, fmt.Errorf("parts of revisions %d and %d in one delta", d.Revision, part.Revision)
		}
		if err := decode(part, &d); err != nil {
			return d, err
		}
		if !part.More {
			return d, nil
		}
	}
	return d, fmt.Errorf("a delta of more than %d parts", maxParts)
}
