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
	Host     HostName        `json:"host"`
	Epoch    uint64          `json:"epoch"`
}

// Host is a host of the site, known since its agent first connected.
type Host struct {
	Name HostName `json:"name"`
	// AckedRevision is the store revision whose state the host has applied; a
	// key freed at or before it is free on this host.
	AckedRevision int64     `json:"acked_revision"`
	FirstSeen     time.Time `json:"first_seen"`
	// UnderlayMTU is the smallest IP MTU (bytes) of the interfaces that carry
	// tunnels, as the host reports it.
	UnderlayMTU int `json:"underlay_mtu,omitempty"`
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
