package crash

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// TestStrangersOnAgentListen: a controller with as few descriptors as it starts with,
// and many more connections at --agent-listen that prove nothing than it has
// descriptors. The store goes on: writes are done, and those that were acknowledged are
// there after a restart.
func TestStrangersOnAgentListen(t *testing.T) {
	const descriptors, strangers, writers, each = 704, 1500, 4, 25
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "cw-strangers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert := testutil.SelfSigned(t, t.TempDir(), "controller")
	agents, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	start := func() (*process.Process, string) {
		cmd := process.Controller(program, dir, "127.0.0.1:0", "h0", "--log-format", "json", "--metrics-listen", "",
			"--agent-listen", agents, "--agent-tls-cert", cert.CertFile, "--agent-tls-key", cert.KeyFile, "--agent-tls-ca", cert.CAFile)
		cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors), cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		p, err := process.Start(cmd, filepath.Join(dir, "controller.log"))
		if err != nil {
			t.Fatal(err)
		}
		url, err := p.Serving(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p, url
	}
	p, url := start()

	// All at once, and as many again while the writers write. The listener may close
	// them; here they stay open to the end. Every second one says something.
	dial := func(n int) (open []net.Conn) {
		for i := range n {
			c, err := net.Dial("tcp", agents)
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
				break
			}
			open = append(open, c)
			if i%2 == 0 {
				_, _ = io.WriteString(c, "what is not TLS")
			}
		}
		return open
	}
	conns := dial(strangers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf(`{"network":{"name":"n-%d-%d"}}`, w, i)
				resp, err := http.Post(url+"/v2.0/networks", "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusCreated {
					t.Errorf("%s: %s", body, resp.Status)
				}
			}
		})
	}
	conns = append(conns, dial(strangers)...)
	testutil.Wait(t, "the writers", wg.Wait)
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID())); err != nil || len(files) > descriptors/2 {
		t.Errorf("%d of %d files are open, %v", len(files), descriptors, err)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if err := stop(p); err != nil {
		t.Fatal(err)
	}

	p, url = start()
	resp, err := http.Get(url + "/v2.0/networks?fields=name")
	if err != nil {
		t.Fatal(err)
	}
	list, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if n := strings.Count(string(list), `"n-`); err != nil || n != writers*each {
		t.Errorf("%d of %d networks are there after a restart, %v", n, writers*each, err)
	}
	if err := stop(p); err != nil {
		t.Error(err)
	}
}
