// Package hostnet is the agent's hand on the host's own network: links, addresses,
// routes, rules and the events about them, by netlink. It is the sole user of
// the netlink and netns libraries.
//
// Whatever it adds to the host it writes down first, in a ledger in the agent's
// state directory, so that Cleanup, on whatever day and after whatever crash,
// takes away exactly that and nothing else.
//
// A Host works in the network namespace of the thread that opened it; in the
// agent that is the process's.
package hostnet

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Names and numbers of what the agent adds to a host. The names are fixed, so
// that one glance at "ip link" tells whose they are; a second agent in the same
// network namespace is refused.
const (
	VXLANDevice  = "cw-vxlan"  // collect-metadata vxlan device of the tunnels
	FabricDevice = "cw-fabric" // that of the fabric between the site's hosts
	SlowDevice   = "cw-slow"   // tap device of the slow path

	VXLANPort = 4789 // RFC 7348 §8.1

	// deviceAlias marks the devices as the agent's even where the ledger is lost.
	deviceAlias = "causeway agent"
)

// Host is one network namespace as the agent sees and changes it. It is safe for
// use by several goroutines.
type Host struct {
	log *slog.Logger
	nl  *netlink.Handle

	mu     sync.Mutex // one change at a time, ledger and kernel together
	ledger *ledger
}

// Open looks at the present network namespace. stateDir, which must exist, keeps
// the ledger.
func Open(stateDir string, log *slog.Logger) (*Host, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	l, err := openLedger(filepath.Join(stateDir, LedgerFile))
	if err != nil {
		h.Close()
		return nil, err
	}
	return &Host{log: log, nl: h, ledger: l}, nil
}

// Close lets go of the host and leaves everything as it is.
func (h *Host) Close() { h.nl.Close() }

// retryDump repeats a dump that the kernel says was interrupted by a change: what
// it returned may lack entries.
func retryDump[T any](dump func() ([]T, error)) ([]T, error) {
	var (
		l   []T
		err error
	)
	for range 8 {
		if l, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return l, err
}

// sysctlPath is the file of a setting; device names may hold dots, file names
// under /proc/sys take them as they are.
func sysctlPath(family, device, name string) string {
	return filepath.Join("/proc/sys/net", family, "conf", device, name)
}

// setSysctl writes value unless it is there already.
func setSysctl(family, device, name, value string) error {
	path := sysctlPath(family, device, name)
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read sysctl: %w", err)
	}
	if strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("write sysctl: %w", err)
	}
	return nil
}

// quietIPv6 keeps a device of ours free of IPv6 addresses and of the packets that
// come with them. Where the kernel has no IPv6 there is nothing to do.
func quietIPv6(device string) error {
	if _, err := os.Stat(sysctlPath("ipv6", device, "disable_ipv6")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(
		setSysctl("ipv6", device, "disable_ipv6", "1"),
		setSysctl("ipv6", device, "addr_gen_mode", "1"), // 1: none
	)
}
