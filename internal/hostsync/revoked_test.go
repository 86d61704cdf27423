package hostsync

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pki"
	"github.com/causeway-net/causeway/internal/revocation"
	"github.com/causeway-net/causeway/internal/testutil"
)

// signed are the files of a certificate of an authority that was opened in dir, with its
// revocation list.
func signed(t *testing.T, dir string, a *pki.Authority, kind pki.Kind, name string, addresses ...string) *TLSFiles {
	t.Helper()
	c, err := a.Issue(pki.Request{Kind: kind, Name: name, Addresses: addresses, Days: 1, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	f := &TLSFiles{CA: a.Path(pki.CAFile)}
	f.Cert, f.Key = c.Files()
	if f.Revoked, err = revocation.Load(a.Path(pki.CRLFile), f.CA, quiet()); err != nil {
		t.Fatal(err)
	}
	return f
}

// logLines is a logger whose warnings come out of a channel.
func logLines() (*slog.Logger, <-chan string) {
	lines := make(chan string, 100)
	return slog.New(slog.NewTextHandler(lineWriter(lines), &slog.HandlerOptions{Level: slog.LevelWarn})), lines
}

type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	select {
	case w <- string(b):
	default:
	}
	return len(b), nil
}

// TestRevoked revokes an agent's certificate, and then the controller's, while streams are
// open: they end with words at both ends that name the certificate, nobody comes in again, and a
// stream of another host goes on.
func TestRevoked(t *testing.T) {
	dir := t.TempDir()
	a, err := pki.Create(dir, "Site A", 10)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	hosts := newFakeHosts()
	server := signed(t, dir, a, pki.Controller, "c1", "127.0.0.1")
	s, err := NewServer(ServerOptions{Hosts: hosts, TLS: server, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	open := func(name string) (files *TLSFiles, lines <-chan string, to *sink) {
		files = signed(t, dir, a, pki.Host, name)
		log, lines := logLines()
		to = newSink()
		connect(t, ClientOptions{Targets: []string{l.Addr().String()}, TLS: files, Logger: log}, to)
		wait(t, hosts.came, "connection")
		wait(t, to.updates, "full state")
		return files, lines, to
	}
	_, badLines, _ := open("bad")
	goodFiles, goodLines, _ := open("good")

	if _, err := a.Revoke(pki.Host, "bad"); err != nil {
		t.Fatal(err)
	}
	server.Revoked.Look()
	if h := wait(t, hosts.left, "the end of the stream"); h != "bad" {
		t.Errorf("the stream of %s ended", h)
	}
	for range 2 { // the open stream, and the next
		if line := wait(t, badLines, "a warning"); !strings.Contains(line, "CN=bad") || !strings.Contains(line, "was revoked by its authority") {
			t.Errorf("the agent's log says: %s", line)
		}
	}

	if _, err := a.Revoke(pki.Controller, "c1"); err != nil {
		t.Fatal(err)
	}
	goodFiles.Revoked.Look()
	if h := wait(t, hosts.left, "the end of the stream"); h != "good" {
		t.Errorf("the stream of %s ended", h)
	}
	for range 2 {
		if line := wait(t, goodLines, "a warning"); !strings.Contains(line, "the controller: ") || !strings.Contains(line, "CN=c1") {
			t.Errorf("the agent's log says: %s", line)
		}
	}
	select {
	case h := <-hosts.came:
		t.Errorf("%s came in again", h)
	default:
	}
}

// TestAgentThatDoesNotRead: whoever takes nothing of what it is sent is cut off all the same, when its
// stream is to end.
func TestAgentThatDoesNotRead(t *testing.T) {
	hosts := newFakeHosts()
	for i := range 50000 { // far more than what is sent ahead
		k := model.NetworkKey(i + 1)
		hosts.state.Networks[k] = hoststate.Network{ID: model.NetworkID(strings.Repeat("n", 36)), Name: strings.Repeat("x", 200)}
	}
	s, err := NewServer(ServerOptions{Hosts: hosts, LocalHost: "h", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(unixCredentials{}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := pb.NewHostSyncClient(conn).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.FromAgent{Message: &pb.FromAgent_Hello{Hello: &pb.Hello{Protocol: Protocol}}}); err != nil {
		t.Fatal(err)
	}
	wait(t, hosts.came, "connection")
	var q *Queue
	testutil.Eventually(t, "the state is being sent", func() bool {
		hosts.mu.Lock()
		q = hosts.queue
		hosts.mu.Unlock()
		q.mu.Lock()
		defer q.mu.Unlock()
		return !q.waiting
	})
	q.Close(errors.New("it was deleted"))
	wait(t, hosts.left, "the end of the stream")
}
