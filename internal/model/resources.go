package model

import (
	"encoding/json"
	"net/netip"
	"time"
)

// Standard holds what every Neutron resource has.
type Standard struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	ProjectID   ProjectID `json:"project_id"`
	// Revision counts the changes of this resource (revision_number).
	Revision  int64     `json:"revision_number"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Tags      []string  `json:"tags,omitempty"`
}

// NetworkType is provider:network_type.
type NetworkType string

const (
	// NetworkOverlay is an ordinary tenant or multi-site network.
	NetworkOverlay NetworkType = ""
	// NetworkUplink is a network whose ports are interfaces of hosts that lead
	// out to the underlay.
	NetworkUplink NetworkType = "uplink"
)

// Network is one L2 segment.
type Network struct {
	ID  NetworkID  `json:"id"`
	Key NetworkKey `json:"key"`
	Standard
	AdminStateUp bool        `json:"admin_state_up"`
	Shared       bool        `json:"shared,omitempty"`
	PortSecurity bool        `json:"port_security_enabled"`
	MTU          int         `json:"mtu"` // bytes of an IP packet
	Type         NetworkType `json:"type,omitempty"`
}

// Subnet is an address range of a network. Only IPv4 exists so far.
type Subnet struct {
	ID        SubnetID  `json:"id"`
	NetworkID NetworkID `json:"network_id"`
	Standard
	CIDR            netip.Prefix `json:"cidr"`
	Gateway         netip.Addr   `json:"gateway_ip"` // zero Addr: none
	EnableDHCP      bool         `json:"enable_dhcp"`
	AllocationPools []AddrRange  `json:"allocation_pools"`
	DNSNameservers  []string     `json:"dns_nameservers,omitempty"`
	HostRoutes      []HostRoute  `json:"host_routes,omitempty"`
	// PoolID is the subnet pool that CIDR was taken from, "" for none.
	PoolID SubnetPoolID `json:"subnetpool_id,omitempty"`
	// ServiceTypes are the device owners whose ports may have addresses here; none:
	// all.
	ServiceTypes []string `json:"service_types,omitempty"`
}

// Port is an attachment point of a network: a workload's, a router's interface,
// a remote site's, or (on an uplink network) a host's way out.
type Port struct {
	ID        PortID    `json:"id"`
	Key       PortKey   `json:"key"`
	NetworkID NetworkID `json:"network_id"`
	Standard
	MAC          NamedMAC   `json:"mac_address"`
	FixedIPs     []AddrPair `json:"fixed_ips"`
	AdminStateUp bool       `json:"admin_state_up"`
	DeviceOwner  string     `json:"device_owner"`
	// DeviceID is the router's id where DeviceOwner is OwnerRouterInterface.
	DeviceID     string `json:"device_id"`
	PortSecurity bool   `json:"port_security_enabled"`
	// AllowedPairs are further senders that PortSecurity lets pass.
	AllowedPairs []AllowedPair `json:"allowed_address_pairs,omitempty"`
	HostID       HostName      `json:"binding_host_id,omitempty"`
	// Move is set while the port moves to HostID from another host; nil: it does not.
	Move *Move `json:"move,omitempty"`
	// Profile is binding:profile; its key interface_name names the host-side
	// interface.
	Profile  map[string]json.RawMessage `json:"binding_profile,omitempty"`
	VNICType string                     `json:"binding_vnic_type,omitempty"`
}

// InterfaceName is binding:profile's interface_name, "" if there is none.
func (p *Port) InterfaceName() string {
	var s string
	if json.Unmarshal(p.Profile["interface_name"], &s) != nil {
		return ""
	}
	return s
}

// IsRemoteSite tells whether p is a remote-site port.
func (p *Port) IsRemoteSite() bool { return IsRemoteSiteOwner(p.DeviceOwner) }

// Router forwards between the networks of its interfaces, which are the ports
// whose DeviceID is its id and DeviceOwner OwnerRouterInterface.
type Router struct {
	ID  RouterID  `json:"id"`
	Key RouterKey `json:"key"`
	Standard
	AdminStateUp bool        `json:"admin_state_up"`
	Routes       []HostRoute `json:"routes,omitempty"`
}

// GatewayDeviceType is the type attribute of a gateway device.
type GatewayDeviceType string

const (
	// RouterVTEP makes a router the site's VXLAN endpoint.
	RouterVTEP GatewayDeviceType = "router_vtep"
	// HWVTEP is a switch that the site drives by OVSDB; the tunnel IP is its own.
	HWVTEP GatewayDeviceType = "hw_vtep"
	// NetworkVLAN puts networks on VLANs of an uplink network.
	NetworkVLAN GatewayDeviceType = "network_vlan"
)

// GatewayDevice is where networks of the site leave it: a VXLAN endpoint, or an
// uplink that carries VLANs.
type GatewayDevice struct {
	ID GatewayDeviceID `json:"id"`
	Standard
	Type GatewayDeviceType `json:"type"`
	// ResourceID is the id of what the device is made of; RouterID and UplinkID
	// read it with its kind.
	ResourceID string     `json:"resource_id"`
	TunnelIP   netip.Addr `json:"tunnel_ip"` // IPv4 so far; zero for a network_vlan
	// Management is where a hw_vtep is driven from; nil for the other types.
	Management *Management `json:"management,omitempty"`
	// HostID is the host that is to serve a router_vtep (binding:host_id); "": the site chooses. Placement says who does.
	HostID HostName `json:"binding_host_id,omitempty"`
}

// RouterID is the router of a router_vtep, "" for the other types.
func (d *GatewayDevice) RouterID() RouterID {
	if d.Type != RouterVTEP {
		return ""
	}
	return RouterID(d.ResourceID)
}

// UplinkID is the uplink network of a network_vlan, "" for the other types.
func (d *GatewayDevice) UplinkID() NetworkID {
	if d.Type != NetworkVLAN {
		return ""
	}
	return NetworkID(d.ResourceID)
}

// MaxSegment is the largest segmentation id of networks on such a device: a VLAN
// of IEEE 802.1Q, or else a VNI.
func (t GatewayDeviceType) MaxSegment() int64 {
	if t == NetworkVLAN {
		return MaxVLAN
	}
	return MaxVNI
}

// OVSDB is the only management protocol.
const OVSDB = "ovsdb"

// Management is how a switch is reached.
type Management struct {
	IP       netip.Addr `json:"ip"`
	Port     uint16     `json:"port"`
	Protocol string     `json:"protocol"`
}

// RemoteMACEntry is a row of a gateway device's remote MAC table.
type RemoteMACEntry struct {
	ID          RemoteMACEntryID `json:"id"`
	DeviceID    GatewayDeviceID  `json:"device_id"`
	MAC         NamedMAC         `json:"mac_address"`
	VTEPAddress netip.Addr       `json:"vtep_address"`
	VNI         VNI              `json:"segmentation_id"`
	CreatedAt   time.Time        `json:"created_at"`
}

// L2Gateway names a gateway device and, unless the connection does, the VNI. For
// a network_vlan the VNI is a VLAN.
type L2Gateway struct {
	ID L2GatewayID `json:"id"`
	Standard
	DeviceID GatewayDeviceID `json:"device_id"`
	VNI      VNI             `json:"segmentation_id,omitempty"` // 0: given by the connection
	// Interfaces are the ports of a hw_vtep that the network is on; none for the
	// other types.
	Interfaces []SwitchInterface `json:"interfaces,omitempty"`
}

// SwitchInterface is a port of a switch and the VLANs of it, in order; VLAN 0 are
// the frames without a tag.
type SwitchInterface struct {
	Name  string   `json:"name"`
	VLANs []uint16 `json:"vlans"`
}

// L2GatewayConnection puts a network on an L2 gateway.
type L2GatewayConnection struct {
	ID          L2GatewayConnectionID `json:"id"`
	L2GatewayID L2GatewayID           `json:"l2_gateway_id"`
	NetworkID   NetworkID             `json:"network_id"`
	ProjectID   ProjectID             `json:"project_id"`
	VNI         VNI                   `json:"segmentation_id,omitempty"` // as given on the connection; 0: the gateway's
	CreatedAt   time.Time             `json:"created_at"`
}

// Placement says which host serves a gateway device. Epoch rises with every
// change of host, so that an old holder can be told from the present one.
type Placement struct {
	DeviceID GatewayDeviceID `json:"device_id"`
	Host     HostName        `json:"host"` // that the other hosts send to
	Epoch    uint64          `json:"epoch"`
	// Other, while the device moves, is the host that it goes to (until MoveSwitched), and then the one that it comes from; "": it
	// does not move. Stage is how far that has come.
	Other HostName  `json:"other,omitempty"`
	Stage MoveStage `json:"stage,omitempty"`
	// Next is the host that the device is to go on to when this move is over; "": it stays. A host that has had the device still takes
	// what was sent there, so one that is on its way to another host does not leave for a third one at once.
	Next HostName `json:"next,omitempty"`
}

// Has tells whether a host has the device: its tunnel IP, and what is let in by it.
func (p *Placement) Has(h HostName) bool {
	return h == p.Host || p.Other != "" && h == p.Other && (p.Stage == MoveBoth || p.Stage == MoveSwitched)
}

// Hosts goes through the hosts that frames from the device may come from: two while it moves.
func (p *Placement) Hosts(yield func(HostName) bool) {
	if yield(p.Host) && p.Other != "" {
		yield(p.Other)
	}
}

// Host is a host of the site, known since its agent first connected.
type Host struct {
	Name HostName `json:"name"`
	// AckedRevision is the store revision whose state the host had applied when its
	// agent's last session began, as far as it is known. Its controller may have vouched for more since.
	AckedRevision int64     `json:"acked_revision"`
	FirstSeen     time.Time `json:"first_seen"`
	// Controller is the process that the agent's last session is or was with, the Session-th
	// of that process.
	Controller string `json:"controller,omitempty"`
	Session    uint64 `json:"session,omitempty"`
	// StartedAt is when that session began.
	StartedAt time.Time `json:"started_at,omitzero"`
	// Gone: no controller has heard of the agent for longer than it may be away. Its ports are
	// DOWN then, though the host forwards on by what it had. GoneAt is when that was noticed.
	Gone   bool      `json:"gone,omitempty"`
	GoneAt time.Time `json:"gone_at,omitzero"`
	// Returned: the host is gone still, as its agent has connected again and has not reported yet.
	Returned bool `json:"returned,omitempty"`
	// HeardAt is when the agent was heard last, as far as it was written down.
	HeardAt time.Time `json:"heard_at,omitzero"`
	// UnderlayMTU is the smallest IP MTU (bytes) of the interfaces that carry
	// tunnels, as the host reports it.
	UnderlayMTU int `json:"underlay_mtu,omitempty"`
	// Fabric is the host's end of the fabric between the hosts of the site, as its agent says.
	Fabric Fabric `json:"fabric,omitzero"`
	// GatewayPriority is not 0 where the agent says that the host may serve gateway devices (--gateway): among such
	// hosts those with the highest are chosen first.
	GatewayPriority uint8 `json:"gateway_priority,omitempty"`
}

// Fabric is a host's end of its site's fabric. The zero value: it is not on the fabric.
type Fabric struct {
	Addr netip.Addr `json:"addr"`
	Port uint16     `json:"port"`          // UDP
	MTU  int        `json:"mtu,omitempty"` // bytes of the largest IP packet of its underlay; 0: unknown
}

// On tells whether the host is on the fabric.
func (f Fabric) On() bool { return f.Addr.IsValid() }

// Agent is a host as operators see it. Its id follows from the host's name.
type Agent struct {
	ID           AgentID   `json:"id"`
	Host         HostName  `json:"host"`
	Version      string    `json:"version,omitempty"` // of the agent's last session
	AdminStateUp bool      `json:"admin_state_up"`
	Description  string    `json:"description,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
}

// Controller is one run of a controller, by its id. It vouches for hosts: each whose last
// session is one of the first Sessions of this run has applied the state of AckedRevision.
type Controller struct {
	ID            string `json:"id"`
	Sessions      uint64 `json:"sessions"`
	AckedRevision int64  `json:"acked_revision"`
	// LiveRevision is what all hosts of this run have applied that are not gone; it says so of sessions
	// up to LiveSessions. It is written while something moves, and other controllers have hosts too.
	LiveRevision int64  `json:"live_revision,omitempty"`
	LiveSessions uint64 `json:"live_sessions,omitempty"`
	// PromptRevision and PromptSessions are the same of those hosts that keep up. Earlier versions do not have them.
	PromptRevision int64  `json:"prompt_revision,omitempty"`
	PromptSessions uint64 `json:"prompt_sessions,omitempty"`
	// Beat is raised from time to time while there is another controller, which else takes
	// this one's hosts for gone.
	Beat uint64 `json:"beat,omitempty"`
}

// HostQuestion is what one controller wants to know of a host that another one has: a probe. It is there while
// somebody waits for its answer.
type HostQuestion struct {
	ID       string          `json:"id"`
	Host     HostName        `json:"host"`
	Revision int64           `json:"revision"` // that the host should have applied
	Request  json.RawMessage `json:"request"`
	Taken    bool            `json:"taken,omitempty"` // by the controller that has the host
	Answer   json.RawMessage `json:"answer,omitempty"`
}

// PortStatus is a port's status attribute.
type PortStatus string

const (
	PortActive PortStatus = "ACTIVE"
	PortDown   PortStatus = "DOWN"
	PortError  PortStatus = "ERROR"
)

// PortState is what a host last reported of a port bound to it. It is kept apart
// from the Port, whose revision it does not touch. A port without one is DOWN.
type PortState struct {
	PortID PortID     `json:"port_id"`
	Host   HostName   `json:"host"`
	Status PortStatus `json:"status"`
	// Reason says why a port is not ACTIVE.
	Reason string `json:"reason,omitempty"`
}
