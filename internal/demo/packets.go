package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// PacketReport is one captured packet beside what it must be.
type PacketReport struct {
	Direction string        `json:"direction"`
	Interface string        `json:"interface"`
	OK        bool          `json:"ok"`
	Fields    []FieldReport `json:"fields"`
}

// FieldReport is one header field.
type FieldReport struct {
	Header string `json:"header"`
	Field  string `json:"field"`
	Got    string `json:"got"`
	Want   string `json:"want"`
	OK     bool   `json:"ok"`
}

const (
	vxlanPort     = 4789
	firstFlowPort = 49152 // of the outer source port
)

// isVXLAN keeps UDP to port 4789 in IPv4 without options.
func isVXLAN(b []byte) bool {
	return len(b) >= 14+20+8 && binary.BigEndian.Uint16(b[12:]) == 0x0800 && b[14] == 0x45 &&
		b[23] == 17 && binary.BigEndian.Uint16(b[36:]) == vxlanPort
}

// decoded is a captured frame, taken apart by gopacket, which shares no code with
// what made it.
type decoded struct {
	frame    probe.Frame
	eth      *layers.Ethernet
	ip       *layers.IPv4
	udp      *layers.UDP
	vxlan    *layers.VXLAN
	innerEth *layers.Ethernet
	innerIP  *layers.IPv4
	icmp     *layers.ICMPv4
	flow     string // the inner flow
}

func decode(f probe.Frame) (*decoded, error) {
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
	d := &decoded{frame: f}
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			if d.eth == nil {
				d.eth = l
			} else if d.innerEth == nil {
				d.innerEth = l
			}
		case *layers.IPv4:
			if d.ip == nil {
				d.ip = l
			} else if d.innerIP == nil {
				d.innerIP = l
			}
		case *layers.UDP:
			if d.udp == nil {
				d.udp = l
			} else if d.flow == "" && d.innerIP != nil {
				d.flow = fmt.Sprintf("%s → %s udp %d → %d", d.innerIP.SrcIP, d.innerIP.DstIP, l.SrcPort, l.DstPort)
			}
		case *layers.VXLAN:
			d.vxlan = l
		case *layers.ICMPv4:
			d.icmp = l
		}
	}
	if d.vxlan == nil || d.innerEth == nil || d.innerIP == nil {
		return nil, errors.New("no VXLAN with Ethernet and IPv4 inside")
	}
	if d.flow == "" {
		d.flow = fmt.Sprintf("%s → %s protocol %d", d.innerIP.SrcIP, d.innerIP.DstIP, d.innerIP.Protocol)
	}
	return d, nil
}

// packets compares one echo request of each direction, as it came from its site,
// with the table of the chapter, and looks at the source ports of all flows.
func (r *run) packets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	find := func(frames []probe.Frame, from, to *site) *decoded {
		for _, f := range frames {
			if f.Interface != "to-"+from.host || f.Outgoing {
				continue
			}
			d, err := decode(f)
			if err == nil && d.innerIP.SrcIP.String() == from.plan.vmIP && d.innerIP.DstIP.String() == to.plan.vmIP &&
				d.icmp != nil && d.icmp.TypeCode.Type() == layers.ICMPv4TypeEchoRequest {
				return d
			}
		}
		return nil
	}
	a, b := r.sites[0], r.sites[1]
	werr := r.cap.WaitFor(ctx, func(fs []probe.Frame) bool { return find(fs, a, b) != nil && find(fs, b, a) != nil })
	frames, err := r.cap.Stop()
	r.cap = nil
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	if r.o.PCAP != "" {
		if err := writePCAP(r.o.PCAP, frames, []string{"to-" + a.host, "to-" + b.host}); err != nil {
			return err
		}
		r.p.note(fmt.Sprintf("%d frames are in %s", len(frames), r.o.PCAP))
	}
	for _, dir := range [][2]*site{{a, b}, {b, a}} {
		name := fmt.Sprintf("captured packet %s → %s", dir[0].plan.vmIP, dir[1].plan.vmIP)
		d := find(frames, dir[0], dir[1])
		if d == nil {
			r.check(false, name, fmt.Sprintf("there is none among %d frames (%v)", len(frames), werr))
			continue
		}
		if err := r.compare(name, d, dir[0], dir[1]); err != nil {
			return err
		}
	}
	r.flows(frames)
	return nil
}

// flows: one flow keeps one outer source port, and flows differ in it.
func (r *run) flows(frames []probe.Frame) {
	ports := map[string][]int{}
	var all []int
	for _, f := range frames {
		d, err := decode(f)
		if err != nil || f.Outgoing {
			continue
		}
		p := int(d.udp.SrcPort)
		if !slices.Contains(ports[d.flow], p) {
			ports[d.flow] = append(ports[d.flow], p)
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	one := true
	for _, p := range ports {
		one = one && len(p) == 1
	}
	r.check(one && len(all) > 1, "outer source ports: one for a flow, and flows differ", fmt.Sprintf("%d flows, %d ports", len(ports), len(all)))
}

// compare checks every header field of a packet against the chapter.
func (r *run) compare(name string, d *decoded, from, to *site) error {
	host, core, err := r.linkMACs(from.host)
	if err != nil {
		return err
	}
	rep := PacketReport{Direction: from.name + " → " + to.name, Interface: d.frame.Interface, OK: true}
	for _, f := range headerTable(d, host, core, from.plan, to.plan) {
		rep.OK = rep.OK && f.OK
		rep.Fields = append(rep.Fields, f)
	}
	r.res.Packets = append(r.res.Packets, rep)
	r.check(rep.OK, name, fmt.Sprintf("%d header fields are as they must be", len(rep.Fields)))
	var rows [][]string
	for _, f := range rep.Fields {
		mark := "="
		if !f.OK {
			mark = "≠"
		}
		rows = append(rows, []string{f.Header, f.Field, f.Got, mark, f.Want})
	}
	r.p.table([]string{"header", "field", "captured", "", "must be"}, rows, func(i int) bool { return !rep.Fields[i].OK })
	return nil
}

// linkMACs are the two ends of a host's link to the underlay router.
func (r *run) linkMACs(host string) (own, next model.MAC, err error) {
	for node, dst := range map[string]*model.MAC{host: &own, "core": &next} {
		ns, err := r.lab.NetNS(node)
		if err != nil {
			return own, next, err
		}
		links, err := ns.Links()
		ns.Close()
		if err != nil {
			return own, next, err
		}
		for _, l := range links {
			if node == host && l.Name == "eth1" || node == "core" && l.Name == "to-"+host {
				*dst = l.MAC
			}
		}
	}
	return own, next, nil
}

// headerTable is the chapter's "what a packet looks like on the wire", with what
// the RFCs say where the chapter is silent.
func headerTable(d *decoded, host, core model.MAC, from, to plan) []FieldReport {
	var out []FieldReport
	row := func(header, field string, got, want any) {
		g, w := fmt.Sprint(got), fmt.Sprint(want)
		out = append(out, FieldReport{header, field, g, w, strings.EqualFold(g, w)})
	}
	rule := func(header, field string, got any, want string, ok bool) {
		out = append(out, FieldReport{header, field, fmt.Sprint(got), want, ok})
	}
	raw := d.frame.Data
	row("outer Ethernet", "source", d.eth.SrcMAC, host)
	row("outer Ethernet", "destination", d.eth.DstMAC, core)
	row("outer Ethernet", "type", d.eth.EthernetType, layers.EthernetTypeIPv4)

	row("outer IPv4", "source", d.ip.SrcIP, from.tunnelIP)
	row("outer IPv4", "destination", d.ip.DstIP, to.tunnelIP)
	row("outer IPv4", "protocol", d.ip.Protocol, layers.IPProtocolUDP)
	row("outer IPv4", "TTL", d.ip.TTL, 64)
	row("outer IPv4", "flags", d.ip.Flags, "DF")
	row("outer IPv4", "identification", d.ip.Id, 0)
	row("outer IPv4", "DSCP", d.ip.TOS>>2, 0)
	row("outer IPv4", "ECN", d.ip.TOS&3, d.innerIP.TOS&3)
	row("outer IPv4", "length", d.ip.Length, len(raw)-14)
	row("outer IPv4", "checksum", checksumWord(raw[14:34]), "right")

	port := int(d.udp.SrcPort)
	rule("UDP", "source port", port, fmt.Sprintf("%d–65535", firstFlowPort), port >= firstFlowPort)
	row("UDP", "destination port", int(d.udp.DstPort), vxlanPort)
	row("UDP", "length", d.udp.Length, len(raw)-34)
	row("UDP", "checksum", d.udp.Checksum, 0)

	vx := raw[42:50]
	row("VXLAN", "flags", fmt.Sprintf("0x%02x", vx[0]), "0x08")
	row("VXLAN", "VNI", d.vxlan.VNI, vni)
	row("VXLAN", "reserved bits", fmt.Sprintf("%x%02x", vx[1:4], vx[7]), "00000000")

	row("inner Ethernet", "source", d.innerEth.SrcMAC, from.peerMAC)
	row("inner Ethernet", "destination", d.innerEth.DstMAC, to.peerMAC)
	row("inner Ethernet", "type", d.innerEth.EthernetType, layers.EthernetTypeIPv4)

	row("inner IPv4", "source", d.innerIP.SrcIP, from.vmIP)
	row("inner IPv4", "destination", d.innerIP.DstIP, to.vmIP)
	row("inner IPv4", "TTL, of 64 that were sent", d.innerIP.TTL, 63)
	row("inner IPv4", "protocol", d.innerIP.Protocol, layers.IPProtocolICMPv4)
	row("inner IPv4", "checksum", checksumWord(raw[64:64+int(d.innerIP.IHL)*4]), "right")
	row("ICMP", "type", d.icmp.TypeCode.Type(), uint8(layers.ICMPv4TypeEchoRequest))
	row("ICMP", "checksum", checksumWord(raw[64+int(d.innerIP.IHL)*4:64+int(d.innerIP.Length)]), "right")
	return out
}

// checksumWord says whether bytes that contain their checksum add up (RFC 1071).
func checksumWord(b []byte) string {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	if sum == 0xffff {
		return "right"
	}
	return "wrong"
}

// writePCAP writes a pcapng file with an interface for each side of the router.
func writePCAP(path string, frames []probe.Frame, ifaces []string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write the capture: %w", cerr)
		}
	}()
	iface := func(name string) pcapgo.NgInterface {
		return pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9, SnapLength: 0}
	}
	w, err := pcapgo.NewNgWriterInterface(f, iface(ifaces[0]), pcapgo.DefaultNgWriterOptions)
	if err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	index := map[string]int{ifaces[0]: 0}
	for _, name := range ifaces[1:] {
		if index[name], err = w.AddInterface(iface(name)); err != nil {
			return fmt.Errorf("write the capture: %w", err)
		}
	}
	slices.SortStableFunc(frames, func(a, b probe.Frame) int { return a.Time.Compare(b.Time) })
	for _, fr := range frames {
		ci := gopacket.CaptureInfo{Timestamp: fr.Time.Truncate(time.Nanosecond), CaptureLength: len(fr.Data), Length: len(fr.Data), InterfaceIndex: index[fr.Interface]}
		if err := w.WritePacket(ci, fr.Data); err != nil {
			return fmt.Errorf("write the capture: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	return nil
}
