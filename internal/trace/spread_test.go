package trace

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/trace/spread"
)

// pipelines are those of the site's hosts. alone: one of them has all.
func pipelines(s *spread.Site, alone bool) map[model.HostName]*Pipeline {
	ps := map[model.HostName]*Pipeline{}
	for h, st := range s.States(alone) {
		f := s.Fabric(h)
		ps[h] = New(st, Env{Mark: 1, Fabric: hostenv.Fabric{Addr: f.Addr, Port: f.Port}}).Quiet()
	}
	return ps
}

func enter(p *Pipeline, in spread.Packet) Result {
	if in.Interface != "" {
		return p.FromWorkload(in.Interface, Frame{Data: in.Frame})
	}
	if in.Tagged != nil {
		return p.FromUnderlay(Frame{Data: in.Tagged, Interface: spread.Trunk})
	}
	if r := p.FromUnderlay(Frame{Data: in.Outer}); r.Verdict != Pass {
		return r
	}
	return p.FromVXLAN(Frame{Data: in.Frame, Mark: 1}, &TunnelKey{Local: in.Local, Remote: in.Remote, VNI: in.VNI})
}

// walk is the way of one packet over the hosts of a site.
type walk struct {
	ps       map[model.HostName]*Pipeline
	ends     []string // what becomes of it and of its copies
	crossed  int      // how often the fabric was crossed, one after the other at most
	problems []string
	tunnel   bool // it came out of one
	told     bool // it is ARP for a router, of which other hosts hear
}

func (w *walk) follow(res Result, crossed int, routed bool) {
	routed = routed || slices.Contains(res.Path, "bridge/router")
	w.crossed = max(w.crossed, crossed)
	over := func(in Result) {
		if crossed > 0 {
			w.problems = append(w.problems, "the fabric is crossed twice")
			return
		}
		w.follow(in, crossed+1, routed)
	}
	end := func(format string, args ...any) { w.ends = append(w.ends, fmt.Sprintf(format, args...)) }
	switch res.Verdict {
	case Tunnel, VXLAN:
		if res.Host != "" {
			over(w.ps[res.Host].fromHost(res))
			return
		}
		if w.tunnel && !routed {
			w.problems = append(w.problems, "bridged from tunnel to tunnel")
		}
		f := res.Output
		if res.Verdict == Tunnel {
			f = f[packet.VXLANOverhead:]
		}
		end("tunnel %s %s %d %x", res.Local, res.Remote, res.VNI, f)
	case Flood:
		w.told = w.told || slices.Contains(res.Path, "bridge/router-heard")
		for _, c := range res.Copies {
			h, fabric := strings.CutPrefix(c, "host ")
			if !fabric {
				end("copy %s %x", c, res.Output)
				continue
			}
			p := w.ps[model.HostName(h)]
			from := Result{Verdict: VXLAN, Output: res.Output, VNI: model.VNI(res.Network), Remote: p.env.Fabric.Addr, Local: w.own(res, p)}
			in := p.fromHost(from)
			if in.Verdict == Drop && (in.Reason == reason.L2Unknown || in.Reason == reason.ARPToRouter) {
				continue // nobody there but, say, a gateway device, or a router that has heard
			}
			over(in)
		}
	case Drop:
		end("drop %s", res.Reason)
	default:
		end("%s %s %s %x", res.Verdict, res.Reason, res.Interface, res.Output)
	}
}

// own is the address of the host that sends a copy: the counter of the copy to p has it.
func (w *walk) own(res Result, p *Pipeline) netip.Addr {
	for _, c := range res.Counts {
		if c.Sent && c.Tunnel.Remote == p.env.Fabric.Addr {
			return c.Tunnel.Local
		}
	}
	return netip.Addr{}
}

// outcome is what becomes of a packet, in any order of copies. A flood that reaches nobody is one where nobody is known.
func (w *walk) outcome() string {
	if len(w.ends) == 0 && w.told {
		return "drop arp_to_router"
	}
	if len(w.ends) == 0 {
		return "drop l2_unknown"
	}
	slices.Sort(w.ends)
	return strings.Join(w.ends, "\n")
}

// TestManyHostsAreAsOne: what becomes of a packet on a random site with several hosts is what becomes of it where one
// host has all; and no packet crosses the fabric twice, or is bridged from one tunnel into another.
func TestManyHostsAreAsOne(t *testing.T) {
	sites, packets := 300, 200
	if testing.Short() {
		sites = 50
	}
	counts := map[string]int{}
	for seed := range uint64(sites) {
		s := spread.New(seed)
		many, one := pipelines(s, false), pipelines(s, true)
		for i := range packets {
			in, ok := s.Packet()
			if !ok {
				break
			}
			first := enter(many[in.Host], in)
			w := &walk{ps: many, tunnel: slices.Contains(first.Path, "underlay/decapsulated") || slices.Contains(first.Path, "vxlan/in")}
			w.follow(first, 0, false)
			alone := &walk{ps: one}
			alone.follow(enter(one[s.Hosts[0]], in), 0, false)
			got, want := w.outcome(), alone.outcome()
			if got != want || len(w.problems) > 0 || alone.crossed > 0 {
				t.Fatalf("site %d, packet %d at %s: %v\n%s\nand on one host\n%s", seed, i, in.Host, w.problems, short(got), short(want))
			}
			kind, _, _ := strings.Cut(got, " ")
			if w.crossed > 0 {
				kind += " over the fabric"
			}
			counts[kind]++
		}
	}
	for _, kind := range []string{"port over the fabric", "tunnel over the fabric", "copy over the fabric", "port", "tunnel", "copy", "slow", "reply", "drop", "tagged"} {
		if counts[kind] < sites*packets/1000 {
			t.Errorf("%s: %d of %d packets: too few to see much", kind, counts[kind], sites*packets)
		}
	}
	t.Log(counts)
}

func short(s string) string {
	var out []string
	for l := range strings.Lines(s) {
		l = strings.TrimSpace(l)
		if i := strings.LastIndexByte(l, ' '); i > 0 && len(l)-i > 120 {
			if b, err := hex.DecodeString(l[i+1:]); err == nil {
				l = fmt.Sprintf("%s %x… (%d bytes)", l[:i], b[:min(len(b), 48)], len(b))
			}
		}
		out = append(out, l)
	}
	return strings.Join(out, "\n")
}
