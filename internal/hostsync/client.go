package hostsync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// Sink takes updates in order, from one goroutine. The first after each
// connection is Full. The stream waits while it works.
type Sink interface {
	Update(ctx context.Context, u Update)
}

// ClientOptions configure a Client.
type ClientOptions struct {
	// Target is unix:///PATH, or HOST:PORT, which needs TLS.
	Target  string
	TLS     *TLSFiles
	Version string // of the agent, for people
	Logger  *slog.Logger
}

// Client is the agent's end.
type Client struct {
	opt   ClientOptions
	creds func() (credentials.TransportCredentials, error) // for each connection, as files change
	dial  func(ctx context.Context) (net.Conn, error)

	mu    sync.Mutex
	known Report // the latest of everything reported
	ports map[model.PortID]PortReport
	dirty map[model.PortID]bool // of ports, not sent yet
	send  bool                  // something of known is not sent yet
	wake  chan struct{}         // capacity 1
	named naming                // the ports that the controller's rows name
	told  bool                  // named says all: a controller has brought the whole state
	host  model.HostName        // as the controller last said

	connected atomic.Bool // a stream is up and has brought the whole state
}

// NewClient checks the target and loads the certificates.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	c := &Client{
		opt: o, ports: map[model.PortID]PortReport{}, dirty: map[model.PortID]bool{}, named: newNaming(), wake: make(chan struct{}, 1),
	}
	var d net.Dialer
	if path, ok := strings.CutPrefix(o.Target, "unix://"); ok {
		c.creds = func() (credentials.TransportCredentials, error) { return unixCredentials{}, nil }
		c.dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
		return c, nil
	}
	if o.TLS == nil {
		return nil, fmt.Errorf("controller at %s: a network needs TLS", o.Target)
	}
	c.creds = func() (credentials.TransportCredentials, error) {
		creds, err := o.TLS.client()
		if err != nil {
			return nil, fmt.Errorf("TLS to the controller: %w", err)
		}
		return creds, nil
	}
	if _, err := c.creds(); err != nil {
		return nil, err
	}
	c.dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", o.Target) }
	return c, nil
}

// Report hands in what the agent knows. It never blocks; of each port, and of
// revision and MTU, the latest report wins. What was reported is said again after
// a reconnection. A report of a port of the host that no row names any more, which the agent has yet
// to be told, is for nobody.
func (c *Client) Report(r Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Revision != 0 {
		c.known.Revision = r.Revision
	}
	if r.UnderlayMTU != 0 {
		c.known.UnderlayMTU = r.UnderlayMTU
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
	if len(c.ports) > 0 || c.known.Revision != 0 || c.known.UnderlayMTU != 0 {
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

// Run keeps a stream to the controller and feeds sink until ctx ends; then it
// returns nil. It reconnects by itself, after a pause that grows to 5 s.
func (c *Client) Run(ctx context.Context, sink Sink) error {
	pause := minBackoff
	for {
		begin := time.Now()
		welcome, err := c.stream(ctx, sink)
		if ctx.Err() != nil {
			return nil
		}
		// A stream that ends at once, as where two agents claim one host, is no
		// reason to hurry.
		if welcome && time.Since(begin) > maxBackoff {
			pause = minBackoff
		}
		c.opt.Logger.Warn("no stream from the controller", "controller", c.opt.Target, "error", words(err), "retry_in", pause)
		// Half of the pause at random, so that many agents do not come at once.
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, maxBackoff)
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
func (c *Client) stream(ctx context.Context, sink Sink) (welcome bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	creds, err := c.creds()
	if err != nil {
		return false, err
	}
	target := "passthrough:///" + strings.TrimPrefix(c.opt.Target, "unix://")
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stream, err := pb.NewHostSyncClient(conn).Connect(ctx)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	_, probes := sink.(Prober)
	hello := &pb.Hello{Probes: probes, Protocol: Protocol, AgentVersion: c.opt.Version, Revision: c.known.Revision}
	c.mu.Unlock()
	// An error of Send is only that the stream is over; Recv says why.
	_ = stream.Send(&pb.FromAgent{Message: &pb.FromAgent_Hello{Hello: hello}})
	m, err := stream.Recv()
	if err != nil {
		return false, err
	}
	w := m.GetWelcome()
	if w == nil || w.Protocol != Protocol {
		return false, fmt.Errorf("the controller speaks version %d of the agent protocol, this agent version %d: use the same release on both", w.GetProtocol(), Protocol)
	}
	c.opt.Logger.Info("connected to the controller", "controller", c.opt.Target, "version", w.ControllerVersion, "host", w.Host)
	c.mu.Lock()
	c.host = model.HostName(w.Host)
	c.mu.Unlock()
	c.again()

	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	out := &sender{stream: stream}
	workers.Go(func() { c.report(ctx, out) })
	from := &receiver{stream: stream, probes: newProbing(ctx, sink, out, &workers)}
	return true, c.receive(ctx, from, sink)
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
}

func (r *receiver) Recv() (*pb.FromController, error) {
	for {
		m, err := r.stream.Recv()
		if err != nil {
			return nil, err
		}
		if !r.probes.take(m) {
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
	m := &pb.Report{Revision: r.Revision, UnderlayMtu: uint32(max(r.UnderlayMTU, 0))}
	for _, p := range r.Ports {
		m.Ports = append(m.Ports, &pb.PortReport{Id: string(p.ID), Status: string(p.Status), Reason: p.Reason})
	}
	return m
}

func (c *Client) receive(ctx context.Context, stream *receiver, sink Sink) error {
	defer c.connected.Store(false)
	first := true
	for {
		d, err := receiveDelta(stream)
		if err != nil {
			return err
		}
		if first && !d.Full {
			return errors.New("the controller does not begin with a full state")
		}
		first = false
		c.forget(d)
		sink.Update(ctx, Update{Delta: d})
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
