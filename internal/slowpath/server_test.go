package slowpath

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// A SEQPACKET pair keeps frames whole, as a tap device does.
func pair(t *testing.T) (tap, kernel *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	kernel, err = net.DialUnix("unixpacket", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	tap, err = l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kernel.Close() })
	return tap, kernel
}

func TestServer(t *testing.T) {
	tap, kernel := pair(t)
	s := NewServer(tap, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	orig := ipv4(packet.IPv4{Protocol: packet.ProtoUDP}, make([]byte, 8))
	send := func(f []byte) {
		t.Helper()
		if _, err := kernel.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	send([]byte("garbage"))
	send(frame(Header{Kind: KindICMP, ICMPType: 11, Router: 7, Src: router}, ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{11, 0, 0, 0, 0, 0, 0, 0})))
	send(frame(Header{Kind: KindICMP, ICMPType: 11, Router: 7, Src: router}, orig))
	buf := make([]byte, 2000)
	if err := kernel.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := kernel.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := ParseHeader(buf[14:n]); err != nil || h.Kind != KindRoute {
		t.Fatalf("got %+v, %v", h, err)
	}
	// The answer is read, so what came before it is counted; Sent is counted
	// behind the write that we have seen.
	got := s.Counters()
	if got.ICMP != 2 || got.Malformed != 1 || got.Forbidden != 1 {
		t.Errorf("counters %+v", got)
	}
	cancel()
	if err := testutil.Receive(t, "the server's end", done); err != nil {
		t.Fatal(err)
	}
	if got := s.Counters(); got.Sent != 1 {
		t.Errorf("sent %d frames, want 1", got.Sent)
	}
}

func TestServerLimit(t *testing.T) {
	tap, _ := pair(t)
	defer tap.Close()
	s := NewServer(tap, nil, slog.New(slog.DiscardHandler))
	// A packet that no error may be about costs a token and writes nothing.
	f := frame(Header{Kind: KindICMP, ICMPType: 11, Router: 7, Src: router}, ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{3, 0, 0, 0, 0, 0, 0, 0}))
	const n = 4 * icmpBurst
	start := time.Now()
	for range n {
		s.frame(f)
	}
	most := icmpBurst + uint64(time.Since(start).Seconds()*icmpRate) + 1
	c := s.Counters()
	if c.Forbidden > most || c.Forbidden+c.Limited != n {
		t.Errorf("%d of %d frames passed a limit of %d; counters %+v", c.Forbidden, n, most, c)
	}
}

func TestOneNetworkLeavesTheOthersTheirShare(t *testing.T) {
	tap, _ := pair(t)
	defer tap.Close()
	s := NewServer(tap, nil, slog.New(slog.DiscardHandler))
	// A packet that may not be cut costs a token and writes nothing.
	f := func(net uint32) []byte {
		return frame(Header{Kind: KindFragment, Net: net, MTU: 576}, ipv4(packet.IPv4{Protocol: packet.ProtoUDP, DF: true}, make([]byte, 1000)))
	}
	flood, quiet := f(1), f(2)
	start := time.Now()
	for range 4 * fragmentBurst {
		s.frame(flood)
	}
	most := shareBurst + uint64(time.Since(start).Seconds()*shareRate) + 1
	c := s.Counters()
	if c.Forbidden > most || c.Forbidden < shareBurst {
		t.Errorf("%d packets of one network passed, its share is %d; counters %+v", c.Forbidden, most, c)
	}
	for range 100 {
		s.frame(quiet)
	}
	if got := s.Counters(); got.Forbidden-c.Forbidden != 100 {
		t.Errorf("%d of 100 packets of another network passed: %+v", got.Forbidden-c.Forbidden, got)
	}
}

// probesOf keeps what the server passes on.
type probesOf chan struct {
	router  model.RouterKey
	ip      []byte
	failure *probe.Failure
}

func (p probesOf) Answer(router model.RouterKey, ip []byte, failure *probe.Failure) bool {
	p <- struct {
		router  model.RouterKey
		ip      []byte
		failure *probe.Failure
	}{router, bytes.Clone(ip), failure}
	return ip[0] == 0x45 // as if it waited for that
}

// TestProbes: what is about a probe goes to who probes, with the reason where the request did not leave
// its router; and a router's packet leaves with the header that makes it one.
func TestProbes(t *testing.T) {
	tap, kernel := pair(t)
	got := make(probesOf, 10)
	s := NewServer(tap, got, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	reply := ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{0, 0, 0, 0, 0x63, 0x77, 0, 1})
	for _, f := range [][]byte{
		frame(Header{Kind: KindProbe, Router: 7}, reply),
		frame(Header{Kind: KindProbe, Router: 8, Reason: uint8(reason.FragmentationNeeded), ICMPType: 3, ICMPCode: 4, MTU: 1400}, reply),
	} {
		if _, err := kernel.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	a, b := testutil.Receive(t, "the reply", got), testutil.Receive(t, "the failure", got)
	if a.router != 7 || a.failure != nil || !bytes.Equal(a.ip, reply) {
		t.Errorf("%+v", a)
	}
	if b.router != 8 || b.failure == nil || *b.failure != (probe.Failure{Reason: reason.FragmentationNeeded, Type: 3, Code: 4, MTU: 1400}) {
		t.Errorf("%+v %+v", b, b.failure)
	}
	if err := s.Originate(9, reply); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200)
	n, err := kernel.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	h, err := ParseHeader(buf[packet.EthernetLen:n])
	if err != nil || h.Kind != KindRoute || h.Router != 9 || !bytes.Equal(buf[packet.EthernetLen+HeaderLen:n], reply) {
		t.Errorf("%+v, %v, %x", h, err, buf[:n])
	}
	if c := s.Counters(); c.Probe != 2 || c.Sent != 1 || c.Malformed != 0 {
		t.Errorf("%+v", c)
	}
	cancel()
	if err := testutil.Receive(t, "the server's end", done); err != nil {
		t.Error(err)
	}
}
