package controller

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/testutil"
)

// rawRequests are what no client library would send; each is answered below 500, or
// cut.
func rawRequests(port string) map[string]string {
	head := func(method, path string, lines ...string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(lines, "", ""), "\r\n")
	}
	chunked := func(body string) string {
		return head("POST", "/v2.0/networks", "Transfer-Encoding: chunked") + body
	}
	return map[string]string{
		"no HTTP":                    "hello\r\n\r\n",
		"a TLS greeting":             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 100),
		"HTTP/0.9":                   "GET /\r\n\r\n",
		"HTTP/2.0 in the clear":      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/9.9":                   "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
		"no host":                    "GET /v2.0/networks HTTP/1.1\r\n\r\n",
		"a host with a space":        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"two hosts":                  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"an absolute target":         "GET http://other/v2.0/networks HTTP/1.1\r\nHost: x\r\n\r\n",
		"the target *":               head("OPTIONS", "*"),
		"CONNECT":                    "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
		"TRACE":                      head("TRACE", "/v2.0/networks"),
		"a method of its own":        head("B-REW", "/v2.0/networks"),
		"a length below zero":        head("POST", "/v2.0/networks", "Content-Length: -1"),
		"two lengths":                head("POST", "/v2.0/networks", "Content-Length: 2", "Content-Length: 3") + "{}",
		"a length and chunks":        head("POST", "/v2.0/networks", "Content-Length: 2", "Transfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n",
		"a length that lies":         head("POST", "/v2.0/networks", "Content-Length: 1000000", "Connection: close") + "{}",
		"chunks that are none":       chunked("zz\r\n{}\r\n"),
		"a chunk beyond all":         chunked("ffffffffffffffff\r\n{}\r\n"),
		"chunks without end":         chunked("2\r\n{}\r\n"),
		"a chunk with an extension":  chunked("2;" + strings.Repeat("x", 10_000) + "\r\n{}\r\n0\r\n\r\n"),
		"trailers":                   chunked("2\r\n{}\r\n0\r\nX-Auth-Token: y\r\n\r\n"),
		"a folded header":            head("GET", "/v2.0/networks", "X-A: b\r\n c"),
		"a header without a name":    head("GET", "/v2.0/networks", ": x"),
		"a header with NUL":          head("GET", "/v2.0/networks", "X-A: a\x00b"),
		"many headers":               head("GET", "/v2.0/networks", strings.Split(strings.TrimSpace(strings.Repeat("X-A: b\n", 5_000)), "\n")...),
		"a large header":             head("GET", "/v2.0/networks", "X-A: "+strings.Repeat("b", 200_000)),
		"a large target":             head("GET", "/v2.0/networks?name="+strings.Repeat("b", 200_000)),
		"a path out of the tree":     head("GET", "/v2.0/../../etc/passwd"),
		"a path with NUL":            head("GET", "/v2.0/networks/%00"),
		"a path that is no UTF-8":    head("GET", "/v2.0/networks/%ff%fe"),
		"a path with bytes":          head("GET", "/v2.0/networks/\xff\xfe"),
		"a bad escape":               head("GET", "/v2.0/networks/%zz"),
		"an escaped slash":           head("DELETE", "/v2.0/ports%2f"+port),
		"a tag with a slash":         head("PUT", "/v2.0/ports/"+port+"/tags/a%2fb"),
		"an upgrade":                 head("GET", "/v2.0/networks", "Connection: Upgrade", "Upgrade: websocket"),
		"expectations":               head("POST", "/v2.0/networks", "Expect: 100-continue", "Content-Length: 2") + "{}",
		"expectations of its own":    head("POST", "/v2.0/networks", "Expect: a miracle", "Content-Length: 2") + "{}",
		"deep in a trace":            body(head, "/v2.0/ports/"+port+"/trace", `{"trace":`+strings.Repeat("[", 100_000)+`}`),
		"a trace with odd numbers":   body(head, "/v2.0/ports/"+port+"/trace", `{"trace":{"to":"10.0.0.1","size":-1,"ttl":1e99}}`),
		"a trace of great size":      body(head, "/v2.0/ports/"+port+"/trace", `{"trace":{"to":"10.0.0.1","size":2147483647}}`),
		"a trace below nothing":      body(head, "/v2.0/ports/"+port+"/trace", `{"trace":{"to":"10.0.0.1","size":-5}}`),
		"a trace of null":            body(head, "/v2.0/ports/"+port+"/trace", `{"trace":null}`),
		"two values in a trace":      body(head, "/v2.0/ports/"+port+"/trace", `{"trace":{"to":"10.0.0.1"}} {"trace":1}`),
		"a probe of no router":       body(head, "/v2.0/routers/"+port+"/probe", `{"probe":{"target":"10.0.0.1","count":-1}}`),
		"a body that ends in escape": body(head, "/v2.0/networks", `{"network":{"name":"\`),
		"two bodies":                 body(head, "/v2.0/networks", `{"network":{}}{"network":{}}`),
	}
}

func body(head func(string, string, ...string) string, path, body string) string {
	return head("POST", path, fmt.Sprint("Content-Length: ", len(body))) + body
}

// TestRobust sends a running controller what no client library would, and clients
// that go in the middle. Nothing is a 5xx, nothing is left: no goroutine, no
// change, and the next client is served.
func TestRobust(t *testing.T) {
	l := start(t, socketDir(t))
	network := l.create("/v2.0/networks", "network", m{"name": "n"})
	l.create("/v2.0/subnets", "subnet", m{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})
	port := l.create("/v2.0/ports", "port", m{"network_id": network, "binding:host_id": "h0", "binding:profile": m{"interface_name": "tap1"}})
	snap, err := l.st.View(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	before := goroutines(t)
	const (
		gone = iota // the client goes at once
		half        // it closes its side and waits
		open        // it waits a moment, with its side open
	)
	send := func(name, request string, client int) {
		c, err := net.Dial("tcp", l.addrs.API.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		patience := deadline
		if client == open {
			patience = time.Second
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, request) // it may be cut in the middle
		switch client {
		case gone:
			return
		case half:
			_ = c.(*net.TCPConn).CloseWrite()
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() && client == half {
				t.Errorf("%s: hangs", name)
			}
			return // cut
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if strings.HasPrefix(name, "two values") && client == open && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s: %.300s", name, resp.Status, b)
		}
		if resp.StatusCode >= 500 && resp.StatusCode != http.StatusHTTPVersionNotSupported && resp.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: %s: %.300s", name, resp.Status, b)
		}
		if resp.StatusCode == http.StatusNotImplemented && bytes.Contains(b, []byte("NeutronError")) {
			t.Errorf("%s: %s from the API: %.300s", name, resp.Status, b) // net/http's own is for an encoding that it does not know
		}
	}
	for name, request := range rawRequests(port) {
		send(name, request, half)
		send(name, request[:len(request)/2], half)
		send(name, request, gone)
		send(name, request, open)
	}
	large := strings.Repeat("x", 10<<20)
	send("10 MB", fmt.Sprintf("POST /v2.0/networks HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(large))+large, half)
	http.DefaultClient.CloseIdleConnections()
	testutil.Eventually(t, fmt.Sprintf("%d goroutines", before), func() bool { return runtime.NumGoroutine() <= before })
	after, err := l.st.View(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if after.Revision() != snap.Revision() {
		t.Errorf("revision %d, and %d before", after.Revision(), snap.Revision())
	}
	if found := site.Check(after); len(found) > 0 {
		t.Error(found)
	}
	l.do("GET", "/v2.0/ports/"+port, nil, 200)
}

// goroutines is how many there are, once as many stay.
func goroutines(t *testing.T) int {
	t.Helper()
	n := 0
	testutil.Eventually(t, "as many goroutines as before", func() bool {
		was := n
		n = runtime.NumGoroutine()
		return n == was
	})
	return n
}
