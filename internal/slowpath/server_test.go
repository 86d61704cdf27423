package slowpath

import (
	"bytes"
	"context"
	"io"
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

// frame takes a frame as Run does, and waits for what comes of it.
func (s *Server) frame(b []byte) {
	if s.admit(b) != nil {
		s.handle(b)
	}
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
	send(frame(packet.SlowHeader{Kind: packet.SlowICMP, ICMPType: 11, Router: 7, Src: router}, ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{11, 0, 0, 0, 0, 0, 0, 0})))
	send(frame(packet.SlowHeader{Kind: packet.SlowICMP, ICMPType: 11, Router: 7, Src: router}, orig))
	buf := make([]byte, 2000)
	if err := kernel.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := kernel.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := packet.ParseSlowHeader(buf[14:n]); err != nil || h.Kind != packet.SlowRoute {
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
	f := frame(packet.SlowHeader{Kind: packet.SlowICMP, ICMPType: 11, Router: 7, Src: router}, ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{3, 0, 0, 0, 0, 0, 0, 0}))
	const n = 4 * routerBurst
	start := time.Now()
	for range n {
		s.frame(f)
	}
	most := routerBurst + uint64(time.Since(start).Seconds()*routerRate) + 1
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
		return frame(packet.SlowHeader{Kind: packet.SlowFragment, Net: net, MTU: 576}, ipv4(packet.IPv4{Protocol: packet.ProtoUDP, DF: true}, make([]byte, 1000)))
	}
	flood, quiet := f(1), f(2)
	start := time.Now()
	for range 4 * fragmentBurst {
		s.frame(flood)
	}
	most := networkBurst + uint64(time.Since(start).Seconds()*networkRate) + 1
	c := s.Counters()
	if c.Forbidden > most || c.Forbidden < networkBurst {
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

// AnsweredFrame waits for what comes for router 9.
func (p probesOf) AnsweredFrame(router model.RouterKey, frame []byte) bool {
	if router != 9 {
		return false
	}
	p.Answer(router, frame, nil)
	return true
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
		frame(packet.SlowHeader{Kind: packet.SlowProbe, Router: 7}, reply),
		append(frame(packet.SlowHeader{Kind: packet.SlowProbe, Router: 9}, reply), make([]byte, 1000)...),
		frame(packet.SlowHeader{Kind: packet.SlowProbe, Router: 8, Reason: uint8(reason.FragmentationNeeded), ICMPType: 3, ICMPCode: 4, MTU: 1400}, reply),
	} {
		if _, err := kernel.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	a, whole, b := testutil.Receive(t, "the reply", got), testutil.Receive(t, "the path's reply", got), testutil.Receive(t, "the failure", got)
	if f := frame(packet.SlowHeader{}, reply); whole.router != 9 || len(whole.ip) != len(f)-packet.SlowHeaderLen+1000 || !bytes.Equal(whole.ip[:packet.EthernetLen], f[:packet.EthernetLen]) ||
		!bytes.Equal(whole.ip[packet.EthernetLen:][:len(reply)], reply) {
		t.Errorf("%+v", whole)
	}
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
	h, err := packet.ParseSlowHeader(buf[packet.EthernetLen:n])
	if err != nil || h.Kind != packet.SlowRoute || h.Router != 9 || !bytes.Equal(buf[packet.EthernetLen+packet.SlowHeaderLen:n], reply) {
		t.Errorf("%+v, %v, %x", h, err, buf[:n])
	}
	if c := s.Counters(); c.Probe != 3 || c.Sent != 1 || c.Malformed != 0 {
		t.Errorf("%+v", c)
	}
	cancel()
	if err := testutil.Receive(t, "the server's end", done); err != nil {
		t.Error(err)
	}
}

// TestOneRouterLeavesTheOthersTheirShare: what one router is flooded with costs another
// nothing, and its own ICMP errors of one kind cost it none of the other.
func TestOneRouterLeavesTheOthersTheirShare(t *testing.T) {
	tap, _ := pair(t)
	defer tap.Close()
	s := NewServer(tap, nil, slog.New(slog.DiscardHandler))
	f := func(r uint32, code uint8) []byte {
		return frame(packet.SlowHeader{Kind: packet.SlowICMP, ICMPType: 3, ICMPCode: code, Router: r, Src: router}, ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{3, 0, 0, 0, 0, 0, 0, 0}))
	}
	junk := f(1, 0)
	for range 4 * puntBurst {
		s.frame(junk)
	}
	c := s.Counters()
	if c.Limited == 0 {
		t.Fatalf("no limit was reached: %+v", c)
	}
	for _, other := range [][]byte{f(2, 0), f(1, 4)} {
		for range 100 {
			s.frame(other)
		}
	}
	if got := s.Counters(); got.Forbidden-c.Forbidden != 200 || got.Limited != c.Limited {
		t.Errorf("of 200 frames for another router, and of another kind, some were dropped: %+v, before: %+v", got, c)
	}
}

// narrowTap lets fragments through one by one, as it is told, and everything else at once.
type narrowTap struct {
	io.ReadWriteCloser
	fragments chan struct{}
}

func (n *narrowTap) Write(b []byte) (int, error) {
	if len(b) > 500 {
		<-n.fragments
	}
	return n.ReadWriteCloser.Write(b)
}

// TestMuchToCut: who sends more to cut than there is time for holds up no other purpose, and what
// waits has a bound.
func TestMuchToCut(t *testing.T) {
	tap, kernel := pair(t)
	got := make(probesOf, 10)
	narrow := &narrowTap{tap, make(chan struct{})}
	s := NewServer(narrow, got, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	cut := frame(packet.SlowHeader{Kind: packet.SlowFragment, Net: 1, MTU: 1000}, ipv4(packet.IPv4{Protocol: packet.ProtoUDP}, make([]byte, 1800)))
	const more = 100
	for range laneRoom + more {
		if _, err := kernel.Write(cut); err != nil {
			t.Fatal(err)
		}
	}
	reply := ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{0, 0, 0, 0, 0x63, 0x77, 0, 1})
	if _, err := kernel.Write(frame(packet.SlowHeader{Kind: packet.SlowProbe, Router: 7}, reply)); err != nil {
		t.Fatal(err)
	}
	testutil.Receive(t, "a probe's answer while nothing is cut", got)
	if c := s.Counters(); c.Fragment != laneRoom+more || c.Limited < more-1 {
		t.Errorf("of %d packets to be cut for which there is no time, %d were refused", c.Fragment, c.Limited)
	}
	close(narrow.fragments)
	cancel()
	if err := testutil.Receive(t, "the server's end", done); err != nil {
		t.Error(err)
	}
}
