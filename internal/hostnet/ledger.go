package hostnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// LedgerFile is the name of the ledger in the state directory.
	LedgerFile   = "hostnet.json"
	ledgerFormat = 1
)

// ledger is what the agent has added to the host. An entry is written before the
// thing is made and struck out after it is gone, so that a crash in between
// leaves an entry without a thing, never a thing without an entry.
type ledger struct {
	path string
	ledgerData
}

type ledgerData struct {
	Format int `json:"format"`
	// BootID and NetNS say which life of which namespace the entries are of. In
	// another one nothing of it exists any more.
	BootID    string         `json:"boot_id"`
	NetNS     uint64         `json:"netns_cookie"`
	Devices   []string       `json:"devices,omitempty"`
	Addresses []ledgerAddr   `json:"addresses,omitempty"`
	Rules     []ledgerRule   `json:"rules,omitempty"`
	Tables    map[string]int `json:"tables,omitempty"` // gateway device → index of its routing table; kept for good
}

type ledgerAddr struct {
	Interface string       `json:"interface"`
	Index     int          `json:"index"`
	Prefix    netip.Prefix `json:"prefix"`
}

type ledgerRule struct {
	From  netip.Addr `json:"from"`
	Table int        `json:"table"`
}

// Life names the present boot and network namespace: what was not pinned or written
// to disk in this life does not exist.
func Life() (string, error) {
	id, cookie, err := life()
	return fmt.Sprintf("%s/%d", id, cookie), err
}

func life() (bootID string, cookie uint64, err error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, fmt.Errorf("read boot id: %w", err)
	}
	cookie, err = netnsCookie()
	return strings.TrimSpace(string(b)), cookie, err
}

func openLedger(path string) (*ledger, error) {
	bootID, cookie, err := life()
	if err != nil {
		return nil, err
	}
	l := &ledger{path: path}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read ledger of the host's network: %w", err)
	default:
		if err := json.Unmarshal(b, &l.ledgerData); err != nil {
			return nil, fmt.Errorf("ledger of the host's network %s: %w", path, err)
		}
		if l.Format != ledgerFormat {
			return nil, fmt.Errorf("ledger of the host's network %s has format %d, this program knows %d", path, l.Format, ledgerFormat)
		}
	}
	if l.BootID != bootID || l.NetNS != cookie {
		l.Devices, l.Addresses, l.Rules = nil, nil, nil
	}
	l.Format, l.BootID, l.NetNS = ledgerFormat, bootID, cookie
	return l, nil
}

// netnsCookie is the number of the present network namespace, never used again
// during a boot (SO_NETNS_COOKIE, Linux 5.14).
func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("get cookie of the network namespace: %w", err)
	}
	return c, nil
}

// save writes the file whole or not at all, and only where it differs.
func (l *ledger) save() error {
	b, err := json.MarshalIndent(l.ledgerData, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if old, err := os.ReadFile(l.path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return writeFileAtomic(l.path, b)
}

func writeFileAtomic(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no file of this name after the rename
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (l *ledger) addDevice(name string) error {
	if !slices.Contains(l.Devices, name) {
		l.Devices = append(l.Devices, name)
	}
	return l.save()
}

func (l *ledger) dropDevice(name string) error {
	l.Devices = slices.DeleteFunc(l.Devices, func(d string) bool { return d == name })
	// Its addresses went with it.
	l.Addresses = slices.DeleteFunc(l.Addresses, func(a ledgerAddr) bool { return a.Interface == name })
	return l.save()
}

func (l *ledger) addAddr(a ledgerAddr) error {
	if !slices.Contains(l.Addresses, a) {
		l.Addresses = append(l.Addresses, a)
	}
	return l.save()
}

func (l *ledger) dropAddr(a ledgerAddr) error {
	l.Addresses = slices.DeleteFunc(l.Addresses, func(b ledgerAddr) bool { return a == b })
	return l.save()
}

func (l *ledger) addRule(r ledgerRule) error {
	if !slices.Contains(l.Rules, r) {
		l.Rules = append(l.Rules, r)
	}
	return l.save()
}

func (l *ledger) dropRule(r ledgerRule) error {
	l.Rules = slices.DeleteFunc(l.Rules, func(b ledgerRule) bool { return r == b })
	return l.save()
}
