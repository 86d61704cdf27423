package demo

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// fabricPort is the UDP port of the fabric between the hosts of a site.
const fabricPort = 4798

// leg is one way of a packet from a host to another.
type leg struct {
	from, to string
	port     uint16 // UDP
}

func (l leg) String() string {
	if l.port == fabricPort {
		return fmt.Sprintf("%s ─fabric→ %s", l.from, l.to)
	}
	return fmt.Sprintf("%s ═tunnel→ %s", l.from, l.to)
}

// PathReport is the way of one packet over the hosts, as the underlay router has seen it.
type PathReport struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Legs []string `json:"legs"`
	Want []string `json:"want"`
}

// isOverlay keeps UDP to the ports of tunnels and of the fabric, in IPv4 without options.
func isOverlay(b []byte) bool {
	return isVXLAN(b) || len(b) >= 14+20+8 && binary.BigEndian.Uint16(b[12:]) == 0x0800 && b[14] == 0x45 &&
		b[23] == 17 && binary.BigEndian.Uint16(b[36:]) == fabricPort
}

// path sends one echo request and compares the hosts that it passes with what they must be.
func (m *manyHosts) path(ctx context.Context, words string, from, to vm, want ...leg) error {
	core, err := m.lab.NetNS("core")
	if err != nil {
		return err
	}
	defer core.Close()
	var ifaces []string
	names := map[string]string{}
	for _, s := range m.lab.File().Sites {
		for _, h := range s.Hosts {
			ifaces = append(ifaces, "to-"+h.Name)
			names[h.FabricAddress.String()], names[h.TunnelIP.String()] = h.Name, h.Name
		}
	}
	if m.cap, err = probe.StartCapture(core, ifaces, captureLimit, isOverlay); err != nil {
		return err
	}
	ns, err := m.lab.NetNS(from.name)
	if err != nil {
		return err
	}
	defer ns.Close()
	dst, err := netip.ParseAddr(to.ip)
	if err != nil {
		return err
	}
	res, err := probe.Ping(ctx, ns, dst, probe.PingOptions{Count: 1, Size: 56, Timeout: probeTimeout})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// A packet that takes fewer legs is told below.
	_ = m.cap.WaitFor(limited, func(fs []probe.Frame) bool { return len(legs(fs, names, from.host, from.ip, to.ip)) >= len(want) })
	frames, err := m.cap.Stop()
	m.cap = nil
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	rep := PathReport{From: from.ip, To: to.ip, Legs: legs(frames, names, from.host, from.ip, to.ip)}
	for _, l := range want {
		rep.Want = append(rep.Want, l.String())
	}
	m.res.Paths = append(m.res.Paths, rep)
	ok := res.OK() && slices.Equal(rep.Legs, rep.Want)
	detail := strings.Join(rep.Legs, ", ")
	if !ok {
		detail += "; it must be " + strings.Join(rep.Want, ", ")
	}
	m.check(ok, fmt.Sprintf("a packet %s → %s, %s", from.name, to.name, words), detail)
	return nil
}

// legs are those of the packets between two addresses as they came into the underlay router, each where the one
// before has led. Its interfaces are heard one by one, so that the times say nothing of the order.
func legs(frames []probe.Frame, names map[string]string, first, from, to string) (out []string) {
	var seen []leg
	for _, f := range frames {
		if f.Outgoing {
			continue
		}
		outer := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		ip, _ := outer.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, _ := outer.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if ip == nil || udp == nil {
			continue
		}
		inner, _ := gopacket.NewPacket(udp.Payload, layers.LayerTypeVXLAN, gopacket.NoCopy).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		if inner != nil && inner.SrcIP.String() == from && inner.DstIP.String() == to {
			seen = append(seen, leg{names[ip.SrcIP.String()], names[ip.DstIP.String()], uint16(udp.DstPort)})
		}
	}
	for at := first; len(seen) > 0; {
		next := max(0, slices.IndexFunc(seen, func(l leg) bool { return l.from == at }))
		out, at = append(out, seen[next].String()), seen[next].to
		seen = slices.Delete(seen, next, next+1)
	}
	return out
}

// hops compares what traceroute shows with what it must.
func (m *manyHosts) hops(ctx context.Context, from, to vm, want ...string) error {
	return m.trace(ctx, from.name, RouteReport{From: from.ip, To: to.ip, Want: want})
}
