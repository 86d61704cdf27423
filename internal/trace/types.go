package trace

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// Env is what the host's kernel says about the names in a State; the pure half
// of dataplane.Env. The zero Env is a host where everything is there.
type Env struct {
	// Links are the workload interfaces that are there, by name. Nil: all are,
	// with the MTU of their network.
	Links map[string]Link
	// Trunks are the uplink interfaces of VLANs that are there; nil: all are.
	Trunks map[string]Link
	// Tables is the kernel routing table of each gateway device's outer packets;
	// missing: hostenv.MainTable.
	Tables map[model.GatewayDeviceID]uint32
	// PathMTU is the largest outer IP packet towards a VTEP, bytes; missing: 1500.
	PathMTU map[netip.Addr]int
	// Ways is how packets of each remote VTEP come and go; nil: by any interface.
	Ways map[VTEP]Way
	// Fabric is this host's end of the fabric between the hosts of its site.
	Fabric hostenv.Fabric
	// Mark are the bits by which from_vxlan knows what from_underlay has let pass; 0: it
	// takes all.
	Mark uint32
	// PathWhy says in words how that is known.
	PathWhy map[netip.Addr]string
	// NoRoute are the VTEPs to which the kernel has no route.
	NoRoute map[Underlay]bool
	// Unreachable says in words why nothing leaves for a VTEP.
	Unreachable map[VTEP]string
	// HashKey keys the outer source port.
	HashKey uint64
	// Memory is what the host has learned of senders that allowed address pairs let
	// pass; nil: nothing is known of it.
	Memory *Memory
	// Other is the pipeline of another host of the site, to follow a traced packet over the fabric; nil,
	// or nil of a host: it is followed no further.
	Other func(model.HostName) *Pipeline
	// AgentDead: the host's agent vouches for nothing any more, and the host forwards nothing.
	AgentDead bool
	// Names are what people call ports and gateway devices, by id. Where there
	// is none, the id is shown.
	Names map[string]string
}

// What package dataplane goes by too.
type (
	Link = hostenv.Link
	VTEP = hostenv.VTEP
)

// Way is how packets of a remote VTEP come and go.
type Way struct {
	Interfaces []string // that its packets may come in by
	Kernel     bool     // by the kernel's own output and input
	Drop       reason.Reason
}

// Underlay is a look-up in a kernel routing table.
type Underlay struct {
	Table  uint32
	Remote netip.Addr
}

// GSOByFrags as a GSOSize says that the segments have no common size (SCTP;
// include/linux/skbuff.h).
const GSOByFrags = 0xffff

// Frame is what enters a program.
type Frame struct {
	Data []byte
	// GSOSize is the payload of one segment where the kernel holds several in
	// one frame; 0: it is one packet; or GSOByFrags.
	GSOSize int
	// Rigid: GSO of a kind to which the kernel lets no program add outer headers,
	// or take them off (neither TCP nor UDP_SEGMENT).
	Rigid bool
	// OtherHost: the frame's packet type is not PACKET_HOST (from_underlay).
	OtherHost bool
	// VLAN: a VLAN tag that the network card took off (from_workload, from_vxlan).
	VLAN bool
	// Interface is where it came in (from_underlay).
	Interface string
	// Mark is the mark that the kernel keeps with the packet.
	Mark uint32
}

// TunnelKey is what the kernel's vxlan device says of a frame it received.
type TunnelKey struct {
	Local  netip.Addr `json:"local"`  // outer destination
	Remote netip.Addr `json:"remote"` // outer source
	VNI    model.VNI  `json:"vni"`
}

// Verdict is what becomes of a frame; the numbers are those of enum verdict.
type Verdict uint8

const (
	Pass   Verdict = iota + 1 // not ours: to the host
	Drop                      // Reason says why
	Port                      // to the workload behind Interface
	Tunnel                    // encapsulated; Output has the outer headers
	VXLAN                     // to the collect-metadata device with the tunnel key
	Slow                      // to the slow path; slow_header is in Output
	Reply                     // an ARP reply, back out of Interface
	Flood                     // to Copies: local ports of Network, VLANs and hosts
	Tagged                    // out of Interface with the tag VLAN
)

var verdictNames = [...]string{"", "pass", "drop", "port", "tunnel", "vxlan", "slow", "reply", "flood", "tagged"}

// String is the verdict's name in JSON and in messages.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict_%d", uint8(v))
}

// MarshalText writes the name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a name.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, n := range verdictNames {
		if n == string(b) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", b)
}

// Result is what a program does with one frame.
type Result struct {
	Verdict Verdict
	Reason  reason.Reason // why it was dropped; also with Slow where an ICMP error is due
	Output  []byte        // the frame as it leaves; with Drop nothing, with Flood each copy
	Mark    uint32        // as it leaves

	Port      model.PortKey    // Port, Reply
	Interface string           // Port, Reply, Tagged
	VLAN      uint16           // Tagged
	Peer      bool             // Port: the link's PeerElsewhere
	Network   model.NetworkKey // Flood
	Copies    []string         // Flood: the interfaces, VLANs and hosts among them

	// Tunnel and VXLAN:
	Local  netip.Addr
	Remote netip.Addr
	VNI    model.VNI
	Table  uint32
	TOS    uint8
	// Host is the host that it goes to over the fabric; "": it goes to another site.
	Host model.HostName

	// Sender is the port whose interface it came in by: Reason, and what Limited says, are among the drops of
	// that port.
	Sender model.PortKey

	// Limited is how many things Memory had no room for.
	Limited int

	// Remembered: the programs go by a row of flows for the next packets of this one's flow.
	Remembered bool

	// Stays: the programs need not take the outer headers off, but write them anew where they are. Behind a
	// router they do so from the row of flows on.
	Stays bool

	Counts []Count // what the packet adds to the traffic counters

	// Path names the branches that were taken, for coverage.
	Path []string
	Hops []Hop
}

// Count is one packet on a counter: of a port, or where Port is 0 of Tunnel.
type Count struct {
	Port   model.PortKey
	Tunnel TunnelKey
	VLAN   hoststate.VLANKey // where its ID is not 0
	Sent   bool              // to the workload or the remote VTEP; else received from it
	Bytes  int               // of the (inner) frame
}

// Object names a thing of the virtual topology.
type Object struct {
	Kind string `json:"kind"` // port, network, router, gateway device, host
	Name string `json:"name,omitempty"`
	ID   string `json:"id,omitempty"`
}

// String is "kind name", or the id where there is no name.
func (o Object) String() string {
	n := o.Name
	if n == "" {
		n = o.ID
	}
	if n == "" {
		return o.Kind
	}
	return o.Kind + " " + n
}

// Hop is one decision on a packet's way, in words.
type Hop struct {
	At       string `json:"at"` // Object in words: "router SiteATenantRouter"
	Object   Object `json:"object"`
	Decision string `json:"decision"`         // what was found: "route 10.0.1.0/24 via 192.168.0.2 on network multi-site"
	Result   string `json:"result,omitempty"` // what follows: "TTL 63, to 6f:e4:5a:fa:8e:09"
	Reason   string `json:"reason,omitempty"` // name of the drop reason, on the hop that drops
	Remedy   string `json:"remedy,omitempty"` // the way out of a drop, in words
}

// Subnet is what a workload knows of one of its port's subnets.
type Subnet struct {
	Prefix  netip.Prefix      `json:"prefix"`
	Gateway netip.Addr        `json:"gateway"` // zero: none
	Routes  []model.HostRoute `json:"routes,omitempty"`
}

// Request asks for the way of a packet that a workload sends.
type Request struct {
	Port    model.PortID `json:"port_id"`
	Subnets []Subnet     `json:"subnets"` // of the port's addresses, in their order
	From    netip.Addr   `json:"from"`    // zero: the port's address in the subnet used
	To      netip.Addr   `json:"to"`
	Packet
}

// TunnelRequest asks for the way of a packet that comes in from another site.
type TunnelRequest struct {
	Gateway model.GatewayDeviceID `json:"gateway_device_id"`
	Remote  netip.Addr            `json:"remote"` // outer source: the other site's tunnel IP
	VNI     model.VNI             `json:"vni"`
	SrcMAC  model.MAC             `json:"src_mac"` // inner
	DstMAC  model.MAC             `json:"dst_mac"`
	From    netip.Addr            `json:"from"` // inner
	To      netip.Addr            `json:"to"`
	Packet
}

// Packet says what kind of packet to send. Zero fields have the defaults.
type Packet struct {
	Proto        string `json:"proto,omitempty"` // icmp (an echo request; default), tcp (a SYN) or udp
	SrcPort      uint16 `json:"sport,omitempty"` // default 40000
	DstPort      uint16 `json:"dport,omitempty"` // default 33434 for udp, 80 for tcp
	Size         int    `json:"size,omitempty"`  // bytes of the IP packet; default 84 for icmp, 60 otherwise
	TTL          int    `json:"ttl,omitempty"`   // default 64
	DontFragment bool   `json:"df,omitempty"`    // the DF bit
}

// Report is the answer to both kinds of request.
type Report struct {
	Verdict Verdict `json:"verdict"`
	// Delivered: the packet reaches a workload of the site, leaves for another
	// site, or is answered by a router.
	Delivered bool   `json:"delivered"`
	Reason    string `json:"reason,omitempty"` // name, where it was dropped
	Summary   string `json:"summary"`          // one sentence, with the way out of a drop
	Hops      []Hop  `json:"hops"`
	// Answer are the hops of what comes back by itself: an ICMP error.
	Answer []Hop          `json:"answer,omitempty"`
	Sent   []packet.Layer `json:"sent,omitempty"` // the packet as it entered
	Out    []packet.Layer `json:"out,omitempty"`  // the packet as it leaves the last host
	// Hosts are those of the site that the packet, or what comes back by itself, came to over the fabric, in order.
	Hosts []model.HostName `json:"hosts,omitempty"`
	// Next is set where the packet leaves by a tunnel: what the other site is to
	// be asked. Its gateway device is not known here; TunnelIP names it.
	Next *Next `json:"next,omitempty"`
	// Warnings say of ports on the way that their host has no room for their rows, or
	// cannot serve them: then the packet itself may fare otherwise.
	Warnings []string `json:"warnings,omitempty"`
}

// Next is the question to the site that the packet goes to.
type Next struct {
	TunnelIP netip.Addr    `json:"tunnel_ip"` // of the other site: the outer destination
	Request  TunnelRequest `json:"request"`
}
