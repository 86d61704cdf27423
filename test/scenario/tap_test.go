package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testutil"
)

// openTap makes a TAP device in a node. With offload, frames carry a
// virtio_net_hdr and may be larger than the MTU, as a hypervisor does it.
func (l *lab) openTap(node, name string, offload bool) *os.File {
	l.t.Helper()
	var f *os.File
	l.inside(node, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if offload {
			flags |= unix.IFF_VNET_HDR
		}
		ifr.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return fmt.Errorf("TUNSETIFF: %w", err)
		}
		if offload {
			if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
				return fmt.Errorf("TUNSETOFFLOAD: %w", err)
			}
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	l.t.Cleanup(func() { f.Close() })
	return f
}

// hypervisor carries frames between a tap on the host and one that stands for the
// guest's network card, until the test ends.
func (l *lab) hypervisor(host, guest *os.File) {
	done := make(chan error, 2)
	carry := func(to, from *os.File) {
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 1<<17))
		done <- err
	}
	go carry(host, guest)
	go carry(guest, host)
	l.t.Cleanup(func() {
		host.Close()
		guest.Close()
		for range 2 {
			if err := testutil.Receive(l.t, "the hypervisor's end", done); err != nil && !errors.Is(err, os.ErrClosed) {
				l.t.Logf("the hypervisor: %v", err)
			}
		}
	})
}

// TestTap binds taps with "causeway port bind" and runs bulk TCP between two sites,
// with the offloads of a hypervisor and without.
func TestTap(t *testing.T) {
	l := newLab(t, 2, func(f *testbed.File) {
		f.Routers = append(f.Routers, testbed.Node{Name: "guest-a"}, testbed.Node{Name: "guest-b"})
	})
	tns := []*tenant{l.sites[0].newTenant("t", 100), l.sites[1].newTenant("t", 100)}
	peer(tns...)
	for _, offload := range []bool{true, false} {
		l.sub(fmt.Sprintf("offload %v", offload), func(t *testing.T) {
			var files [][2]*os.File
			for i, tn := range tns {
				guest := "guest-" + string(rune('a'+i))
				port := tn.newPort("vm", fmt.Sprintf("10.0.%d.%d", i, 3))
				a := tn.site.get(client.Ports, port)
				tap := "tap" + port[:8]
				host, card := l.openTap(tn.site.host, tap, offload), l.openTap(guest, "eth0", offload)
				files = append(files, [2]*os.File{host, card})
				l.mustRun(tn.site.host, "ip", "link", "set", tap, "mtu", "1450", "up")
				for _, c := range []string{
					"ip link set eth0 address " + client.Str(a, "mac_address") + " mtu 1450 up",
					fmt.Sprintf("ip addr add 10.0.%d.3/24 dev eth0", i),
					fmt.Sprintf("ip route replace default via 10.0.%d.1", i),
				} {
					l.mustRun(guest, strings.Fields(c)...)
				}
				l.causeway(tn.site, "port", "bind", port, "--host", tn.site.host, "--interface", tap)
				tn.site.waitStatus(port, "ACTIVE")
			}
			for _, f := range files {
				l.hypervisor(f[0], f[1])
			}
			l.reach("guest-a", "10.0.1.3")
			l.bulkTCP("guest-a", "guest-b", "10.0.1.3", 32<<20)
			l.bulkTCP("guest-b", "guest-a", "10.0.0.3", 32<<20)
			for _, tn := range tns {
				port := tn.workloadPorts["vm"]
				l.causeway(tn.site, "port", "unbind", port)
				tn.site.waitStatus(port, "DOWN")
				tn.site.remove(client.Ports, port)
			}
		})
	}
}

// causeway runs the program against a site's API.
func (l *lab) causeway(s *site, args ...string) string {
	l.t.Helper()
	out, err := l.tryCauseway(s, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *lab) tryCauseway(s *site, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "OS_AUTH_TYPE=none", "OS_ENDPOINT="+s.api.Endpoint())
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("causeway %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// waitStatus waits for a port's status.
func (s *site) waitStatus(port, want string) {
	s.lab.t.Helper()
	testutil.Succeeds(s.lab.t, "port "+port+" to be "+want, func() error {
		if got := client.Str(s.get(client.Ports, port), "status"); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}
