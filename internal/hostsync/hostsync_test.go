package hostsync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

const deadline = 20 * time.Second

// fakeHosts is a controller that says what the test wants.
type fakeHosts struct {
	mu      sync.Mutex
	refuse  error
	state   hoststate.State
	rev     int64
	queue   *Queue
	agent   Agent // that came last
	came    chan model.HostName
	left    chan model.HostName
	reports chan Report
	first   chan bool // told of each first delta; nil: nobody asks
	// line, if not nil, has agents wait until it is closed, and hear of it again and again.
	line  chan struct{}
	told  chan struct{} // each time
	asked atomic.Int32  // how many have come to it
}

func newFakeHosts() *fakeHosts {
	return &fakeHosts{
		state: hoststate.NewState(), rev: 1,
		came: make(chan model.HostName, 100), left: make(chan model.HostName, 100), reports: make(chan Report, 1000),
	}
}

func (f *fakeHosts) Connect(ctx context.Context, host model.HostName, agent Agent) (*Queue, error) {
	f.asked.Add(1)
	for waits := f.line != nil; waits; {
		select {
		case <-f.line:
			waits = false
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
			if err := agent.Waiting(7); err != nil {
				return nil, err
			}
			f.told <- struct{}{}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.agent = agent
	f.came <- host
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.queue = NewQueue(f.read, nil)
	if f.first != nil {
		f.queue.OnFirst(func(sent bool) { f.first <- sent })
	}
	if agent.Digest == nil {
		f.queue.PushAll(f.rev)
		return f.queue, nil
	}
	now := f.state.Digests()
	if *agent.Digest == now.Total() {
		f.queue.Push(f.rev)
		return f.queue, nil
	}
	have, err := agent.Have(ctx)
	if err != nil {
		return nil, err
	}
	if have[own] != now[own] {
		f.queue.Push(f.rev, Change{Group: own})
	}
	return f.queue, nil
}

// own is the group of all that fakeHosts has.
var own = hoststate.Group{Kind: hoststate.GroupHost}

func (f *fakeHosts) read(read func(Groups)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	read(fakeGroups{own: {State: f.state}})
}

type fakeGroups map[hoststate.Group]*hoststate.GroupRows

func (g fakeGroups) All() iter.Seq[hoststate.Group]               { return maps.Keys(g) }
func (g fakeGroups) Rows(of hoststate.Group) *hoststate.GroupRows { return g[of] }

func (f *fakeHosts) Disconnect(host model.HostName, _ *Queue)    { f.left <- host }
func (f *fakeHosts) Report(_ model.HostName, _ *Queue, r Report) { f.reports <- r }
func (f *fakeHosts) change(fn func(*hoststate.Delta)) (rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rev++
	d := hoststate.Delta{Revision: f.rev, Set: hoststate.NewState()}
	fn(&d)
	f.state.Apply(d)
	if f.queue != nil {
		f.queue.Push(f.rev, Change{own, &d, f.state.Len()})
	}
	return f.rev
}

// sink keeps what came; gate, if not nil, holds each update up.
type sink struct {
	gate    chan struct{}
	state   hoststate.State // of the client's goroutine
	updates chan received
}

// received is an update with the state after it.
type received struct {
	Update
	State hoststate.State
}

func newSink() *sink { return &sink{updates: make(chan received, 1000)} }

func (s *sink) Update(ctx context.Context, u Update) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
		}
	}
	s.state.Apply(s.state.Resolve(u.Delta))
	s.updates <- received{u, s.state.Clone()}
}

func wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(deadline):
		t.Fatalf("no %s within %v", what, deadline)
		panic("not reached")
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve runs a server on a unix socket and returns its target.
func serve(t testing.TB, hosts Hosts) (target string, s *Server) {
	t.Helper()
	s, err := NewServer(ServerOptions{Hosts: hosts, LocalHost: "h0", Version: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	return "unix://" + path, s
}

func run(t testing.TB, s *Server, l net.Listener) {
	done := make(chan error, 1)
	serve := s.Serve
	if s.net != nil {
		serve = s.ServeTLS
	}
	go func() { done <- serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := wait(t, done, "end of the server"); err != nil {
			t.Error(err)
		}
	})
}

// connect runs a client until the test ends or stop is called.
func connect(t testing.TB, o ClientOptions, to Sink) (c *Client, stop func()) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet()
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, to) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := wait(t, done, "end of the client"); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

func setPort(k model.PortKey, id string) func(*hoststate.Delta) {
	return func(d *hoststate.Delta) {
		d.Set.Ports[k] = hoststate.Port{ID: model.PortID(id), Network: 1, Interface: "if" + id}
	}
}

func TestStream(t *testing.T) {
	hosts := newFakeHosts()
	hosts.change(setPort(1, "p1"))
	target, _ := serve(t, hosts)
	s := newSink()
	c, stop := connect(t, ClientOptions{Targets: []string{target}}, s)
	if h := wait(t, hosts.came, "connection"); h != "h0" {
		t.Fatalf("host %q", h)
	}
	u := wait(t, s.updates, "full state")
	if !u.Delta.Full || u.Delta.Revision != 2 || len(u.State.Ports) != 1 {
		t.Fatalf("%+v", u)
	}
	rev := hosts.change(func(d *hoststate.Delta) {
		setPort(2, "p2")(d)
		d.Unset.Ports = append(d.Unset.Ports, 1)
	})
	u = wait(t, s.updates, "delta")
	if u.Delta.Full || u.Delta.Revision != rev || !u.State.Equal(hosts.state) {
		t.Fatalf("%+v", u)
	}
	c.Report(Report{Revision: rev, UnderlayMTU: 1500, Ports: []PortReport{{"p2", model.PortActive, ""}}})
	r := wait(t, hosts.reports, "report")
	if r.Revision != rev || r.UnderlayMTU != 1500 || len(r.Ports) != 1 || r.Ports[0].Status != model.PortActive {
		t.Fatalf("%+v", r)
	}
	// The same again says nothing new of the port.
	c.Report(Report{Revision: rev, Ports: []PortReport{{"p2", model.PortActive, ""}}})
	if r := wait(t, hosts.reports, "report"); len(r.Ports) != 0 || r.UnderlayMTU != 1500 {
		t.Fatalf("%+v", r)
	}
	// Bound anew: what was said of it is to be said again.
	hosts.change(setPort(2, "p2"))
	wait(t, s.updates, "rebinding")
	c.Report(Report{Revision: rev, Ports: []PortReport{{"p2", model.PortActive, ""}}})
	if r := wait(t, hosts.reports, "report"); len(r.Ports) != 1 {
		t.Fatalf("%+v", r)
	}
	stop()
	wait(t, hosts.left, "disconnection")
}

// TestReconnect: the controller goes and comes back, with another state; the
// agent gets all of it, and says all it knows.
func TestReconnect(t *testing.T) {
	hosts := newFakeHosts()
	hosts.change(setPort(1, "p1"))
	path := filepath.Join(t.TempDir(), "s")
	start := func() *Server {
		s, err := NewServer(ServerOptions{Hosts: hosts, LocalHost: "h0", Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go s.Serve(l)
		return s
	}
	first := start()
	s := newSink()
	c, _ := connect(t, ClientOptions{Targets: []string{"unix://" + path}}, s)
	u := wait(t, s.updates, "full state")
	c.Report(Report{Revision: u.Delta.Revision, UnderlayMTU: 1400, Ports: []PortReport{{"p1", model.PortDown, "gone"}}})
	wait(t, hosts.reports, "report")
	first.Close()
	wait(t, hosts.left, "disconnection")
	hosts.change(setPort(2, "p2"))
	second := start()
	defer second.Close()
	u = wait(t, s.updates, "full state of the second")
	if !u.Delta.Full || len(u.State.Ports) != 2 {
		t.Fatalf("%+v", u)
	}
	r := wait(t, hosts.reports, "report to the second")
	if r.UnderlayMTU != 1400 || len(r.Ports) != 1 || r.Ports[0].Reason != "gone" {
		t.Fatalf("%+v", r)
	}
}

// TestSlowHost: what an agent does not take does not pile up.
func TestSlowHost(t *testing.T) {
	hosts := newFakeHosts()
	target, _ := serve(t, hosts)
	s := newSink()
	s.gate = make(chan struct{})
	connect(t, ClientOptions{Targets: []string{target}}, s)
	wait(t, hosts.came, "connection")
	// Far more than the buffers on the way hold.
	const changes, rows = 2000, 100
	for i := range changes {
		hosts.change(func(d *hoststate.Delta) {
			for j := range rows {
				k := model.PortKey(1 + (i*rows+j)%5000)
				d.Set.Ports[k] = hoststate.Port{ID: model.PortID(fmt.Sprint(i, strings.Repeat("x", 100))), Network: 1}
			}
		})
	}
	hosts.mu.Lock()
	for g, w := range hosts.queue.groups {
		if g != own || w.delta != nil && w.delta.Set.Len()+w.delta.Unset.Len() > 2500 {
			t.Errorf("%d rows of %v are waiting, of a state of 5000", w.delta.Set.Len()+w.delta.Unset.Len(), g)
		}
	}
	want, rev := hosts.state.Clone(), hosts.rev
	hosts.mu.Unlock()
	close(s.gate)
	for n := 1; ; n++ {
		u := wait(t, s.updates, "update")
		if u.Delta.Revision == rev {
			if !u.State.Equal(want) {
				t.Error("the state that arrived is not the one sent")
			}
			t.Logf("%d updates for %d changes", n, changes)
			return
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Run("in words", func(t *testing.T) {
		hosts := newFakeHosts()
		hosts.refuse = errors.New("this site has its host already")
		target, _ := serve(t, hosts)
		c, err := NewClient(ClientOptions{Targets: []string{target}, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		welcome, err := c.stream(t.Context(), c.controllers.now(), newSink())
		if welcome || err == nil || words(err) != "this site has its host already" {
			t.Errorf("%v, %v", welcome, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = c.Run(ctx, newSink()) }()
		testutil.Eventually(t, "the controller's words", func() bool { return c.Problem() == target+": this site has its host already" })
	})
	t.Run("protocol version", func(t *testing.T) {
		target, _ := serve(t, newFakeHosts())
		_, err := rawConnect(t, target, unixCredentials{}, &pb.FromAgent{Message: &pb.FromAgent_Hello{Hello: &pb.Hello{Protocol: Protocol + 1, AgentVersion: "v9"}}})
		if err == nil || !strings.Contains(err.Error(), "agent v9 speaks version 2 of the agent protocol, this controller (test) version 1") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no hello", func(t *testing.T) {
		target, _ := serve(t, newFakeHosts())
		_, err := rawConnect(t, target, unixCredentials{}, &pb.FromAgent{Message: &pb.FromAgent_Report{Report: &pb.Report{}}})
		if err == nil || !strings.Contains(err.Error(), "does not begin with a hello") {
			t.Errorf("%v", err)
		}
	})
	t.Run("TCP without TLS", func(t *testing.T) {
		s, err := NewServer(ServerOptions{Hosts: newFakeHosts(), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := s.Serve(l); err == nil || !strings.Contains(err.Error(), "needs TLS") {
			t.Errorf("%v", err)
		}
		if _, err := NewClient(ClientOptions{Targets: []string{l.Addr().String()}}); err == nil || !strings.Contains(err.Error(), "needs TLS") {
			t.Errorf("%v", err)
		}
		client, server := net.Pipe()
		defer client.Close()
		if _, _, err := (unixCredentials{}).ServerHandshake(server); err == nil {
			t.Error("a connection that is no unix socket got in without TLS")
		}
	})
	t.Run("uid", func(t *testing.T) {
		for _, c := range []struct {
			peer, own uint32
			ok        bool
		}{{0, 0, true}, {0, 7, true}, {7, 7, true}, {7, 0, false}, {8, 7, false}} {
			if admitted(c.peer, c.own) != c.ok {
				t.Errorf("%+v", c)
			}
		}
	})
}

// rawConnect opens a stream, says m and returns the first answer.
func rawConnect(t *testing.T, target string, creds credentials.TransportCredentials, m *pb.FromAgent) (*pb.FromController, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			if p, ok := strings.CutPrefix(target, "unix://"); ok {
				return d.DialContext(ctx, "unix", p)
			}
			return d.DialContext(ctx, "tcp", target)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	stream, err := pb.NewHostSyncClient(conn).Connect(ctx)
	if err != nil {
		return nil, err
	}
	_ = stream.Send(m)
	return stream.Recv()
}

// TestWaitingAgent: an agent that hears that others are taken in first waits for longer than its patience with a controller
// that says nothing, and says why it is not connected.
func TestWaitingAgent(t *testing.T) {
	hosts := newFakeHosts()
	hosts.line, hosts.told = make(chan struct{}), make(chan struct{})
	target, _ := serve(t, hosts)
	c, err := NewClient(ClientOptions{Targets: []string{target}, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	c.patience = time.Second
	s := newSink()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, s) }()
	for range 150 { // of 10 ms at least
		wait(t, hosts.told, "word that it waits")
	}
	testutil.Eventually(t, "why it waits", func() bool { return strings.Contains(c.Problem(), "7 of them are before this one") })
	close(hosts.line)
	for drained := false; !drained; { // one more may be on its way
		select {
		case <-hosts.told:
		case <-hosts.came:
			drained = true
		case err := <-done:
			t.Fatal(err)
		}
	}
	wait(t, s.updates, "the first update")
	testutil.Eventually(t, "that it is well", func() bool { return c.Problem() == "" })
	if n := hosts.asked.Load(); n != 1 {
		t.Errorf("it came %d times", n)
	}
	cancel()
	if err := wait(t, done, "end of the client"); err != nil {
		t.Error(err)
	}
}

// TestFirst: who waits for an agent's first delta to be sent hears of it while the stream goes on, and at its end where there
// was none.
func TestFirst(t *testing.T) {
	hosts := newFakeHosts()
	hosts.first = make(chan bool, 10)
	target, _ := serve(t, hosts)
	s := newSink()
	connect(t, ClientOptions{Targets: []string{target}}, s)
	wait(t, s.updates, "the first update")
	wait(t, hosts.first, "word that it was sent")
	select {
	case <-hosts.left:
		t.Error("the stream has ended")
	default:
	}
}
