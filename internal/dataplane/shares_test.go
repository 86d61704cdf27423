package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// shareLab is two workloads behind one router, and programs that only tell what they would do.
type shareLab struct {
	t    *testing.T
	d    *Dataplane
	ifs  [2]int
	macs [2]model.MAC
	ips  [2]netip.Addr
}

const (
	verdictDrop  = 2
	verdictSlow  = 6
	verdictFlood = 8
)

// frame is IPv4 from one of the workloads.
func (s *shareLab) frame(who int, dst model.MAC, to string, h packet.IPv4, body []byte) []byte {
	h.Src, h.Dst, h.TTL = s.ips[who], netip.MustParseAddr(to), 64
	b := packet.Ethernet{Dst: dst, Src: s.macs[who], Type: packet.TypeIPv4}.Append(nil)
	return append(h.Append(b, len(body)), body...)
}

// run sends n frames and counts those with the verdict; the others must be dropped.
func (s *shareLab) run(who, n int, verdict uint8, frame []byte) (got int) {
	s.t.Helper()
	for range n {
		r, err := s.d.TestRun(&TestRun{Program: bpfProgFromWorkload, Ifindex: s.ifs[who], Data: frame, Out: make([]byte, 4096)})
		if err != nil {
			s.t.Error(err)
			return
		}
		switch r.Verdict {
		case verdict:
			got++
		case verdictDrop:
		default:
			s.t.Errorf("verdict %d, reason %s", r.Verdict, r.Reason)
			return
		}
	}
	return got
}

// TestShares: what one workload makes too much of costs another nothing, and none of its own
// purposes another one's.
func TestShares(t *testing.T) {
	l := newLab(t, 1450, 1500)
	site := l.sites["A"]
	s := &shareLab{t: t, ifs: [2]int{site.tap, site.ul}, macs: [2]model.MAC{vmMAC(0), vmMAC(7)}, ips: [2]netip.Addr{site.vm, netip.MustParseAddr("10.0.0.4")}}
	st := labState(0, 1450)
	st.Ports[2] = hoststate.Port{ID: "port-2", Network: 1, Interface: "other", MAC: s.macs[1], Addrs: []netip.Addr{s.ips[1]}, PortSecurity: true}
	st.FDB[hoststate.FDBKey{Network: 1, MAC: s.macs[1]}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 2}
	n := st.Networks[2]
	n.MTU = 1000
	st.Networks[2] = n
	env := site.env
	env.Links = map[string]Link{"tap0": site.env.Links["tap0"], "other": {Index: site.ul, MTU: 1450}}
	inNS(t, l.ns("hA"), func() (err error) {
		s.d, err = Open(Config{PinDir: labPins(t), Record: true, ICMPRate: 1, ICMPBurst: 5, ProbeRate: 2, FragmentRate: 2, FloodRate: 1, FloodBurst: 10})
		if err != nil {
			return err
		}
		err = s.d.Sync(st, env)
		if err == nil {
			s.check()
		}
		return errors.Join(err, s.d.Remove())
	})
}

func (s *shareLab) check() {
	gw := model.MustMAC(labGW)
	udp := make([]byte, 1200)
	for _, c := range []struct {
		name    string
		verdict uint8
		burst   int // of one sender
		counted reason.Reason
		frame   func(who int) []byte
	}{
		{"junk to nowhere", verdictSlow, 5, reason.SlowPathLimited, func(who int) []byte {
			return s.frame(who, gw, "203.0.113.9", packet.IPv4{Protocol: packet.ProtoUDP}, udp[:8])
		}},
		{"too big", verdictSlow, 5, reason.SlowPathLimited, func(who int) []byte {
			return s.frame(who, gw, "10.0.1.3", packet.IPv4{Protocol: packet.ProtoUDP, DF: true}, udp)
		}},
		{"answers to probes", verdictSlow, 1, reason.SlowPathLimited, func(who int) []byte {
			return s.frame(who, gw, "10.0.0.1", packet.IPv4{Protocol: packet.ProtoICMP}, packet.ICMP{Rest: packet.ProbeID << 16}.Append(nil, nil))
		}},
		{"to be cut", verdictSlow, fragmentBurst / 2, reason.SlowPathLimited, func(who int) []byte {
			return s.frame(who, gw, "10.0.1.3", packet.IPv4{Protocol: packet.ProtoUDP}, udp)
		}},
		{"broadcasts", verdictFlood, 10, reason.FloodLimited, func(who int) []byte {
			return s.frame(who, packet.Broadcast, "255.255.255.255", packet.IPv4{Protocol: packet.ProtoUDP}, udp[:8])
		}},
	} {
		before, err := s.d.Drops()
		if err != nil {
			s.t.Error(err)
			return
		}
		start := time.Now()
		got := s.run(0, 3*c.burst+20, c.verdict, c.frame(0))
		most := c.burst + 1 + 2*int(time.Since(start).Seconds()+1)
		after, err := s.d.Drops()
		if err != nil || got < c.burst || got > most || after[c.counted] == before[c.counted] {
			s.t.Errorf("%s: %d passed, want %d to %d; %d counted as %s (%v)", c.name, got, c.burst, most, after[c.counted]-before[c.counted], c.counted, err)
		}
		if got := s.run(1, c.burst, c.verdict, c.frame(1)); got != c.burst {
			s.t.Errorf("%s: of another workload's %d only %d passed", c.name, c.burst, got)
		}
	}
	if n := s.d.ProbesLimited(1); n == 0 {
		s.t.Error("no answer to a probe was counted as limited")
	}
	if n := s.d.ProbesLimited(99); n != 0 {
		s.t.Errorf("router 99 has %d", n)
	}
}

// TestRates: bursts for all of the host fit the tap's queue, and no limit is none.
func TestRates(t *testing.T) {
	if got := (Config{}).rates(); got != [purposes]bpfRates{} {
		t.Errorf("limits without a setting: %+v", got)
	}
	r := Config{ICMPRate: 100, ICMPBurst: 50, ProbeRate: DefaultProbeRate, FragmentRate: DefaultFragmentRate, FloodRate: 50000, FloodBurst: 25000}.rates()
	queued := r[forFragment].Host.Burst / 2 // a packet that is cut is two fragments at least
	for _, p := range []int{forError, forTooBig, forARP, forProbe} {
		queued += r[p].Host.Burst
	}
	if queued > 512 {
		t.Errorf("%d packets at once for a queue of 512", queued)
	}
	for p, x := range r {
		if what := fmt.Sprintf("purpose %d: %+v", p, x); x.Source.Rate > x.Owner.Rate || x.Owner.Rate > x.Host.Rate || x.Source.Burst > x.Owner.Burst {
			t.Errorf("%s: one sender may have more than all", what)
		}
	}
}
