package dataplane

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// flood sends 64-byte UDP from vA to vB as fast as one thread can until stop is
// set, and returns a channel that tells how it ended.
func (l *lab) flood(stop *atomic.Bool) <-chan error {
	l.t.Helper()
	sock := socketIn(l.t, l.ns("vA"))
	done := make(chan error, 1)
	go func() {
		defer unix.Close(sock)
		to := &unix.SockaddrInet4{Port: 9, Addr: l.sites["B"].vm.As4()}
		payload := make([]byte, 22) // 64 bytes with all headers
		for !stop.Load() {
			for range 64 {
				if err := unix.Sendto(sock, payload, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	return done
}

// socketIn opens a UDP socket in a namespace: it stays there whatever thread uses
// it.
func socketIn(t testing.TB, ns string) int {
	t.Helper()
	var s int
	inNS(t, ns, func() (err error) {
		s, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		return err
	})
	return s
}

func (l *lab) packets(ns, what string) uint64 {
	l.t.Helper()
	n, err := strconv.ParseUint(strings.TrimSpace(l.exec(ns, "cat /sys/class/net/eth0/statistics/%s_packets", what)), 10, 64)
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// TestUpgrade replaces the programs under traffic. Not one packet may be lost: as
// many reach the receiver's interface as leave the sender's.
func TestUpgrade(t *testing.T) {
	l := newLab(t, 1450, 1500)
	for i, s := range []string{"A", "B"} {
		// No ARP among the packets that are counted.
		l.exec("v"+s, "ip neigh replace 10.0.%d.1 lladdr %s nud permanent dev eth0", i, labGW)
	}
	l.exec("vA", "ping -c 1 -W 5 -q 10.0.1.3")
	sink := socketIn(t, l.ns("vB"))
	defer unix.Close(sink)
	if err := unix.Bind(sink, &unix.SockaddrInet4{Port: 9}); err != nil {
		t.Fatal(err)
	}
	var port model.PortKey
	for port = range l.sites["A"].st.Ports {
	}
	counted := bpfDropCounts{}
	counted.N[reason.SpoofIP] = 5
	if err := l.sites["A"].dp.tables.drops.m.Update(uint32(port), &counted, ebpf.UpdateExist); err != nil {
		t.Fatal(err)
	}
	version := layoutVersion
	for _, c := range []struct {
		name    string
		replace func(s string)
	}{
		{"control", func(string) {}},
		{"same layout", func(s string) { l.open(s, version); l.sync(s) }},
		{"other layout", func(s string) { version++; l.open(s, version); l.sync(s) }},
		{"other limits", func(s string) {
			l.sites[s].cfg.Limits.Routes += 1024
			l.open(s, version)
			l.sync(s)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.t = t
			sent, received := l.packets("vA", "tx"), l.packets("vB", "rx")
			var stop atomic.Bool
			done := l.flood(&stop)
			defer stop.Store(true)
			for range 3 {
				for _, s := range []string{"A", "B"} {
					c.replace(s)
					now := l.packets("vA", "tx")
					testutil.Eventually(t, "more packets", func() bool { return l.packets("vA", "tx") >= now+200 })
				}
			}
			stop.Store(true)
			if err := testutil.Receive(t, "the sender's end", done); err != nil {
				t.Fatal(err)
			}
			sent = l.packets("vA", "tx") - sent
			var got uint64
			testutil.Succeeds(t, "every packet to arrive", func() error {
				if got = l.packets("vB", "rx") - received; got < sent {
					return fmt.Errorf("%d packets sent, %d received; drops: A %s; B %s", sent, got, l.drops("A"), l.drops("B"))
				}
				return nil
			})
			t.Logf("%d packets sent, %d received", sent, got)
			if got != sent || sent < 1000 {
				t.Errorf("%d packets sent, %d received; drops: A %s; B %s", sent, got, l.drops("A"), l.drops("B"))
			}
			for _, s := range []string{"A", "B"} {
				c, err := l.sites[s].dp.Counters()
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %+v", s, c)
				if p := c.Ports["port-1"]; s == "A" && p.RxPackets < sent || s == "B" && p.TxPackets < sent {
					t.Errorf("site %s: the port's counter was not carried over: %+v, %d sent", s, p, sent)
				}
				l.onePinnedSet(s)
			}
			if p, _, err := l.sites["A"].dp.Port(port); err != nil || p.Drops[reason.SpoofIP] != 5 {
				t.Errorf("the port's drops were not carried over: %d, %v", p.Drops[reason.SpoofIP], err)
			}
		})
	}
	l.t = t
}

// onePinnedSet checks that nothing is left over.
func (l *lab) onePinnedSet(s string) {
	l.t.Helper()
	used, leftover, err := mapDirs(l.sites[s].cfg.PinDir)
	if err != nil || len(used) != 1 || len(leftover) != 0 {
		l.t.Errorf("map directories %v, left over %v, %v", used, leftover, err)
	}
}

// TestCrash leaves a migration half done at each step and opens again.
func TestCrash(t *testing.T) {
	l := newLab(t, 1450, 1500)
	site := l.sites["A"]
	ping := func() { l.t.Helper(); l.exec("vA", "ping -c 2 -i 0.1 -W 5 -q 10.0.1.3") }
	ping()
	key := site.dp.HashKey()

	// New maps are there, unfilled; the old programs run on.
	l.open("A", layoutVersion+1)
	ping()
	l.open("A", layoutVersion+1)
	ping()
	if site.dp.HashKey() != key {
		t.Error("another hash key")
	}
	l.sync("A")
	ping()
	l.onePinnedSet("A")

	// The links are moved, and neither directory has its name yet.
	l.open("A", layoutVersion+2)
	used, leftover, err := mapDirs(site.cfg.PinDir)
	if err != nil || len(used) != 1 || len(leftover) != 1 {
		t.Fatalf("%v %v %v", used, leftover, err)
	}
	l.sync("A")
	used, _, err = mapDirs(site.cfg.PinDir)
	if err != nil || len(used) != 1 {
		t.Fatalf("%v %v", used, err)
	}
	if err := os.Rename(used[0], used[0]+oldSuffix); err != nil {
		t.Fatal(err)
	}
	l.open("A", layoutVersion+2)
	ping()
	l.sync("A")
	ping()
	l.onePinnedSet("A")

	// The agent is asked to attach what is attached, and what has gone.
	l.attach("A")
	ping()
	inNS(t, l.ns("hA"), func() error {
		if err := site.dp.AttachWorkload(1); err != nil {
			return err
		}
		return site.dp.DetachWorkload(1)
	})
	pins, err := filepath.Glob(filepath.Join(site.cfg.PinDir, linksDir, "*"))
	if err != nil || len(pins) != 3 {
		t.Errorf("pins %v, %v", pins, err)
	}
	l.exec("hA", "ip link del vx0")
	l.open("A", layoutVersion+2)
	pins, err = filepath.Glob(filepath.Join(site.cfg.PinDir, linksDir, "*"))
	if err != nil || len(pins) != 2 {
		t.Errorf("pins %v, %v", pins, err)
	}
	inNS(t, l.ns("hA"), func() error {
		err := site.dp.AttachVXLAN(site.env.VXLANIndex)
		var op *net.OpError
		if err == nil || errors.As(err, &op) || !strings.Contains(err.Error(), fmt.Sprintf("interface %d", site.env.VXLANIndex)) {
			return fmt.Errorf("attach to an interface that has gone: %w", err)
		}
		return nil
	})
}

// An interface may vanish while the programs are replaced.
func TestInterfaceVanishesDuringUpgrade(t *testing.T) {
	l := newLab(t, 1450, 1500)
	site := l.sites["A"]
	seen := false
	err := site.dp.eachLink(func(p linkPin, k link.Link) error {
		if p.kind == kindWorkload {
			seen = true
			run(t, "ip -n %s link del tap0", l.ns("hA"))
		}
		return site.dp.updateLink(p, k)
	})
	if err != nil || !seen {
		t.Errorf("programs replaced (%v): %v", seen, err)
	}
	l.open("A", layoutVersion)
	if pins, err := site.dp.linkPins(); err != nil || len(pins) != 2 {
		t.Errorf("%v, %v: want the pins of the underlay and the vxlan device", pins, err)
	}
}
