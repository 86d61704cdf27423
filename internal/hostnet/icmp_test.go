package hostnet

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// passes tells whether a socket with the filter gets a packet.
func passes(t *testing.T, filter []unix.SockFilter, b []byte) bool {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fds[1], unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fds[0], b); err != nil {
		t.Fatal(err)
	}
	_, err = unix.Read(fds[1], make([]byte, len(b)))
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return err == nil
}

// TestTooSmallPorts: the socket's filter and what reads its packets both take ICMP 3/4 about packets
// to the ports that are watched, and no other.
func TestTooSmallPorts(t *testing.T) {
	message := func(icmpType, code, protocol byte, from, to uint16) []byte {
		b := make([]byte, 20+8+20+8)
		b[0], b[9] = 0x45, unix.IPPROTO_ICMP
		b[20], b[21] = icmpType, code
		binary.BigEndian.PutUint16(b[26:], 1400)
		b[28], b[37] = 0x45, protocol
		binary.BigEndian.PutUint16(b[48:], from)
		binary.BigEndian.PutUint16(b[50:], to)
		return b
	}
	tunnels, both, three := []uint16{VXLANPort}, []uint16{VXLANPort, 4798}, []uint16{VXLANPort, 4798, 5000}
	for name, c := range map[string]struct {
		ports []uint16
		b     []byte
		want  bool
	}{
		"tunnel":               {tunnels, message(3, 4, 17, 50000, 4789), true},
		"fabric, off it":       {tunnels, message(3, 4, 17, 50000, 4798), false},
		"tunnel, on a fabric":  {both, message(3, 4, 17, 50000, 4789), true},
		"fabric":               {both, message(3, 4, 17, 50000, 4798), true},
		"another port":         {both, message(3, 4, 17, 50000, 53), false},
		"the last of three":    {three, message(3, 4, 17, 50000, 5000), true},
		"the first of three":   {three, message(3, 4, 17, 50000, 4789), true},
		"none of three":        {three, message(3, 4, 17, 50000, 5001), false},
		"a source port below":  {both, message(3, 4, 17, 49151, 4798), false},
		"the least of ours":    {both, message(3, 4, 17, 49152, 4798), true},
		"about TCP":            {both, message(3, 4, 6, 50000, 4798), false},
		"port unreachable":     {both, message(3, 3, 17, 50000, 4798), false},
		"time exceeded":        {both, message(11, 0, 17, 50000, 4798), false},
		"nothing of the inner": {both, message(3, 4, 17, 50000, 4798)[:28], false},
	} {
		if got := passes(t, fragmentationNeeded(c.ports), c.b); got != c.want {
			t.Errorf("%s: passes the filter: %v", name, got)
		}
		if p, ok := parsePathTooSmall(c.b, c.ports); ok != c.want || ok && p.MTU != 1400 {
			t.Errorf("%s: read as %+v, %v", name, p, ok)
		}
	}
	if f := echoReply(7); !passes(t, f, append([]byte{0x45, 19: 0}, 0, 0, 0, 0, 0, 7)) || passes(t, f, append([]byte{0x45, 19: 0}, 0, 0, 0, 0, 0, 8)) {
		t.Error("an echo reply is told by its identifier")
	}
}
