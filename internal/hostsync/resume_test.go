package hostsync

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// resumer is a sink that goes on from what it has.
type resumer struct {
	*sink
	mu    sync.Mutex
	known bool
	// during, if not nil, runs while an update is taken.
	during func(Update)
}

func (r *resumer) Update(ctx context.Context, u Update) {
	r.mu.Lock()
	u.Delta = r.state.Resolve(u.Delta)
	r.known = true
	if r.during != nil {
		r.during(u)
	}
	r.sink.Update(ctx, u)
	r.mu.Unlock()
}

func (r *resumer) Have(context.Context) (Have, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Have{r.state.Digests(), r.state.Clone()}, r.known
}

// counted counts what comes in by a listener's connections.
type counted struct {
	net.Listener
	in, out *atomic.Int64
}

type countedConn struct {
	net.Conn
	in, out *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConn{c, l.in, l.out}, nil
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Add(int64(n))
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Add(int64(n))
	return n, err
}

// restartable is a server on one address that can be ended and started.
func restartable(t *testing.T, hosts Hosts) (target string, start func() *Server) {
	path := filepath.Join(t.TempDir(), "s")
	return "unix://" + path, func() *Server {
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
}

// TestResume: an agent that comes again is sent what differs: nothing, or that, whatever it was
// that it had; and one that has nothing everything.
func TestResume(t *testing.T) {
	hosts := newFakeHosts()
	hosts.change(setPort(1, "p1"))
	target, start := restartable(t, hosts)
	server := start()
	r := &resumer{sink: newSink()}
	c, _ := connect(t, ClientOptions{Targets: []string{target}}, r)
	if u := wait(t, r.updates, "full state"); !u.Delta.Full || !u.First {
		t.Fatalf("%+v", u)
	}
	c.Report(Report{Revision: hosts.rev, Ports: []PortReport{{"p1", model.PortDown, "gone"}}})
	wait(t, hosts.reports, "report")
	again := func(change func()) received {
		t.Helper()
		server.Close()
		wait(t, hosts.left, "disconnection")
		change()
		server = start()
		return wait(t, r.updates, "first update of the next stream")
	}
	if u := again(func() {}); !u.First || !u.Delta.Empty() || u.Delta.Revision != hosts.rev {
		t.Errorf("nothing has changed, and it is sent %+v", u.Delta)
	}
	// What it has reported is said again, of the ports that it has.
	if rep := wait(t, hosts.reports, "report to the second"); len(rep.Ports) != 1 || rep.Ports[0].Reason != "gone" {
		t.Errorf("%+v", rep)
	}
	// Revisions begin anew, as after a restore.
	u := again(func() {
		hosts.rev = 0
		hosts.change(setPort(2, "p2"))
	})
	if u.Delta.Full || u.Delta.Revision != 1 || len(u.Delta.Set.Ports) != 1 || u.Delta.Unset.Len() != 0 || !u.State.Equal(hosts.state) {
		t.Errorf("a port more, and it is sent %+v", u.Delta)
	}
	u = again(func() {
		r.mu.Lock()
		delete(r.state.Ports, 2)
		r.state.Ports[9] = hoststate.Port{ID: "ghost"}
		r.mu.Unlock()
	})
	if u.Delta.Full || len(u.Delta.Set.Ports) != 1 || len(u.Delta.Unset.Ports) != 1 || !u.State.Equal(hosts.state) {
		t.Errorf("it has lost a port, and has one that is none, and it is sent %+v", u.Delta)
	}
	u = again(func() {
		r.mu.Lock()
		r.known = false
		r.mu.Unlock()
	})
	if !u.Delta.Full || !u.State.Equal(hosts.state) {
		t.Errorf("it has nothing, and it is sent %+v", u.Delta)
	}
	server.Close()
}

// TestRestartedAgentResumes: one that has read what it had from its journal has no port's report
// passed on that the host does not have, and says of the others what it finds.
func TestRestartedAgentResumes(t *testing.T) {
	hosts := newFakeHosts()
	hosts.change(setPort(1, "p1"))
	target, _ := serve(t, hosts)
	r := &resumer{sink: newSink(), known: true}
	r.state = hosts.state.Clone()
	c, _ := connect(t, ClientOptions{Targets: []string{target}}, r)
	if u := wait(t, r.updates, "update"); !u.Delta.Empty() {
		t.Fatalf("%+v", u)
	}
	c.Report(Report{Ports: []PortReport{{"p1", model.PortActive, ""}, {"other", model.PortActive, ""}}})
	if rep := wait(t, hosts.reports, "report"); len(rep.Ports) != 1 || rep.Ports[0].ID != "p1" {
		t.Errorf("%+v", rep)
	}
}

// TestOldRevisionsAcknowledgeNothing: what was applied before a connection is not said to be applied on it
// before its first update is.
func TestOldRevisionsAcknowledgeNothing(t *testing.T) {
	hosts := newFakeHosts()
	hosts.rev = 7
	target, start := restartable(t, hosts)
	server := start()
	r := &resumer{sink: newSink()}
	c, _ := connect(t, ClientOptions{Targets: []string{target}}, r)
	wait(t, r.updates, "full state")
	c.Report(Report{Revision: 7})
	if rep := wait(t, hosts.reports, "report"); rep.Revision != 7 {
		t.Fatalf("%+v", rep)
	}
	server.Close()
	wait(t, hosts.left, "disconnection")
	hosts.rev = 5 // of another history
	for len(hosts.reports) > 0 {
		<-hosts.reports
	}
	r.mu.Lock()
	r.during = func(u Update) {
		c.Report(Report{Revision: 7, UnderlayMTU: 1500}) // not known to have applied it yet
		c.Report(Report{Revision: u.Delta.Revision})
	}
	r.mu.Unlock()
	server = start()
	defer server.Close()
	for {
		rep := wait(t, hosts.reports, "report of the second history")
		if rep.Revision == 5 {
			return
		}
		if rep.Revision != 0 {
			t.Fatalf("revision %d is acknowledged to a controller that is at 5", rep.Revision)
		}
	}
}

// relay passes connections on to a unix socket until its listener ends.
func relay(l net.Listener, path string) {
	for {
		a, err := l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("unix", path)
		if err != nil {
			a.Close()
			return
		}
		go func() { io.Copy(b, a); b.Close() }()
		go func() { io.Copy(a, b); a.Close() }()
	}
}

// TestReconnectIsSmall: a reconnection with nothing changed takes at most 4 KB.
func TestReconnectIsSmall(t *testing.T) {
	hosts := newFakeHosts()
	for i := range 5000 {
		hosts.change(setPort(model.PortKey(i+1), fmt.Sprint("p", i)))
	}
	s, err := NewServer(ServerOptions{Hosts: hosts, LocalHost: "h0", Version: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var in, out atomic.Int64
	r := &resumer{sink: newSink(), known: true}
	r.state = hosts.state.Clone()
	c, err := NewClient(ClientOptions{Targets: []string{"unix://" + path + "-front"}, Version: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	// unixCredentials look at the connection itself: count what passes them.
	front, err := net.Listen("unix", path+"-front")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	run(t, s, l)
	go relay(counted{front, &in, &out}, path)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, r) }()
	u := wait(t, r.updates, "update")
	cancel()
	wait(t, done, "end")
	if !u.Delta.Empty() || in.Load()+out.Load() == 0 || in.Load()+out.Load() > 4096 {
		t.Errorf("%d bytes came and %d went for %+v", in.Load(), out.Load(), u.Delta)
	}
	t.Logf("%d bytes came, %d went", in.Load(), out.Load())
}

func TestBadHave(t *testing.T) {
	many := &pb.Have{}
	for range maxHave + 1 {
		many.Groups = append(many.Groups, &pb.GroupDigest{Group: &pb.Group{Kind: 1}, Digest: make([]byte, 32)})
	}
	for name, m := range map[string]*pb.Have{
		"nothing":      nil,
		"too many":     many,
		"short digest": {Groups: []*pb.GroupDigest{{Group: &pb.Group{Kind: 1}, Digest: make([]byte, 31)}}},
		"no group":     {Groups: []*pb.GroupDigest{{Digest: make([]byte, 32)}}},
		"unknown kind": {Groups: []*pb.GroupDigest{{Group: &pb.Group{Kind: 9}, Digest: make([]byte, 32)}}},
		"long name":    {Groups: []*pb.GroupDigest{{Group: &pb.Group{Kind: 4, Name: strings.Repeat("x", 1000)}, Digest: make([]byte, 32)}}},
	} {
		if ds, err := decodeHave(m); err == nil {
			t.Errorf("%s: taken as %d groups", name, len(ds))
		}
	}
}
