package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix starts the name of every namespace the benchmark makes.
const prefix = "cwbench-"

// netns is a network namespace by its name under /run/netns.
type netns string

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newNetns makes a namespace whose kernel settings are those of a router
// without surprises: forwarding on, reverse-path filter off, no IPv6 chatter.
func newNetns(name string) (netns, error) {
	n := netns(prefix + name)
	if err := run("ip", "netns", "add", string(n)); err != nil {
		return "", err
	}
	if err := n.ip("link set lo up"); err != nil {
		return "", err
	}
	return n, n.sysctl(
		"net.ipv4.ip_forward=1",
		"net.ipv4.conf.all.rp_filter=0",
		"net.ipv4.conf.default.rp_filter=0",
		"net.ipv6.conf.all.disable_ipv6=1",
		"net.ipv6.conf.default.disable_ipv6=1",
	)
}

// ip runs one ip command, given as words, in the namespace.
func (n netns) ip(format string, args ...any) error {
	return run("ip", append([]string{"-n", string(n)}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

// all runs several ip commands.
func (n netns) all(commands ...string) error {
	for _, c := range commands {
		if err := n.ip("%s", c); err != nil {
			return err
		}
	}
	return nil
}

func (n netns) bridge(words string) error {
	return run("bridge", append([]string{"-n", string(n)}, strings.Fields(words)...)...)
}

func (n netns) sysctl(settings ...string) error {
	return run("ip", append([]string{"netns", "exec", string(n), "sysctl", "-qw"}, settings...)...)
}

func (n netns) nft(rules string) error {
	cmd := n.command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft in %s: %w: %s", n, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// command is a program to be run in the namespace.
func (n netns) command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", string(n), name}, args...)...)
}

// server is a program to be run in the namespace with this machine's own mounts:
// "ip netns exec" gives it a /sys of its own, where pins would be its own too.
func (n netns) server(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + string(n), name}, args...)...)
}

// do calls fn on a thread that is in the namespace. The thread is not used again.
func (n netns) do(fn func() error) error {
	done := make(chan error)
	go func() {
		done <- func() error {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			f, err := os.Open("/run/netns/" + string(n))
			if err != nil {
				return err
			}
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter %s: %w", n, err)
			}
			return fn()
		}()
	}()
	return <-done
}

// deleteNetns removes the namespaces whose names start with prefix+name, and
// all that is in them. None is no error.
func deleteNetns(name string) error {
	entries, err := os.ReadDir("/run/netns")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix+name) {
			if err := run("ip", "netns", "del", e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// end is one end of a veth pair.
type end struct {
	ns   netns
	name string
	mac  string
}

// veth makes a pair and puts both ends up.
func veth(a, b end, mtu int) error {
	if err := a.ns.ip("link add %s address %s mtu %d type veth peer name %s netns %s address %s mtu %d",
		a.name, a.mac, mtu, b.name, b.ns, b.mac, mtu); err != nil {
		return err
	}
	if err := a.ns.ip("link set %s up", a.name); err != nil {
		return err
	}
	return b.ns.ip("link set %s up", b.name)
}
