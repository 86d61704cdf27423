package hostsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// Hosts is the controller's side of the streams.
type Hosts interface {
	// Connect makes the queue from which an agent is fed; its first delta is a
	// full state. An error refuses the agent, in words that it gets to read.
	Connect(ctx context.Context, host model.HostName, agent Agent) (*Queue, error)
	// Disconnect is called once for each Connect that made a queue.
	Disconnect(host model.HostName, q *Queue)
	// Report takes what the agent says. It must not block.
	Report(host model.HostName, r Report)
}

// Agent is what an agent says of itself in its hello.
type Agent struct {
	Version  string
	Revision int64 // last revision it applied, 0: none
}

// Server is the controller's end.
type Server struct {
	hosts   Hosts
	version string
	most    int // connections
	log     *slog.Logger

	byAuthority bool

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
	s := &Server{hosts: o.Hosts, version: o.Version, most: o.Connections, log: o.Logger, byAuthority: o.ByAuthority}
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
		grpc.Creds(guardedCredentials{creds, s.byAuthority}),
		grpc.MaxRecvMsgSize(maxFromAgent),
		grpc.MaxConcurrentStreams(streamsEach),
		grpc.ConnectionTimeout(helloTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
	)
	pb.RegisterHostSyncServer(g, service{s: s})
	return g
}

// Serve takes agents in from l until Close, and then returns nil. Without TLS only
// unix sockets will do.
func (s *Server) Serve(l net.Listener) error {
	g := s.unix
	if _, ok := l.(*net.UnixListener); !ok {
		if g = s.net; g == nil {
			return fmt.Errorf("agents at %s: a network needs TLS", l.Addr())
		}
	}
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
	host, err := hostOf(stream.Context(), s.byAuthority)
	if err != nil {
		s.log.Warn("agent refused", "error", err)
		return status.Error(codes.Unauthenticated, err.Error())
	}
	hello, err := s.hello(stream)
	if err != nil {
		s.log.Warn("agent refused", "host", host, "error", err)
		return err
	}
	agent := Agent{Version: hello.AgentVersion, Revision: hello.Revision}
	q, err := s.hosts.Connect(stream.Context(), host, agent)
	if err != nil {
		s.log.Warn("agent refused", "host", host, "error", err)
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	defer s.hosts.Disconnect(host, q)
	q.open(hello.Probes)
	defer q.end()
	log := s.log.With("host", host)
	log.Info("agent connected", "version", agent.Version, "revision", agent.Revision)
	err = s.talk(stream, host, q)
	switch {
	case errors.Is(err, io.EOF), status.Code(err) == codes.Canceled, errors.Is(err, context.Canceled):
		log.Info("agent disconnected")
		return nil
	}
	log.Warn("agent disconnected", "error", err)
	return err
}

func (s *Server) hello(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController]) (*pb.Hello, error) {
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
		if f.err != nil {
			return nil, f.err
		}
		h := f.m.GetHello()
		if h == nil {
			return nil, status.Error(codes.InvalidArgument, "the agent does not begin with a hello")
		}
		if h.Protocol != Protocol {
			return nil, status.Errorf(codes.FailedPrecondition,
				"agent %s speaks version %d of the agent protocol, this controller (%s) version %d: use the same release on both",
				h.AgentVersion, h.Protocol, s.version, Protocol)
		}
		return h, nil
	case <-timeout.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "the agent said no hello within %v", helloTimeout)
	case <-s.ctx.Done():
		return nil, errEnding
	}
}

// talk sends deltas and receives reports until either ends.
func (s *Server) talk(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], host model.HostName, q *Queue) error {
	welcome := &pb.Welcome{Protocol: Protocol, ControllerVersion: s.version, Host: string(host)}
	if err := stream.Send(&pb.FromController{Message: &pb.FromController_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errEnding) })()
	s.receivers.Go(func() { cancel(s.receive(stream, host, q)) })
	err := s.send(ctx, stream, q)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func (s *Server) send(ctx context.Context, stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController], q *Queue) error {
	for {
		d, isDelta, messages, err := q.next(ctx)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		if !isDelta {
			continue
		}
		for part := range encode(d, partRows) {
			if err := stream.Send(&pb.FromController{Message: &pb.FromController_Delta{Delta: part}}); err != nil {
				return err
			}
		}
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
		s.hosts.Report(host, report)
	}
}

func decodeReport(r *pb.Report) (Report, error) {
	out := Report{Revision: r.Revision, UnderlayMTU: int(r.UnderlayMtu)}
	if r.Revision < 0 || r.UnderlayMtu > 1<<16 || len(r.Ports) > maxReports {
		return out, fmt.Errorf("report: revision %d, MTU %d, %d ports", r.Revision, r.UnderlayMtu, len(r.Ports))
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
