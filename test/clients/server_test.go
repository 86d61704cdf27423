package clients

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// program is the causeway program under test, built once for all tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(testutil.MainWithProgram(m, "../../cmd/causeway", func(path string) { program = path }))
}

// patience is far beyond what anything here takes.
const patience = time.Minute

// tempDir is short enough for a unix socket, wherever the tests run.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw-clients-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// run starts a child that ends with the test, and with the test's process however
// that ends. log is its output.
func run(t *testing.T, cmd *exec.Cmd, log string) *process.Process {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p, err := process.Start(cmd, log)
	if err != nil {
		t.Fatal(err)
	}
	untilEnd(t, p)
	return p
}

// untilEnd lets a process run as long as the test.
func untilEnd(t *testing.T, p *process.Process) {
	t.Cleanup(func() {
		if err := p.Ended(); err != nil {
			t.Error(err)
			return
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	addr, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// newController starts a controller, without authentication if args do not say so, and
// returns its URL.
func newController(t *testing.T, args ...string) string {
	t.Helper()
	p, url, err := process.StartController(t.Context(), program, tempDir(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	untilEnd(t, p)
	return url
}

// recorder stands between clients and a controller and keeps what goes by.
type recorder struct {
	url   string
	close func() // ends it before the test ends

	mu    sync.Mutex
	calls []call
}

type call struct {
	method, path, body string // path has the query
	status             int
	answer             string
	requestID          string
}

func (c call) String() string {
	text := c.method + " " + c.path
	if c.body != "" {
		text += " " + c.body
	}
	return fmt.Sprintf("%s\n%d %s", text, c.status, c.answer)
}

type bodyKey struct{}

// newRecorder starts one in front of the controller at target.
func newRecorder(t *testing.T, target string) *recorder {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	proxy := &httputil.ReverseProxy{
		// The Host header stays the recorder's, so that links lead back to it.
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = u.Scheme, u.Host
			p.Out.Host = p.In.Host
		},
		ModifyResponse: func(resp *http.Response) error {
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			resp.Body = io.NopCloser(bytes.NewReader(b))
			sent, _ := resp.Request.Context().Value(bodyKey{}).(string)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.calls = append(r.calls, call{resp.Request.Method, resp.Request.URL.RequestURI(), sent, resp.StatusCode,
				strings.TrimSpace(string(b)), resp.Header.Get("X-Openstack-Request-Id")})
			return nil
		},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(b))
		proxy.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), bodyKey{}, string(b))))
	}))
	r.close = sync.OnceFunc(s.Close)
	t.Cleanup(r.close)
	r.url = s.URL
	return r
}

// take returns what has gone by since the last time, but for the look at the
// versions with which the openstack client begins.
func (r *recorder) take() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []call
	for _, c := range r.calls {
		if c.path != "/" {
			out = append(out, c)
		}
	}
	r.calls = nil
	return out
}
