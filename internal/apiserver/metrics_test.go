package apiserver

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestServeMetrics: who holds many connections keeps nobody from the metrics, and the
// server ends in order.
func TestServeMetrics(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	go func() { done <- ServeMetrics(ctx, l, hello, Options{}) }()
	var held []net.Conn
	for range 3 * MetricsConnections {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		held = append(held, c)
	}
	ended := make(chan struct{}, len(held))
	for _, c := range held {
		go func() {
			_, _ = c.Read(make([]byte, 1))
			ended <- struct{}{}
		}()
	}
	for range 2 * MetricsConnections {
		testutil.Receive(t, "the end of a connection too many", ended)
	}
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	cancel()
	if err := testutil.Receive(t, "the end", done); err != nil {
		t.Error(err)
	}
}

func TestExposed(t *testing.T) {
	for addr, want := range map[net.Addr]bool{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}:   false,
		&net.TCPAddr{IP: net.IPv6loopback}:         false,
		&net.TCPAddr{IP: net.IPv4zero}:             true,
		&net.TCPAddr{IP: net.IPv6zero}:             true,
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}:   true,
		&net.UnixAddr{Name: "/run/s", Net: "unix"}: false,
	} {
		if got := Exposed(addr); got != want {
			t.Errorf("%v: %v", addr, got)
		}
	}
}
