// Package observed holds what a site's API says of everything that a peering is
// made of or that may stand in its way. It is data: sites fills it, plan reads it.
package observed

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
)

// Site is one site as one peering needs to see it.
type Site struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	// Problem is set where the site does not answer or refuses; the rest is empty
	// then.
	Problem *Problem `json:"problem,omitempty"`
	// Extensions are the aliases of the API.
	Extensions map[string]bool `json:"-"`
	// Routers are those that the file's name or id means: one where all is well.
	Routers []Router `json:"routers"`
	// Namesakes are the ids of other routers that the file's name means as well: the peering's own
	// port is on the one in Routers.
	Namesakes []string `json:"namesakes,omitempty"`
	// Interfaces are the ports of the one router.
	Interfaces []Port `json:"interfaces"`
	// GatewayRouters are those that the file's gateway.router means.
	GatewayRouters []Router `json:"gateway_routers,omitempty"`
	// VTEPRouter is the one that a gateway device of the file's is on; nil if it was not found.
	VTEPRouter *Router `json:"vtep_router,omitempty"`
	// GatewayPorts are the interfaces of the one of GatewayRouters that the gateway device is on.
	GatewayPorts []Port `json:"gateway_ports,omitempty"`
	// FormerRouters are other routers that a port of the peering is on.
	FormerRouters []Router `json:"former_routers,omitempty"`
	// Devices, L2Gateways and Connections are all of the site.
	Devices     []Device     `json:"gateway_devices"`
	L2Gateways  []L2Gateway  `json:"l2_gateways"`
	Connections []Connection `json:"l2_gateway_connections"`
	// Networks are those that bear the peering's marks, and those of the router's
	// interfaces.
	Networks []Network `json:"networks"`
	Subnets  []Subnet  `json:"subnets"`
	// Ports are all on the networks that bear the peering's marks, or that could be
	// taken over (see Candidates).
	Ports []Port `json:"ports"`
	// RemoteMACs is the table of each gateway device that the peering uses.
	RemoteMACs []RemoteMAC `json:"remote_mac_entries"`
}

// Problem says why a site cannot be worked with.
type Problem struct {
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Router is a router.
type Router struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Description  string   `json:"description,omitempty"`
	Tags         []string `json:"tags,omitempty"`
	AdminStateUp bool     `json:"admin_state_up"`
	Revision     int64    `json:"-"` // 0: the API has none
	Routes       []Route  `json:"routes"`
}

// Route is an extra route.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"nexthop"`
}

// Network is a network.
type Network struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Description  string   `json:"description,omitempty"`
	Tags         []string `json:"tags,omitempty"`
	AdminStateUp bool     `json:"admin_state_up"`
	PortSecurity bool     `json:"port_security_enabled"`
	MTU          int      `json:"mtu,omitempty"` // 0: the API has none
	Type         string   `json:"type,omitempty"`
	External     bool     `json:"external,omitempty"`
}

// Subnet is a subnet.
type Subnet struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Description string       `json:"description,omitempty"`
	Tags        []string     `json:"tags,omitempty"`
	NetworkID   string       `json:"network_id"`
	CIDR        netip.Prefix `json:"cidr"`
	Gateway     netip.Addr   `json:"gateway_ip,omitzero"`
	DHCP        bool         `json:"enable_dhcp"`
}

// Port is a port.
type Port struct {
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	Description  string         `json:"description,omitempty"`
	Tags         []string       `json:"tags,omitempty"`
	NetworkID    string         `json:"network_id"`
	MAC          model.NamedMAC `json:"mac_address"`
	IPs          []IP           `json:"fixed_ips"`
	DeviceOwner  string         `json:"device_owner"`
	DeviceID     string         `json:"device_id"`
	AdminStateUp bool           `json:"admin_state_up"`
}

// IP is one address of a port.
type IP struct {
	SubnetID string     `json:"subnet_id"`
	Addr     netip.Addr `json:"ip_address"`
}

// Addr is the port's only IPv4 address, zero if it has none or several.
func (p Port) Addr() netip.Addr {
	if len(p.IPs) != 1 {
		return netip.Addr{}
	}
	return p.IPs[0].Addr
}

// Device is a gateway device.
type Device struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	Type      string       `json:"type"`
	RouterID  string       `json:"resource_id"`
	TunnelIPs []netip.Addr `json:"tunnel_ips"`
}

// TunnelIP is the device's tunnel IP, zero if it has none.
func (d Device) TunnelIP() netip.Addr {
	if len(d.TunnelIPs) == 0 {
		return netip.Addr{}
	}
	return d.TunnelIPs[0]
}

// L2Gateway is an L2 gateway; VNI is 0 where its connection says it.
type L2Gateway struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	DeviceID string    `json:"device_id"`
	VNI      model.VNI `json:"segmentation_id,omitempty"`
}

// Connection puts a network on an L2 gateway.
type Connection struct {
	ID          string    `json:"id"`
	L2GatewayID string    `json:"l2_gateway_id"`
	NetworkID   string    `json:"network_id"`
	VNI         model.VNI `json:"segmentation_id,omitempty"`
}

// RemoteMAC is a row of a gateway device's remote MAC table.
type RemoteMAC struct {
	ID       string         `json:"id"`
	DeviceID string         `json:"device_id"`
	MAC      model.NamedMAC `json:"mac_address"`
	VTEP     netip.Addr     `json:"vtep_address"`
	VNI      model.VNI      `json:"segmentation_id"`
}

// Holder is who has an address.
type Holder struct {
	Port Port
	// Router is the one that the port is an interface of, nil where it is none; Interfaces are
	// that router's, and Networks and Subnets those that they are on.
	Router     *Router
	Interfaces []Port
	Networks   []Network
	Subnets    []Subnet
}

// Network gives the network of an id, nil if it was not read.
func (h *Holder) Network(id string) *Network {
	return byID(h.Networks, func(n *Network) string { return n.ID }, id)
}

// Subnet gives the subnet of an id, nil if it was not read.
func (h *Holder) Subnet(id string) *Subnet {
	return byID(h.Subnets, func(n *Subnet) string { return n.ID }, id)
}

// OwnerRouterInterface tells whether a device_owner is that of a router's
// interface. Neutron has several, for its kinds of routers.
func OwnerRouterInterface(owner string) bool {
	return strings.HasPrefix(owner, "network:") && strings.Contains(owner, "router_interface") ||
		owner == "network:ha_router_replicated_interface"
}

// Network gives the network of an id, nil if it was not read.
func (s *Site) Network(id string) *Network {
	return byID(s.Networks, func(n *Network) string { return n.ID }, id)
}

// Subnet gives the subnet of an id, nil if it was not read.
func (s *Site) Subnet(id string) *Subnet {
	return byID(s.Subnets, func(n *Subnet) string { return n.ID }, id)
}

// Device gives the gateway device of an id, nil if there is none.
func (s *Site) Device(id string) *Device {
	return byID(s.Devices, func(n *Device) string { return n.ID }, id)
}

// L2Gateway gives the L2 gateway of an id, nil if there is none.
func (s *Site) L2Gateway(id string) *L2Gateway {
	return byID(s.L2Gateways, func(n *L2Gateway) string { return n.ID }, id)
}

// VNIOf is the VNI of a connection: its own, or its gateway's.
func (s *Site) VNIOf(c *Connection) model.VNI {
	if c.VNI != 0 {
		return c.VNI
	}
	if g := s.L2Gateway(c.L2GatewayID); g != nil {
		return g.VNI
	}
	return 0
}

func byID[T any](list []T, id func(*T) string, want string) *T {
	i := slices.IndexFunc(list, func(t T) bool { return id(&t) == want })
	if i < 0 || want == "" {
		return nil
	}
	return &list[i]
}

// ByNameOrID are the items that a name or id means: an id wins over names.
func ByNameOrID[T any](list []T, key func(T) (id, name string), want string) []T {
	var named []T
	for _, t := range list {
		id, name := key(t)
		if id == want {
			return []T{t}
		}
		if name == want {
			named = append(named, t)
		}
	}
	return named
}
