package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
	"github.com/causeway-net/causeway/internal/testutil"
)

// verified runs the command as its user does, and gives its exit code and what it prints.
func (o *orchestrated) verified(file string, args ...string) (int, string) {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), program, append([]string{"peer", "verify", "--file", file, "--count", "3", "--interval", "20ms", "--wait", "300ms"}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestVerifyNamesEachOnce: what keeps tenants' packets from passing is found though the peer routers reach
// each other; it is named once, with a command; and the command, typed into a shell, mends it.
func TestVerifyNamesEachOnce(t *testing.T) {
	testutil.RequireTool(t, "openstack")
	o := newOrchestrated(t, 2, 2)
	o.apply()
	a, b := o.tenants[0], o.tenants[1]
	// A second network of site B's, so that one way can be whole where the other is not.
	second := b.site.create(client.Networks, client.Attrs{"name": "second"})
	sub := b.site.create(client.Subnets, client.Attrs{"network_id": second, "ip_version": 4, "cidr": "10.7.0.0/24"})
	b.site.addInterface(b.router, "subnet_id", sub)
	o.apply()
	file := o.file()
	whole := func(t *testing.T) {
		t.Helper()
		testutil.Succeeds(t, "all to pass", func() error {
			if code, out := o.verified(file); code != 0 || !strings.Contains(out, "into 3 of 3 networks of other sites") {
				return fmt.Errorf("exit code %d\n%s", code, out)
			}
			return nil
		})
		o.reach("vm-a", "10.0.1.3")
	}
	whole(t)
	bin := t.TempDir()
	if err := os.Symlink(program, filepath.Join(bin, "causeway")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		breaks  func()
		words   string // of the finding
		ways    []string
		command string
		answer  string // that the command wants
	}{
		{"a route removed on the tenant's router", func() {
			a.site.update(client.Routers, a.router, client.Attrs{"routes": []client.Attrs{{"destination": "10.7.0.0/24", "nexthop": "192.168.0.2"}}})
		}, "site-a: peer router t-router: the route to 10.0.1.0/24 by 192.168.0.2 is missing", []string{"site-a → site-b, 10.0.1.0/24", "site-b → site-a, 10.0.0.0/24"},
			"causeway peer apply --file " + file, " --yes"},
		{"the far network disabled", func() { b.site.update(client.Networks, b.network, client.Attrs{"admin_state_up": false}) },
			"site-b: network t-net (" + b.network + "): it is disabled", []string{"site-a → site-b, 10.0.1.0/24"}, "openstack network set --enable " + b.network, ""},
		{"the tenant's router disabled", func() { b.site.update(client.Routers, b.router, client.Attrs{"admin_state_up": false}) },
			"site-b: router t-router (" + b.router + "): it is disabled", []string{"site-a → site-b", "site-b → site-a"}, "openstack router set --enable " + b.router, ""},
	} {
		o.sub(c.name, func(t *testing.T) {
			c.breaks()
			var f verify.Finding
			testutil.Succeeds(t, "it to be found", func() error {
				code, out := o.verified(file, "-f", "json")
				var all []verify.Result
				if err := json.Unmarshal([]byte(out), &all); err != nil {
					return err
				}
				if code != 1 || len(all) != 1 || all[0].Passes || len(all[0].Findings) != 1 {
					return fmt.Errorf("exit code %d\n%s", code, out)
				}
				f = all[0].Findings[0]
				for _, w := range c.ways {
					if !strings.Contains(strings.Join(f.Ways, "\n")+"\n", w+"\n") {
						return fmt.Errorf("no %q among %q", w, f.Ways)
					}
				}
				if strings.Contains(strings.Join(f.Ways, " "), "10.7.0.0/24") && len(c.ways[0]) > len("site-a → site-b") {
					return fmt.Errorf("the whole way into 10.7.0.0/24 is among %q", f.Ways)
				}
				return nil
			})
			if !strings.HasPrefix(f.String(), c.words) || !strings.Contains(f.Command, c.command) {
				t.Errorf("%s\n%s", f, f.Command)
			}
			code, out := o.verified(file)
			if code != 1 || strings.Count(out, c.words) != 1 || strings.Count(out, "Mend it with:") != 1 || !strings.Contains(out, f.Command) {
				t.Errorf("exit code %d\n%s", code, out)
			}
			if got := o.ping("vm-a", "10.0.1.3", 2); got != 0 {
				t.Errorf("%d of the tenant's packets pass all the same", got)
			}
			sh := exec.CommandContext(t.Context(), "sh", "-c", f.Command+c.answer)
			sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			if out, err := sh.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", f.Command, err, out)
			}
			whole(t)
		})
	}
}
