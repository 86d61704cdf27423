package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// preloaded is a Python program that was loaded once and runs in a child for each
// command. The program and its modules are those that Debian has, unchanged.
type preloaded struct {
	socket string
	// stdin ends the program when it is closed, as it is when this process ends.
	stdin io.Closer
}

// clientPrograms are the clients' programs with the modules that are loaded before the
// first command. The program's own module is the first.
var clientPrograms = map[string][]string{
	"openstack": {"openstackclient.shell", "openstackclient.network.client", "openstack.connection", "openstack.network.v2._proxy"},
	"neutron":   {"neutronclient.shell", "neutronclient.v2_0.client", "networking_l2gw.l2gatewayclient.l2gw_client_ext._l2_gateway"},
}

var requestIDs = regexp.MustCompile(`req-[0-9a-f-]{36}`)

// preloadedPrograms has one of each, started when it is first asked for. They end with
// the tests' process.
var preloadedPrograms struct {
	sync.Mutex
	of map[string]*preloaded
}

// preload returns the program, started if it was not.
func preload(t *testing.T, name string) *preloaded {
	t.Helper()
	all := &preloadedPrograms
	all.Lock()
	defer all.Unlock()
	if p := all.of[name]; p != nil {
		return p
	}
	p, err := startPreloaded(name, clientPrograms[name]...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if all.of == nil {
		all.of = map[string]*preloaded{}
	}
	all.of[name] = p
	return p
}

// startPreloaded loads a program of Debian's. Its socket lies beside the program under
// test, and it ends with the process that called.
func startPreloaded(name string, modules ...string) (*preloaded, error) {
	dir := filepath.Dir(program)
	p := &preloaded{socket: filepath.Join(dir, name+".sock")}
	cmd := exec.Command(python, append([]string{"testdata/preloaded.py", p.socket, "/usr/bin/" + name}, modules...)...)
	cmd.Env = cloud{}.environment(dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		return nil, fmt.Errorf("%q, %v, %v\n%s", line, err, cmd.Wait(), errs.Bytes())
	}
	return p, nil
}

// run runs a command and returns what it printed, and an error if it failed.
func (p *preloaded) run(ctx context.Context, env, args []string) (string, error) {
	vars := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		vars[name] = value
	}
	request, err := json.Marshal(map[string]any{"args": args, "env": vars})
	if err != nil {
		return "", err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", p.socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := conn.Write(append(request, '\n')); err != nil {
		return "", err
	}
	out, err := io.ReadAll(conn)
	if err != nil {
		return string(out), err
	}
	i := bytes.LastIndex(out, []byte("\nexit "))
	if i < 0 {
		return string(out), fmt.Errorf("%s ended without an exit code", args)
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(out[i+len("\nexit "):])))
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	return string(out[:i]), err
}

// TestPreloaded holds a program that is loaded once to what the program itself prints
// and the code that it exits with.
func TestPreloaded(t *testing.T) {
	t.Parallel()
	testutil.RequireTool(t, "/usr/bin/openstack", "/usr/bin/neutron")
	c := noAuth(t)
	for _, line := range []string{"openstack network list", "openstack network show nothing", "openstack --nonsense", "neutron net-list", "neutron net-show nothing", "neutron --nonsense"} {
		words := strings.Fields(line)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		env := c.environment(t.TempDir())
		got, err := preload(t, words[0]).run(ctx, env, words[1:])
		cmd := exec.CommandContext(ctx, "/usr/bin/"+words[0], words[1:]...)
		cmd.Env = env
		want, wantErr := cmd.CombinedOutput()
		if (err == nil) != (wantErr == nil) {
			t.Errorf("%s: %v, by itself %v", line, err, wantErr)
		}
		if got, want := requestIDs.ReplaceAllString(got, "ID"), requestIDs.ReplaceAllString(string(want), "ID"); got != want {
			t.Errorf("%s prints\n%s\nby itself\n%s", line, got, want)
		}
	}
}
