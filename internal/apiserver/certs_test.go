package apiserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// logged is a log that tests read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// serve runs a server until the test ends.
func serve(t *testing.T, h http.Handler, o Options) net.Addr {
	t.Helper()
	return serveTelling(t, h, o, nil)
}

// serveTelling is serve, with tell told of the connections' states.
func serveTelling(t *testing.T, h http.Handler, o Options, tell func(net.Conn, http.ConnState)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(h, o)
	s.ConnState = tell
	done := make(chan error, 1)
	go func() { done <- Serve(s, l, o.Connections) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := testutil.Receive(t, "the server's end", done); err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return l.Addr()
}

// TestReload changes the certificate, and the clients' authority with it, below a
// live connection: that goes on, new ones see the new certificate, and a broken one
// changes nothing.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	first := testutil.SelfSigned(t, dir, "first")
	var log logged
	certs, err := LoadCerts(file("cert.pem"), file("key.pem"), file("cert.pem"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }), Options{Certs: certs})
	dial := func(cert tls.Certificate, pool *x509.CertPool) (*tls.Conn, error) {
		c, err := tls.Dial("tcp", addr.String(), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{cert}})
		if err == nil {
			t.Cleanup(func() { c.Close() })
			err = c.SetDeadline(time.Now().Add(testutil.Patience))
		}
		return c, err
	}
	ask := func(c *tls.Conn) error {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: api\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
			return fmt.Errorf("%q %w", b, err)
		}
		return nil
	}
	name := func(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].Subject.CommonName }
	live, err := dial(first.TLS, first.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(live); err != nil || name(live) != "first" {
		t.Fatal(err, name(live))
	}

	second := testutil.SelfSigned(t, dir, "second")
	certs.Look()
	if c, err := dial(second.TLS, second.CA); err != nil {
		t.Error(err)
	} else if err := ask(c); err != nil || name(c) != "second" {
		t.Errorf("after the change: %s, %v", name(c), err)
	}
	if c, err := dial(first.TLS, second.CA); err == nil && ask(c) == nil {
		t.Error("a client of the old authority is served")
	}
	if err := ask(live); err != nil {
		t.Errorf("the connection from before the change: %v", err)
	}

	testutil.Replace(t, file("cert.pem"), []byte("no certificate"))
	for range 3 {
		certs.Look()
		c, err := dial(second.TLS, second.CA)
		if err != nil {
			t.Fatal(err)
		}
		if err := ask(c); err != nil || name(c) != "second" {
			t.Errorf("with a broken file: %s, %v", name(c), err)
		}
	}
	if n := log.count("is not sound"); n != 1 {
		t.Errorf("said %d times that the certificate is broken", n)
	}
	// A key that is not the certificate's is as bad, and so is no file.
	if err := os.Remove(file("key.pem")); err != nil {
		t.Fatal(err)
	}
	certs.Look()
	if c, err := dial(second.TLS, second.CA); err != nil || name(c) != "second" {
		t.Errorf("without a key: %v", err)
	}

	third := testutil.SelfSigned(t, dir, "third")
	certs.Look()
	if c, err := dial(third.TLS, third.CA); err != nil || name(c) != "third" {
		t.Errorf("whole again: %v", err)
	}
	if n := log.count("has changed"); n != 2 {
		t.Errorf("said %d times that the certificate has changed", n)
	}
}

func TestBadCertsAtStart(t *testing.T) {
	dir := t.TempDir()
	testutil.SelfSigned(t, dir, "x")
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for _, c := range [][3]string{{"none", key, ""}, {cert, "none", ""}, {cert, key, "none"}, {cert, key, key}, {key, cert, ""}} {
		if _, err := LoadCerts(c[0], c[1], c[2], nil); err == nil {
			t.Errorf("%v was taken", c)
		}
	}
}
