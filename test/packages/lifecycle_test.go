//go:build packages

package packages

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/docs"
	"github.com/causeway-net/causeway/test/process"
)

// machine is a Debian that was made for a test, with its own systemd, processes and network.
type machine struct {
	t    *testing.T
	root string
	pid  string // of its systemd
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: filepath.Join(t.TempDir(), "root")}
	run(t, "mmdebstrap", "--variant=minbase", "--include=systemd,iproute2,iputils-ping,curl,logrotate", suite(t), m.root)
	log := filepath.Join(t.TempDir(), "log")
	group := fmt.Sprintf("causeway-test-%d", os.Getpid())
	init, err := process.Start(exec.Command("testdata/boot", m.root, group), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = init.Kill()
		groups := t.TempDir()
		run(t, "mount", "-t", "cgroup2", "cgroup2", groups)
		defer run(t, "umount", groups)
		testutil.Succeeds(t, "the machine's control group is removed", func() error {
			out, err := exec.Command("find", filepath.Join(groups, group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out) // its processes are still ending
			}
			return nil
		})
		if t.Failed() {
			t.Log(init.Tail())
		}
	})
	testutil.Succeeds(t, "a machine's systemd", func() error {
		if err := init.Ended(); err != nil {
			return err
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", init.PID()))
		if err != nil {
			return err
		}
		if m.pid = strings.TrimSpace(string(b)); m.pid == "" {
			return fmt.Errorf("%s", init.Tail())
		}
		return m.try("test -S /run/systemd/private")
	})
	m.until("the machine is up", "systemctl is-system-running | grep -qE 'running|degraded'")
	return m
}

func suite(t *testing.T) string {
	t.Helper()
	return run(t, "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME")
}

func (m *machine) command(script string) *exec.Cmd {
	return exec.Command("nsenter", "-t", m.pid, "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "sh", "-ec", script)
}

func (m *machine) try(script string) error {
	out, err := m.command(script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return nil
}

// sh runs a script in the machine and returns what it prints.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.command(script).CombinedOutput()
	if err != nil {
		journal, _ := m.command("journalctl --no-pager -n 60 -o cat").CombinedOutput()
		m.t.Fatalf("%s: %v\n%s\n%s", script, err, out, journal)
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) until(what, script string) {
	m.t.Helper()
	testutil.Succeeds(m.t, what, func() error { return m.try(script) })
}

func (m *machine) pidOf(unit string) string { return m.sh("systemctl show -P MainPID " + unit) }

// give copies packages into the machine.
func (m *machine) give(debs map[string]string) {
	m.t.Helper()
	m.sh("rm -rf /srv/*.deb")
	for _, d := range debs {
		run(m.t, "cp", d, filepath.Join(m.root, "srv"))
	}
}

// post makes a resource by the API and returns its id.
func (m *machine) post(collection, body string) string {
	m.t.Helper()
	return m.sh("curl -sSf -X POST -H 'Content-Type: application/json' -d '" + body + "' http://127.0.0.1:9696/v2.0/" + collection +
		` | sed -n 's/.*"id":"\([^"]*\)".*/\1/p'`)
}

func (m *machine) put(path, body string) {
	m.t.Helper()
	m.sh("curl -sSf -o /dev/null -X PUT -H 'Content-Type: application/json' -d '" + body + "' http://127.0.0.1:9696/v2.0/" + path)
}

// newer makes packages of a greater version of the same.
func newer(t *testing.T, debs map[string]string) map[string]string {
	t.Helper()
	old := run(t, "dpkg-deb", "-f", debs["causeway"], "Version")
	out := map[string]string{}
	for name, deb := range debs {
		tree := filepath.Join(t.TempDir(), name)
		run(t, "dpkg-deb", "-R", deb, tree)
		control := filepath.Join(tree, "DEBIAN", "control")
		b, err := os.ReadFile(control)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(control, []byte(strings.ReplaceAll(string(b), old, old+".newer")), 0o644); err != nil {
			t.Fatal(err)
		}
		out[name] = tree + "_newer.deb"
		run(t, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, out[name])
	}
	return out
}

// shown runs what a block of the installation guide shows, where the packages are.
func (m *machine) shown(name string) {
	m.t.Helper()
	page, err := os.ReadFile("../../docs/installation.md")
	if err != nil {
		m.t.Fatal(err)
	}
	commands, expect, err := docs.Commands(string(page), name)
	if err != nil {
		m.t.Fatal(err)
	}
	for i, c := range commands {
		if out := m.sh("cd /srv; " + strings.TrimPrefix(c, "sudo ")); expect[i] != "" && out != expect[i] {
			m.t.Errorf("%s prints\n%s\nwhere the page shows\n%s", c, out, expect[i])
		}
	}
}

const services = "causeway-controller causeway-agent"

// TestLifecycle: packages are installed on a machine, their services run, take SIGHUP, come
// back when killed, are upgraded under traffic that loses nothing, and are removed; what is in
// the kernel stays until the agent is purged, and then all of it goes.
func TestLifecycle(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireTool(t, "mmdebstrap", "dpkg-deb")
	debs := build(t)
	m := newMachine(t)
	m.give(debs)
	m.shown("install")
	m.until("the services are active", "test $(systemctl is-active "+services+" | grep -cx active) = 2")
	ready := "curl -sSf http://127.0.0.1:9697/readyz && curl -sSf http://127.0.0.1:9698/readyz && causeway agent status"
	m.until("both are ready", ready)
	m.shown("restart")
	m.until("both are ready", ready)
	m.shown("well")
	m.shown("journal")
	m.until("health is active", "systemctl is-active causeway-health && curl -sSf http://127.0.0.1:9699/readyz && causeway health status")
	if user := m.sh("stat -c %U /proc/" + m.pidOf("causeway-controller") + "/status"); user != "causeway" {
		t.Errorf("the controller runs as %s", user)
	}
	m.sh("man=$(zcat /usr/share/man/man1/causeway-agent.1.gz); test -n \"$man\"; bash -n /usr/share/bash-completion/completions/causeway; logrotate -d /etc/logrotate.d/causeway-controller")

	// A workload behind its router.
	m.sh(`ip netns add vm; ip link add tap0 type veth peer name eth0 netns vm; ip link set tap0 up
		ip -n vm link set eth0 address fa:16:3e:00:00:05; ip -n vm link set eth0 up; ip -n vm link set lo up
		ip -n vm addr add 10.0.0.5/24 dev eth0`)
	network := m.post("networks", `{"network":{"name":"n"}}`)
	subnet := m.post("subnets", `{"subnet":{"network_id":"`+network+`","ip_version":4,"cidr":"10.0.0.0/24","enable_dhcp":false}}`)
	router := m.post("routers", `{"router":{"name":"r"}}`)
	m.put("routers/"+router+"/add_router_interface", `{"subnet_id":"`+subnet+`"}`)
	host := m.sh("hostname")
	m.post("ports", `{"port":{"name":"p","network_id":"`+network+`","mac_address":"fa:16:3e:00:00:05","fixed_ips":[{"ip_address":"10.0.0.5"}]}}`)
	m.sh("OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9696 causeway port bind p --host " + host + " --interface tap0")
	const ping = "ip netns exec vm ping -c 1 -W 2 10.0.0.1"
	m.until("the router answers", ping)

	for _, unit := range strings.Fields(services) {
		pid := m.pidOf(unit)
		m.shown("reload")
		if now := m.pidOf(unit); now != pid || m.sh("systemctl is-active "+unit) != "active" {
			t.Errorf("%s after a reload: process %s, before it %s", unit, now, pid)
		}
		m.sh("kill -KILL " + pid)
		m.until(unit+" is back", "test $(systemctl show -P MainPID "+unit+") != "+pid+" && systemctl is-active "+unit)
	}
	m.until("both are ready again", ready)

	// An upgrade under pings, fifty a second.
	flood := m.command("exec ip netns exec vm ping -i 0.02 10.0.0.1")
	var said strings.Builder
	flood.Stdout = &said
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	before := m.pidOf("causeway-controller") + " " + m.pidOf("causeway-agent")
	health := m.pidOf("causeway-health")
	m.give(newer(t, debs))
	m.shown("upgrade")
	m.until("both are ready after the upgrade", ready)
	if after := m.pidOf("causeway-controller") + " " + m.pidOf("causeway-agent"); after == before {
		t.Error("the upgrade restarted neither")
	}
	if now := m.pidOf("causeway-health"); now != health {
		t.Errorf("the upgrade restarted causeway-health: process %s, before it %s", now, health)
	}
	m.sh("systemctl reload causeway-health; systemctl restart causeway-health")
	m.until("health is active again", "systemctl is-active causeway-health && causeway health status")
	t.Log(m.sh("causeway health status"))
	m.sh("kill -INT $(ip netns pids vm)")
	if err := testutil.Exit(t, flood); err != nil || !strings.Contains(said.String(), " 0% packet loss") {
		t.Errorf("pings under the upgrade: %v\n%s", err, said.String()[max(0, said.Len()-300):])
	} else {
		t.Log(strings.TrimSpace(said.String()[strings.LastIndex(said.String(), "---"):]))
	}
	if words := m.sh("journalctl --no-pager -o cat -u causeway-agent -u causeway-health | grep -iE 'not permitted|denied|watchdog' || true"); words != "" {
		t.Errorf("the agent or health was kept from something:\n%s", words)
	}
	t.Log(m.sh("for u in " + services + "; do systemd-analyze --no-pager security $u.service | tail -1; done"))

	// Removed, everything forwards on; the program is gone before the agent is purged.
	m.shown("remove")
	m.sh("dpkg --remove causeway-controller causeway 2>&1")
	m.sh("test ! -e /usr/bin/causeway; test -d /sys/fs/bpf/causeway; ip link show cw-vxlan; " + ping)
	m.shown("purge")
	m.sh("test ! -e /sys/fs/bpf/causeway; test ! -e /var/lib/causeway/agent; test ! -e /var/lib/causeway/purge; test ! -e /etc/causeway/agent.yaml; test ! -e /etc/causeway/health.yaml")
	if left := m.sh("ip -o link | grep cw- || true; ip rule | grep -v 'lookup \\(local\\|main\\|default\\)' || true"); left != "" {
		t.Errorf("purged, and there is still\n%s", left)
	}
	// A site's state is not a package's to delete.
	m.sh("test -d /var/lib/causeway/controller/etcd")
}

// TestReproducible: the same source makes the same packages.
func TestReproducible(t *testing.T) {
	testutil.RequireRoot(t)
	debs, again := build(t), build(t)
	for name, deb := range debs {
		if a, b := sum(t, deb), sum(t, again[name]); a != b {
			t.Errorf("%s differs from one build to the next", name)
		}
	}
}

func sum(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}
