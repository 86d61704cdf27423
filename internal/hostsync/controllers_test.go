package hostsync

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

func TestOrderOfControllers(t *testing.T) {
	targets := []string{"a", "b", "c"}
	first := map[string]bool{}
	for range 200 {
		c := newControllers(targets)
		if got := slices.Sorted(slices.Values(c.all)); !slices.Equal(got, targets) {
			t.Fatal(got)
		}
		first[c.now()] = true
	}
	if len(first) != 3 {
		t.Errorf("agents begin with %v", first)
	}
	c := controllers{all: targets}
	for i, want := range []struct {
		well, all bool
		now       string
	}{{false, false, "b"}, {false, false, "c"}, {false, true, "a"}, {true, false, "b"}, {false, false, "c"}, {false, true, "a"}, {false, false, "b"}, {true, false, "c"}} {
		if all := c.next(want.well); all != want.all || c.now() != want.now {
			t.Errorf("%d: all %v, now %s", i, all, c.now())
		}
	}
	alone := controllers{all: targets[:1]}
	if !alone.next(true) || !alone.next(false) || alone.now() != "a" {
		t.Error("one alone is all")
	}
}

// An agent goes on with another controller when its own ends, and comes back when that is there again;
// what only takes connections is no controller.
func TestSeveralControllers(t *testing.T) {
	dir := t.TempDir()
	target := func(name string) string { return "unix://" + filepath.Join(dir, name) }
	start := func(name string, hosts Hosts) *Server {
		s, err := NewServer(ServerOptions{Hosts: hosts, LocalHost: "h0", Version: "test", Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		run(t, s, l)
		return s
	}
	hosts := map[string]*fakeHosts{"a": newFakeHosts(), "b": newFakeHosts(), "c": newFakeHosts()}
	c, err := NewClient(ClientOptions{Targets: []string{target("a"), target("b"), target("c")}, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	c.controllers.homeAfter, c.controllers.least = 20*time.Millisecond, 20*time.Millisecond
	own, next := filepath.Base(c.controllers.all[0]), filepath.Base(c.controllers.all[1])
	servers := map[string]*Server{}
	for name := range hosts {
		servers[name] = start(name, hosts[name])
	}
	sink := newSink()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, sink) }()
	defer func() {
		cancel()
		if err := wait(t, done, "end of the client"); err != nil {
			t.Error(err)
		}
	}()
	wait(t, hosts[own].came, "agent at its own controller")
	wait(t, sink.updates, "state")
	servers[own].Close()
	wait(t, hosts[next].came, "agent at the next controller")
	wait(t, sink.updates, "state")

	mute, err := net.Listen("unix", filepath.Join(dir, own))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		conn, err := mute.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	mute.Close()
	select {
	case <-hosts[next].left:
		t.Fatal("the agent left for what is no controller")
	default:
	}
	start(own, hosts[own])
	wait(t, hosts[own].came, "agent back at its own controller")
	wait(t, hosts[next].left, "end at the other")
	if n := len(hosts[next].came) + len(hosts[own].came); n > 0 {
		t.Errorf("%d connections more", n)
	}
}

// hungHosts is a controller whose store does not answer.
type hungHosts struct{ *fakeHosts }

func (h hungHosts) Connect(ctx context.Context, host model.HostName, _ Agent) (*Queue, error) {
	h.came <- host
	<-ctx.Done()
	return nil, ctx.Err()
}

// A controller that says nothing, or sends the agent away, keeps it from no other.
func TestControllersThatDoNotServe(t *testing.T) {
	refusing, hung := newFakeHosts(), newFakeHosts()
	refusing.refuse = errors.New("not now")
	for name, home := range map[string]Hosts{"hung": hungHosts{hung}, "refusing": refusing} {
		t.Run(name, func(t *testing.T) {
			target, _ := serve(t, home)
			well := newFakeHosts()
			other, _ := serve(t, well)
			c, err := NewClient(ClientOptions{Targets: []string{target, other}, Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			c.controllers.all = []string{target, other}
			c.controllers.homeAfter, c.patience = 20*time.Millisecond, 200*time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			sink := newSink()
			go func() { done <- c.Run(ctx, sink) }()
			for range 4 { // it looks for its own, and is back
				wait(t, well.came, "agent at the other controller")
				wait(t, sink.updates, "state")
			}
			cancel()
			if err := wait(t, done, "end of the client"); err != nil {
				t.Error(err)
			}
			if c.controllers.homeAfter < 8*20*time.Millisecond {
				t.Errorf("it looks for its own each %v", c.controllers.homeAfter)
			}
		})
	}
}
