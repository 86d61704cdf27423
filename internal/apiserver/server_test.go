package apiserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// short are limits that a test can wait for.
var short = Options{Header: 200 * time.Millisecond, Body: 400 * time.Millisecond, Reply: 600 * time.Millisecond, Idle: 200 * time.Millisecond}

// patience is what a client that is cut waits at most.
const patience = 20 * time.Second

func dial(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t *testing.T, c net.Conn) error {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// TestSlowClients: whoever says nothing, half a header, half a body, or does not read
// the answer is cut, and its handler ends.
func TestSlowClients(t *testing.T) {
	ended := make(chan string, 10)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil && r.URL.Path == "/large" {
			piece := make([]byte, 64<<10)
			for range 4096 { // more than any socket buffer
				if _, err = w.Write(piece); err != nil {
					break
				}
			}
		}
		ended <- fmt.Sprint(r.URL.Path, " ", err != nil)
	})
	addr := serve(t, h, short)
	for name, c := range map[string]struct{ send, want string }{
		"nothing":     {"", ""},
		"half a line": {"GET / HT", ""},
		"half header": {"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", ""},
		"half body":   {"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", "/body true"},
		"chunks":      {"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "/chunks true"},
	} {
		conn := dial(t, addr)
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: not cut: %v", name, err)
		}
		if c.want != "" {
			select {
			case got := <-ended:
				if got != c.want {
					t.Errorf("%s: the handler ended with %s", name, got)
				}
			case <-time.After(patience):
				t.Fatalf("%s: the handler did not end", name)
			}
		}
	}
	reader := dial(t, addr)
	if _, err := io.WriteString(reader, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-ended:
		if got != "/large true" {
			t.Errorf("a client that does not read: the handler ended with %s", got)
		}
	case <-time.After(patience):
		t.Error("a client that does not read holds its handler")
	}
}

// TestLargeHeader: a header beyond the limit is refused, without the handler.
func TestLargeHeader(t *testing.T) {
	addr := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("served") }), Options{})
	conn := dial(t, addr)
	go func() {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n") // cut in the middle
	}()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.Contains(line, "431") {
		t.Errorf("%q", line)
	}
}

// TestConnections: idle connections make room for new ones, those at work do not.
func TestConnections(t *testing.T) {
	// A client has its answer before the server knows that the connection is idle,
	// so the next step waits for that.
	started, finish, idle := make(chan struct{}, 10), make(chan struct{}), make(chan struct{}, 20)
	addr := serveTelling(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/work" {
			started <- struct{}{}
			<-finish
		}
	}), Options{Connections: 3}, func(_ net.Conn, s http.ConnState) {
		if s == http.StateIdle {
			idle <- struct{}{}
		}
	})
	served := func(c net.Conn) {
		t.Helper()
		if err := get(t, c); err != nil {
			t.Fatal(err)
		}
		testutil.Receive(t, "an idle connection", idle)
	}
	var first net.Conn
	for range 3 {
		c := dial(t, addr)
		served(c)
		if first == nil {
			first = c
		}
	}
	for range 3 { // idle connections keep no client out
		served(dial(t, addr))
	}
	if err := get(t, first); err == nil {
		t.Error("the connection that was idle longest is still there")
	}
	var busy []net.Conn
	release := sync.OnceFunc(func() { close(finish) })
	t.Cleanup(release)
	for range 3 {
		c := dial(t, addr)
		if _, err := io.WriteString(c, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		testutil.Receive(t, "a request's handler", started)
		busy = append(busy, c)
	}
	if err := get(t, dial(t, addr)); err == nil {
		t.Error("a connection beyond the limit was served")
	}
	release()
	for _, c := range busy {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("a connection at work was cut: %v", err)
		}
		resp.Body.Close()
		testutil.Receive(t, "an idle connection", idle)
	}
	served(dial(t, addr)) // there is room again
}

// TestGreedyClient: a client that begins a request on every connection that there can
// be, and ends none, keeps no other client out, be it that nobody reads its bodies; nor
// does one take from another that has no more than it.
func TestGreedyClient(t *testing.T) {
	active := make(chan struct{}, 20)
	addr := serveTelling(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Options{Connections: 4}, func(_ net.Conn, s http.ConnState) {
		if s == http.StateActive {
			active <- struct{}{}
		}
	})
	from := func(client string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
		c, err := d.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	begin := func(client string) net.Conn {
		t.Helper()
		c := from(client)
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-active:
		case <-time.After(patience):
			t.Fatal("waited in vain for a request to begin")
		}
		return c
	}
	var greedy []net.Conn
	for range 4 {
		greedy = append(greedy, begin("127.0.0.1"))
	}
	if err := get(t, from("127.0.0.1")); err == nil {
		t.Error("a client beyond the limit was served in its own place")
	}
	begin("127.0.0.2")
	begin("127.0.0.2")
	for i, c := range greedy[:2] {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d of the greedy client is still there: %v", i, err)
		}
	}
	if err := get(t, from("127.0.0.2")); err == nil {
		t.Error("a client that has as many took another's place")
	}
	if err := get(t, from("127.0.0.3")); err != nil {
		t.Errorf("a client that has none was kept out: %v", err)
	}
}

// TestFewFields: a header of very many fields is refused before anything looks at it.
func TestFewFields(t *testing.T) {
	served := 0
	s := New(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }), Options{})
	for n, want := range map[int]int{10: http.StatusOK, maxFields: http.StatusOK, maxFields + 1: http.StatusRequestHeaderFieldsTooLarge} {
		for _, name := range []string{"X-Same", "X-%d"} {
			r := httptest.NewRequest("GET", "/", nil)
			for i := range n {
				if name == "X-%d" {
					r.Header.Add(fmt.Sprintf(name, i), "x")
				} else {
					r.Header.Add(name, "x")
				}
			}
			w := httptest.NewRecorder()
			s.Handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%d of %s: %d", n, name, w.Code)
			}
		}
	}
	if served != 4 {
		t.Errorf("%d were served", served)
	}
}
