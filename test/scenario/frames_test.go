package scenario

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

var (
	portsCollection    = client.Ports
	networksCollection = client.Networks
)

func remoteMACs(device string) client.Collection { return client.RemoteMACEntries(device) }

func mustFail(answered int) error {
	if answered != 0 {
		return errors.New("a ping was answered")
	}
	return nil
}

// attachPort makes a workload on a port that exists.
func (tn *tenant) attachPort(name, port string) {
	tn.site.lab.t.Helper()
	if _, err := tn.site.lab.Attach(tn.site.lab.t.Context(), testbed.AttachOptions{
		Site: tn.site.name, Host: tn.site.host, Port: port, Name: name,
	}); err != nil {
		tn.site.lab.t.Fatal(err)
	}
}

// sender sends raw frames out of an interface of a node or workload.
type sender struct {
	t     *testing.T
	fd    int
	index int
}

func (l *lab) newSender(node, iface string) *sender {
	l.t.Helper()
	ns, err := l.NetNS(node)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	s := &sender{t: l.t}
	err = ns.Do(func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		s.index = i.Index
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		l.t.Fatalf("open a raw socket in %s: %v", node, err)
	}
	l.t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func (s *sender) send(frame []byte) {
	s.t.Helper()
	var proto [2]byte
	if len(frame) >= 14 {
		copy(proto[:], frame[12:14])
	}
	err := unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{
		Ifindex: s.index, Protocol: binary.NativeEndian.Uint16(proto[:]),
	})
	if err != nil {
		s.t.Fatalf("send a frame of %d bytes: %v", len(frame), err)
	}
}

// capture starts a capture on the interface of a node or workload; it ends with
// the test.
func (l *lab) capture(node, iface string, keep func([]byte) bool) *probe.Capture {
	l.t.Helper()
	ns, err := l.NetNS(node)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	c, err := probe.StartCapture(ns, []string{iface}, 100000, keep)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _, _ = c.Stop() })
	return c
}

func ethernet(dst, src model.MAC, etherType uint16, payload []byte) []byte {
	f := append(append([]byte{}, dst[:]...), src[:]...)
	f = binary.BigEndian.AppendUint16(f, etherType)
	return append(f, payload...)
}

// testEtherType sends frames of an EtherType from one workload to another.
func testEtherType(t *testing.T, l *lab, from, to string, etherType uint16) {
	t.Helper()
	macOf := func(w string) model.MAC {
		for _, x := range l.Workloads() {
			if x.Name == w {
				return model.MustMAC(x.MAC)
			}
		}
		t.Fatalf("no workload %s", w)
		return model.MAC{}
	}
	c := l.capture(to, "eth0", func(f []byte) bool {
		return len(f) >= 14 && binary.BigEndian.Uint16(f[12:]) == etherType
	})
	payload := make([]byte, 100)
	copy(payload, "any EtherType")
	l.newSender(from, "eth0").send(ethernet(macOf(to), macOf(from), etherType, payload))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) > 0 }); err != nil {
		t.Errorf("a frame of EtherType %#x from %s does not reach %s: %v", etherType, from, to, err)
	}
}

// interfaceCount reads a counter of an interface inside a node or workload.
func (l *lab) interfaceCount(node, iface, counter string) uint64 {
	l.t.Helper()
	out := l.mustRun(node, "ip", "-s", "-j", "link", "show", "dev", iface)
	n, err := jsonCounter(out, counter)
	if err != nil {
		l.t.Fatalf("%s of %s in %s: %v", counter, iface, node, err)
	}
	return n
}

func jsonCounter(out, counter string) (uint64, error) {
	type dir struct {
		Packets uint64 `json:"packets"`
		Dropped uint64 `json:"dropped"`
	}
	var links []struct {
		Stats struct {
			RX dir `json:"rx"`
			TX dir `json:"tx"`
		} `json:"stats64"`
	}
	if err := unmarshal(out, &links); err != nil {
		return 0, err
	}
	if len(links) != 1 {
		return 0, fmt.Errorf("%d links in %q", len(links), out)
	}
	switch counter {
	case "rx_packets":
		return links[0].Stats.RX.Packets, nil
	case "tx_packets":
		return links[0].Stats.TX.Packets, nil
	case "tx_dropped":
		return links[0].Stats.TX.Dropped, nil
	}
	return 0, fmt.Errorf("no counter %q", counter)
}
