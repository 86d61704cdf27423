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
	s := NewServer(tap, slog.New(slog.DiscardHandler))
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
	s := NewServer(tap, slog.New(slog.DiscardHandler))
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
