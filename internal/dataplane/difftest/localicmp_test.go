package difftest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/dataplane/mutation"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// about is an ICMP message that quotes a packet of ours.
type about struct {
	name     string
	outer    packet.IPv4
	icmp     packet.ICMP
	quoted   packet.Protocol
	src, dst string // of what is quoted
	cut      int    // bytes that are missing at the end
	drop     bool
}

const (
	aboutLocal, aboutRemote, aboutOther = "203.0.113.1", "198.51.100.2", "198.51.100.77"
	esp, dccp                           = packet.Protocol(50), packet.Protocol(33)
)

func abouts() []about {
	tooBig := packet.ICMP{Type: 3, Code: 4, Rest: 552}
	icmp := packet.IPv4{Protocol: packet.ProtoICMP}
	ours := func(name string, m packet.ICMP, p packet.Protocol, drop bool) about {
		return about{name: name, outer: icmp, icmp: m, quoted: p, src: aboutLocal, dst: aboutRemote, drop: drop}
	}
	with := func(a about, change func(*about)) about { change(&a); return a }
	return []about{
		ours("a tunnel packet too big", tooBig, packet.ProtoUDP, true),
		ours("an echo too big", tooBig, packet.ProtoICMP, true),
		ours("ESP too big", tooBig, esp, true),
		ours("another way for the tunnel", packet.ICMP{Type: 5, Code: 1, Rest: 0xc0000201}, packet.ProtoUDP, true),
		with(ours("behind options", tooBig, packet.ProtoUDP, true), func(a *about) { a.outer.Options = make([]byte, 8) }),
		ours("TCP too big", tooBig, packet.ProtoTCP, false),
		ours("SCTP too big", tooBig, packet.ProtoSCTP, false),
		ours("DCCP too big", tooBig, dccp, false),
		ours("a port that nobody listens on", packet.ICMP{Type: 3, Code: 3}, packet.ProtoUDP, false),
		ours("a TTL that ran out", packet.ICMP{Type: 11, Code: 4}, packet.ProtoUDP, false),
		with(ours("to somebody else", tooBig, packet.ProtoUDP, false), func(a *about) { a.dst = aboutOther }),
		with(ours("from somebody else", tooBig, packet.ProtoUDP, false), func(a *about) { a.src = aboutOther }),
		with(ours("the other way", tooBig, packet.ProtoUDP, false), func(a *about) { a.src, a.dst = a.dst, a.src }),
		with(ours("no ICMP at all", tooBig, packet.ProtoUDP, false), func(a *about) { a.outer.Protocol = packet.ProtoUDP }),
		with(ours("cut short", tooBig, packet.ProtoUDP, false), func(a *about) { a.cut = 13 }),
	}
}

func (a about) packet() []byte {
	quote := packet.IPv4{DF: true, TTL: 60, Protocol: a.quoted, Src: netip.MustParseAddr(a.src), Dst: netip.MustParseAddr(a.dst), TotalLen: 1500}.Append(nil, 0)
	quote = append(quote, 0xc0, 0, 0x12, 0xb5, 5, 200, 0, 0)
	h := a.outer
	h.TTL, h.Src, h.Dst = 64, netip.MustParseAddr(aboutOther), netip.MustParseAddr(aboutLocal)
	p := a.icmp.Append(h.Append(nil, packet.ICMPLen+len(quote)), quote)
	return p[:len(p)-a.cut]
}

// wrongly is what the program decided otherwise.
type wrongly struct{ what string }

func (w wrongly) Error() string { return w.what }

// localICMP runs all of them, and returns what was decided otherwise.
func localICMP(object []byte, dir string) error {
	cfg := dataplane.Config{PinDir: dir}
	if object != nil {
		cfg.Object = bytes.NewReader(object)
	}
	r, err := NewRunner(cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	vtep := dataplane.VTEP{Local: netip.MustParseAddr(aboutLocal), Remote: netip.MustParseAddr(aboutRemote)}
	if err := r.d.Sync(hoststate.NewState(), dataplane.Env{Ways: map[dataplane.VTEP]dataplane.Way{vtep: {}}}); err != nil {
		return err
	}
	var wrong []error
	dropped := uint64(0)
	for _, a := range abouts() {
		drop, err := r.d.TestRunLocalICMP(a.packet())
		if err != nil {
			return err
		}
		if drop != a.drop {
			wrong = append(wrong, wrongly{fmt.Sprintf("%s: dropped %v, want %v", a.name, drop, a.drop)})
		}
		if drop {
			dropped++
		}
	}
	drops, err := r.d.Drops()
	if err != nil {
		return err
	}
	if n := drops[reason.PathError]; n != dropped {
		wrong = append(wrong, wrongly{fmt.Sprintf("%d packets were dropped, and %d counted", dropped, n)})
	}
	return errors.Join(wrong...)
}

// TestLocalICMP: the host's stack does not hear what anybody can say of the way to a VTEP.
func TestLocalICMP(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	if err := onThread(t, func() error { return localICMP(nil, pinDir(t)) }); err != nil {
		t.Error(err)
	}
}

var localICMPMutants = []struct{ name, from, to string }{
	{"other protocols", "likely(ip.protocol != PROTO_ICMP)", "0"},
	{"options before the message", "(ip.vihl & 15) * 4, 0)", "20, 0)"},
	{"redirects", "m.icmp.type != ICMP_REDIRECT && ", ""},
	{"other types", "m.icmp.type != ICMP_UNREACH || ", ""},
	{"other codes", " || m.icmp.code != ICMP_UNREACH_FRAG", ""},
	{"TCP", "protocol == PROTO_TCP || ", ""},
	{"SCTP", "protocol == PROTO_SCTP || ", ""},
	{"DCCP", " || protocol == PROTO_DCCP", ""},
	{"any protocol", "if (validated(m.quoted.protocol))", "if (0)"},
	{"whose packet", "if (!bpf_map_lookup_elem(&vteps, &k))", "if (0)"},
	{"which end", "addr_v4(&k.local, m.quoted.src);\n	addr_v4(&k.remote, m.quoted.dst);", "addr_v4(&k.local, m.quoted.dst);\n	addr_v4(&k.remote, m.quoted.src);"},
	{"what is counted", "count_reason(DROP_PATH_ERROR);", ""},
	{"what is dropped", "return NF_DROP;", "return NF_ACCEPT;"},
}

func TestLocalICMPMutants(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "clang-19")
	for _, m := range localICMPMutants {
		t.Run(m.name, func(t *testing.T) {
			object, err := mutation.Compile(filepath.Join(t.TempDir(), "bpf"), "../bpf", "icmp.h", m.from, m.to)
			if err != nil {
				t.Fatal(err)
			}
			if err := onThread(t, func() error { return localICMP(object, pinDir(t)) }); !errors.As(err, &wrongly{}) {
				t.Errorf("not caught: %v", err)
			}
		})
	}
}
