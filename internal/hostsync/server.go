package hostsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// Hosts is the controller's side of the streams.
type Hosts interface {
	// Connect makes the queue from which an agent is fed; its first delta is a
	// full state, or leads from what the agent has. An error refuses the agent, in words that it gets to read.
	Connect(ctx context.Context, host model.HostName, agent Agent) (*Queue, error)
	// Disconnect is called once for each Connect that made a queue.
	Disconnect(host model.HostName, q *Queue)
	// Report takes what the agent says on the stream that reads q. It must not block.
	Report(host model.HostName, q *Queue, r Report)
}

// Agent is what an agent says of itself in its hello.
type Agent struct {
	Version  string
	Revision int64 // last revision it applied, 0: none
	// Digest is that of the rows it has; nil: it has no whole state.
	Digest *hoststate.Digest
	// Fabric is its end of the fabric of the site: address and UDP port; zero: it has none.
	Fabric netip.AddrPort
	// KnowsFabric: it knows the rows and the groups of the fabric. One that does not is of an older release.
	KnowsFabric bool
	// GatewayPriority is not 0 where the host may serve gateway devices: see model.Host.
	GatewayPriority uint8
	// Have asks it for those of its groups. It is to be called once at most, during Connect.
	Have func(ctx context.Context) (hoststate.Digests, error)
	// Waiting has it know that so many others are taken in before it, during Connect and before Have; nil: it would
	// not understand.
	Waiting func(before int) error
}

// Server is the controller's end.
type Server struct {
	hosts   Hosts
	version string
	most    int // connections
	log     *slog.Logger

	admission admission

	unix *grpc.Server
	net  *grpc.Server // nil without TLS
	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc
	// receivers are blocked in Recv, which nothing but the end of their stream
	// interrupts; Close waits for them.
	receivers sync.WaitGroup
}

var errEnding = status.Error(codes.Unavailable, "the controller is ending")

// ServerOptions configure a Server.
type ServerOptions struct {
	Hosts     Hosts
	LocalHost model.HostName // host of the agent that comes by the unix socket
	TLS       *TLSFiles      // nil: agents come by the unix socket only
	// ByAuthority says that the authorities of TLS sign for hosts alone, so that a
	// certificate needs no role; see identity.Holder.
	ByAuthority bool
	Version     string // of the controller, for people
	// Connections are how many may be open, by each way; 0: DefaultConnections.
	Connections int
	Logger      *slog.Logger
}

// NewServer makes a server that serves nothing yet.
func NewServer(o ServerOptions) (*Server, error) {
	s := &Server{hosts: o.Hosts, version: o.Version, most: o.Connections, log: o.Logger, admission: admission{byAuthority: o.ByAuthority}}
	if o.TLS != nil {
		s.admission.revoked = o.TLS.Revoked
	}
	if s.most == 0 {
		s.most = DefaultConnections
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.unix = s.newGRPC(unixCredentials{o.LocalHost})
	if o.TLS != nil {
		creds, err := o.TLS.server()
		if err != nil {
			return nil, fmt.Errorf("TLS for agents: %w", err)
		}
		s.net = s.newGRPC(creds)
	}
	return s, nil
}

func (s *Server) newGRPC(creds credentials.TransportCredentials) *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(guardedCredentials{creds, s.admission}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxFromAgent),
		grpc.MaxConcurrentStreams(streamsEach),
		grpc.ConnectionTimeout(helloTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
	)
	pb.RegisterHostSyncServer(g, service{s: s})
	return g
}

// Serve takes the agents of a unix socket in, whose peers the kernel knows, until Close, and then
// returns nil. Others come by ServeTLS.
func (s *Server) Serve(l net.Listener) error {
	if _, ok := l.(*net.UnixListener); !ok {
		return fmt.Errorf("agents at %s: a network needs TLS", l.Addr())
	}
	return s.serve(s.unix, l)
}

// ServeTLS is Serve for agents that prove their host by a certificate, at any listener.
func (s *Server) ServeTLS(l net.Listener) error {
	if s.net == nil {
		return fmt.Errorf("agents at %s: there are no files for TLS", l.Addr())
	}
	return s.serve(s.net, l)
}

func (s *Server) serve(g *grpc.Server, l net.Listener) error {
	if err := g.Serve(s.guarded(l)); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Close ends all streams and waits for them.
func (s *Server) Close() {
	s.cancel()
	s.unix.Stop()
	if s.net != nil {
		s.net.Stop()
	}
	s.receivers.Wait()
}

type service struct {
	pb.UnimplementedHostSyncServer
	s *Server
}

// Connect serves one agent's stream.
func (v service) Connect(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController]) error {
	s := v.s
	host, err := s.admission.hostOf(stream.Context())
	if err != nil {
		s.log.Warn("agent refused", "error", err)
		return status.Error(codes.Unauthenticated, err.Error())
	}
	hello, err := s.hello(stream)
	if err != nil {
		s.log.Warn("agent refused", "host", host, "error", err)
		return err
	}
	agent := Agent{Version: hello.AgentVersion, Revision: hello.Revision, KnowsFabric: hello.Fabric}
	if agent.Fabric, err = decodeFabric(hello); err != nil {
		s.log.Warn("agent refused", "host", host, "error", err)
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if hello.GatewayPriority > math.MaxUint8 {
		s.log.Warn("agent refused", "host", host, "gateway_priority", hello.GatewayPriority)
		return status.Errorf(codes.InvalidArgument, "hello: gateway priority %d is more than %d", hello.GatewayPriority, math.MaxUint8)
	}
	agent.GatewayPriority = uint8(hello.GatewayPriority)
	if d, ok := hoststate.DigestFrom(hello.Digest); ok {
		agent.Digest = &d
	}
	welcomed := false
	agent.Have = func(ctx context.Context) (hoststate.Digests, error) {
		welcomed = true
		return s.have(ctx, stream, host)
	}
	if hello.Waits {
		agent.Waiting = func(before int) error {
			return stream.Send(&pb.FromController{Message: &pb.FromController_Waiting{Waiting: &pb.Waiting{Before: uint32(max(before, 0))}}})
		}
	}
	q, err := s.hosts.Connect(stream.Context(), host, agent)
	if err != nil {
		s.log.Warn("agent refused", "host", host, "error", err)
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	defer s.hosts.Disconnect(host, q)
	q.open(hello.Probes, hello.Groups)
	defer q.end()
	defer q.hasFirst(false)
	log := s.log.With("host", host)
	log.Info("agent connected", "version", agent.Version, "revision", agent.Revision)
	if !welcomed {
		err = s.welcome(stream, host, false)
	}
	if err == nil {
		err = s.talk(stream, host, q)
	}
	switch {
	case errors.Is(err, io.EOF), status.Code(err) == codes.Canceled, errors.Is(err, context.Canceled):
		log.Info("agent disconnected")
		return nil
	}
	log.Warn("agent disconnected", "error", err)
	return err
}

// next is an agent's next message, before the stream has its receiver.
func (s *Server) next(ctx context.Context, stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], what string) (*pb.FromAgent, error) {
	type first struct {
		m   *pb.FromAgent
		err error
	}
	got := make(chan first, 1) // the receiver ends with the stream, which ends when this returns an error
	s.receivers.Go(func() {
		m, err := stream.Recv()
		got <- first{m, err}
	})
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case f := <-got:
		return f.m, f.err
	case <-timeout.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "the agent said no %s within %v", what, helloTimeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, errEnding
	}
}

func (s *Server) hello(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController]) (*pb.Hello, error) {
	m, err := s.next(stream.Context(), stream, "hello")
	if err != nil {
		return nil, err
	}
	h := m.GetHello()
	if h == nil {
		return nil, status.Error(codes.InvalidArgument, "the agent does not begin with a hello")
	}
	if h.Protocol != Protocol {
		return nil, status.Errorf(codes.FailedPrecondition,
			"agent %s speaks version %d of the agent protocol, this controller (%s) version %d: use the same release on both",
			h.AgentVersion, h.Protocol, s.version, Protocol)
	}
	return h, nil
}

func (s *Server) welcome(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], host model.HostName, have bool) error {
	welcome := &pb.Welcome{Protocol: Protocol, ControllerVersion: s.version, Host: string(host), Have: have, Fabric: true}
	return stream.Send(&pb.FromController{Message: &pb.FromController_Welcome{Welcome: welcome}})
}

// decodeFabric is an agent's end of the fabric, if it has one.
func decodeFabric(h *pb.Hello) (netip.AddrPort, error) {
	if len(h.FabricAddr) == 0 && h.FabricPort == 0 {
		return netip.AddrPort{}, nil
	}
	var d decoder
	end := netip.AddrPortFrom(d.addr(h.FabricAddr), d.port(h.FabricPort))
	if d.err != nil {
		return netip.AddrPort{}, fmt.Errorf("hello: the host's end of the fabric: %w", d.err)
	}
	return end, nil
}

// have asks what rows an agent has.
func (s *Server) have(ctx context.Context, stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], host model.HostName) (hoststate.Digests, error) {
	if err := s.welcome(stream, host, true); err != nil {
		return nil, err
	}
	m, err := s.next(ctx, stream, "word of what it has")
	if err != nil {
		return nil, err
	}
	return decodeHave(m.GetHave())
}

func decodeHave(m *pb.Have) (hoststate.Digests, error) {
	if m == nil {
		return nil, errors.New("the agent does not say what it has")
	}
	if len(m.Groups) > maxHave {
		return nil, fmt.Errorf("the agent has %d groups of rows, more than %d", len(m.Groups), maxHave)
	}
	ds := make(hoststate.Digests, len(m.Groups))
	var dec decoder
	for _, g := range m.Groups {
		d, ok := hoststate.DigestFrom(g.Digest)
		if !ok {
			dec.fail("a digest of %d bytes", len(g.Digest))
		}
		if len(g.GetGroup().GetName()) > maxID {
			dec.fail("a group's name of %d bytes", len(g.GetGroup().GetName()))
		}
		ds[dec.group(g.GetGroup()).Own()] = d
	}
	return ds, dec.err
}

// talk sends deltas and receives reports until either ends.
func (s *Server) talk(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], host model.HostName, q *Queue) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errEnding) })()
	s.receivers.Go(func() { cancel(s.receive(stream, host, q)) })
	s.receivers.Go(func() { s.untilRevoked(ctx, cancel) })
	// An agent that does not read keeps Send waiting for as long as it likes. Only the end of this
	// call ends its stream, so nothing here waits for Send.
	s.receivers.Go(func() { cancel(s.send(ctx, stream, q)) })
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-q.closed:
		return q.closedBy()
	}
}

// untilRevoked ends a stream whose certificate is revoked while it is open.
func (s *Server) untilRevoked(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		changed := s.admission.revoked.Changed()
		if _, err := s.admission.hostOf(ctx); err != nil {
			cancel(status.Error(codes.Unauthenticated, err.Error()))
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) send(ctx context.Context, stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], q *Queue) error {
	for {
		u, messages, err := q.next(ctx)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		if u == nil {
			continue
		}
		for f, err := range u.frames(partRows) {
			if err != nil {
				return err
			}
			if err := stream.SendMsg(f); err != nil {
				return err
			}
		}
		q.hasFirst(true)
	}
}

func (s *Server) receive(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], host model.HostName, q *Queue) error {
	// What is beyond waits in the agent: the stream takes no more than is read.
	pace := rate.NewLimiter(reportBytes, reportBurst)
	for {
		m, err := stream.Recv()
		if err != nil {
			return err // io.EOF: the agent has hung up
		}
		if err := pace.WaitN(stream.Context(), min(reportBytesLeast+proto.Size(m), reportBurst)); err != nil {
			return err
		}
		if p := m.GetProbe(); p != nil {
			if err := q.probed(p); err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			continue
		}
		r := m.GetReport()
		if r == nil {
			return status.Error(codes.InvalidArgument, "expected a report")
		}
		report, err := decodeReport(r)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		s.hosts.Report(host, q, report)
	}
}

func decodeReport(r *pb.Report) (Report, error) {
	out := Report{Revision: r.Revision, UnderlayMTU: int(r.UnderlayMtu), FabricMTU: int(r.FabricMtu)}
	if r.Revision < 0 || r.UnderlayMtu > 1<<16 || r.FabricMtu > 1<<16 || len(r.Ports) > maxReports {
		return out, fmt.Errorf("report: revision %d, MTU %d and %d, %d ports", r.Revision, r.UnderlayMtu, r.FabricMtu, len(r.Ports))
	}
	for _, p := range r.Ports {
		st := model.PortStatus(p.Status)
		switch st {
		case model.PortActive, model.PortDown, model.PortError:
		default:
			return out, fmt.Errorf("report: port %q is %q", p.Id, p.Status)
		}
		// What the store would refuse must not come that far.
		if len(p.Id) > maxID {
			return out, fmt.Errorf("report: a port's id of %d bytes", len(p.Id))
		}
		reason := p.Reason[:min(len(p.Reason), maxReason)]
		out.Ports = append(out.Ports, PortReport{model.PortID(p.Id), st, strings.ToValidUTF8(reason, "?")})
	}
	return out, nil
}
