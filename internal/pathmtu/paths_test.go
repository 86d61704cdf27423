package pathmtu

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

var (
	testKey    = Key{netip.MustParseAddr("200.200.0.1"), netip.MustParseAddr("200.200.0.2")}
	testTarget = Target{
		Network: 2, Router: 1, MAC: model.MustMAC("16:b7:b5:a4:57:75"), RemoteMAC: model.MustMAC("6f:e4:5a:fa:8e:09"),
		Source: netip.MustParseAddr("192.168.0.1"), Remote: netip.MustParseAddr("192.168.0.2"),
	}
)

// lab is Paths with a clock of its own and a wire that keeps what is sent.
type lab struct {
	*Paths
	now     time.Time
	frames  [][]byte
	packets [][]byte
}

func newLab(set Settings) *lab {
	l := &lab{now: time.Unix(1e9, 0)}
	l.Paths = NewPaths(set, l, func() time.Time { return l.now })
	return l
}

func (l *lab) SendFrame(_ model.NetworkKey, f []byte) error {
	l.frames = append(l.frames, bytes.Clone(f))
	return nil
}

func (l *lab) SendPacket(_ Key, ip []byte) error {
	l.packets = append(l.packets, bytes.Clone(ip))
	return nil
}

// turnRound is what a router of the peer makes of a probe.
func turnRound(f []byte) []byte {
	f = bytes.Clone(f)
	src, dst := bytes.Clone(f[6:12]), bytes.Clone(f[:6])
	copy(f, src)
	copy(f[6:], dst)
	packet.TurnEchoRound(f[packet.EthernetLen:])
	return f
}

// answerAll has all that was sent answered, and time pass.
func (l *lab) answerAll(d time.Duration) {
	l.now = l.now.Add(d)
	l.turn()
	for len(l.frames) > 0 || len(l.packets) > 0 {
		frames, packets := l.frames, l.packets
		l.frames, l.packets = nil, nil
		for _, f := range frames {
			l.AnsweredFrame(testTarget.Router, turnRound(f))
		}
		for _, p := range packets {
			l.AnsweredPacket(turnRound(append(make([]byte, packet.EthernetLen), p...))[packet.EthernetLen:])
		}
		l.turn()
	}
}

// TestProbeSizes: the outer packet is as large as it should be, and the inner one short.
func TestProbeSizes(t *testing.T) {
	for _, size := range []int{SmallSize, 1280, 1500, 9000} {
		f := TunnelProbe(testKey, testTarget, size, Nonce{1})
		outer := packet.Encapsulate(nil, packet.Outer{Local: testKey.Local, Remote: testKey.Remote, VNI: 100}, f)
		if n := int(binary.BigEndian.Uint16(outer[packet.EthernetLen+2:])); n != size {
			t.Errorf("outer packet of %d bytes, want %d", n, size)
		}
		if n := binary.BigEndian.Uint16(f[packet.EthernetLen+2:]); n != 36 {
			t.Errorf("inner packet of %d bytes", n)
		}
		if _, _, n, ok := tunnelAnswer(turnRound(f)); !ok || n != (Nonce{1}) {
			t.Errorf("not read back: %v %v", n, ok)
		}
		if n := len(EchoRequest(testKey, size, 7, Nonce{1})); n != size {
			t.Errorf("echo request of %d bytes, want %d", n, size)
		}
	}
	six := Key{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
	if n := len(TunnelProbe(six, testTarget, 1500, Nonce{})) - packet.EthernetLen + 70; n != 1500 {
		t.Errorf("between VTEPs of IPv6: %d", n)
	}
}

// TestForgedAnswers: an answer counts from who was asked alone, with what only that one can know.
func TestForgedAnswers(t *testing.T) {
	l := newLab(usual)
	l.Set(testKey, 1500, 0)
	l.SetTargets(map[Key][]Target{testKey: {testTarget}})
	l.turn()
	if len(l.frames) != 1 || len(l.packets) != 1 {
		t.Fatalf("%d frames and %d packets", len(l.frames), len(l.packets))
	}
	good := turnRound(l.frames[0])
	change := func(at int, v byte) []byte {
		f := bytes.Clone(good)
		f[at] ^= v
		ip := f[packet.EthernetLen:]
		binary.BigEndian.PutUint16(ip[22:], 0)
		binary.BigEndian.PutUint16(ip[22:], packet.Checksum(ip[20:36], 0))
		return f
	}
	for name, f := range map[string][]byte{
		"another nonce":         change(packet.EthernetLen+28, 1),
		"another MAC":           change(6, 4),
		"another source":        change(packet.EthernetLen+15, 1),
		"another destination":   change(packet.EthernetLen+19, 1),
		"another identifier":    change(packet.EthernetLen+24, 1),
		"larger than sent":      append(bytes.Clone(good), 0),
		"the request itself":    l.frames[0],
		"an error":              change(packet.EthernetLen+20, 3),
		"a wrong ICMP checksum": append(append(bytes.Clone(good[:packet.EthernetLen+22]), 1, 2), good[packet.EthernetLen+24:]...),
		"nothing":               nil,
		"half":                  good[:packet.EthernetLen+30],
	} {
		if l.AnsweredFrame(testTarget.Router, f) {
			t.Errorf("%s is taken for an answer", name)
		}
	}
	if l.AnsweredFrame(testTarget.Router+1, good) {
		t.Error("an answer to another router is taken")
	}
	echo := turnRound(append(make([]byte, packet.EthernetLen), l.packets[0]...))[packet.EthernetLen:]
	for name, p := range map[string][]byte{"longer": append(bytes.Clone(echo), 0), "shorter": echo[:len(echo)-1]} {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		if l.AnsweredPacket(p) {
			t.Errorf("a %s echo reply is taken", name)
		}
	}
	echo = turnRound(append(make([]byte, packet.EthernetLen), l.packets[0]...))[packet.EthernetLen:]
	other := bytes.Clone(echo)
	other[15]++ // from another VTEP
	if l.AnsweredPacket(other) {
		t.Error("an echo reply of another VTEP is taken")
	}
	if !l.AnsweredFrame(testTarget.Router, good) || !l.AnsweredPacket(echo) {
		t.Error("the right answers are not taken")
	}
	if l.AnsweredFrame(testTarget.Router, good) {
		t.Error("an answer counts twice")
	}
}

// TestManyPaths: thousands of paths send no more than is allowed, and each has its turn.
func TestManyPaths(t *testing.T) {
	l := newLab(usual)
	targets := map[Key][]Target{}
	const paths = 2000
	for i := range paths {
		k := Key{testKey.Local, netip.AddrFrom4([4]byte{201, 0, byte(i >> 8), byte(i)})}
		l.Set(k, 1500, 0)
		if i < 400 {
			targets[k] = []Target{testTarget}
		}
	}
	l.SetTargets(targets)
	start, _ := l.Counts()
	count := func(d time.Duration) uint64 {
		before, _ := l.Counts()
		for end := l.now.Add(d); l.now.Before(end); {
			l.answerAll(10 * time.Millisecond)
		}
		after, _ := l.Counts()
		return after - before
	}
	if start != 0 {
		t.Fatal("packets before the first turn")
	}
	for range 5 {
		if n := count(10 * time.Second); n > 10*allRate+allBurst {
			t.Errorf("%d packets in ten seconds", n)
		}
	}
	count(150 * time.Second)
	for k, s := range l.States() {
		if s.Kind != Proven || s.MTU != 1500 {
			t.Fatalf("%v: %+v", k, s)
		}
	}
	if n := count(10 * time.Second); n > 10*allConfirms*3/2 {
		t.Errorf("%d packets in ten seconds of quiet", n)
	}
	l.Keep(func(k Key) bool { return k.Remote == netip.MustParseAddr("201.0.0.7") })
	if n := len(l.States()); n != 1 || len(l.due) != 1 {
		t.Errorf("%d paths are kept, %d due", n, len(l.due))
	}
}

// TestMoved: the caller hears of changes, of each once.
func TestMoved(t *testing.T) {
	l := newLab(usual)
	if mtu := l.Set(testKey, 1500, 1400); mtu != 1400 {
		t.Errorf("what was proven before a restart: %d", mtu)
	}
	l.SetTargets(map[Key][]Target{testKey: {testTarget}})
	for range 200 {
		l.answerAll(10 * time.Millisecond)
	}
	select {
	case <-l.Changed():
	default:
		t.Error("no word of a change")
	}
	if m := l.Moved(); !slices.Equal(m, []Key{testKey}) || len(l.Moved()) != 0 {
		t.Errorf("moved: %v", m)
	}
	if _, s, ok := l.Toward(1, func(g Target) bool { return g.Remote == testTarget.Remote }); !ok || s.MTU != 1500 || s.By != Tunnel {
		t.Errorf("%+v %v", s, ok)
	}
	if l.Hint(Key{testKey.Remote, testKey.Local}, 552) {
		t.Error("an error about no path of ours")
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(turnRound(TunnelProbe(testKey, testTarget, 200, Nonce{})))
	f.Add(EchoRequest(testKey, 200, 7, Nonce{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLab(usual)
		l.Set(testKey, 1500, 0)
		l.turn()
		if l.AnsweredFrame(1, b) || l.AnsweredPacket(b) {
			t.Error("bytes from nowhere answer a probe")
		}
	})
}
