package slowpath

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/packet"
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
	if err := <-done; err != nil {
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
