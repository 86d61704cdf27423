package site

import (
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// The constructors spell each error the way Neutron and its plugins do, so that
// clients that map exception names keep working.

// NetworkNotFound is the 404 of networks.
func NetworkNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "NetworkNotFound", "Network %s could not be found.", id)
}

// SubnetNotFound is the 404 of subnets.
func SubnetNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "SubnetNotFound", "Subnet %s could not be found.", id)
}

// PortNotFound is the 404 of ports.
func PortNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "PortNotFound", "Port %s could not be found.", id)
}

// RouterNotFound is the 404 of routers.
func RouterNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "RouterNotFound", "Router %s could not be found", id)
}

// SubnetPoolNotFound is the 404 of subnet pools.
func SubnetPoolNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "SubnetPoolNotFound", "Subnet pool %s could not be found.", id)
}

// AddressScopeNotFound is the 404 of address scopes.
func AddressScopeNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "AddressScopeNotFound", "Address scope %s could not be found.", id)
}

// GatewayDeviceNotFound is the 404 of gateway devices.
func GatewayDeviceNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "GatewayDeviceNotFound", "Gateway device %s does not exist", id)
}

// RemoteMACEntryNotFound is the 404 of remote MAC entries.
func RemoteMACEntryNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "RemoteMacEntryNotFound", "Remote MAC entry %s does not exist", id)
}

// L2GatewayNotFound is the 404 of L2 gateways.
func L2GatewayNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "L2GatewayNotFound", "L2 Gateway %s could not be found", id)
}

// L2GatewayConnectionNotFound is the 404 of L2 gateway connections.
func L2GatewayConnectionNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "L2GatewayConnectionNotFound", "The connection %s not found on the l2 gateway", id)
}

func invalidInput(format string, args ...any) *model.Error {
	return model.Errf(model.KindInvalid, "InvalidInput", "Invalid input for operation: %s.", fmt.Sprintf(format, args...))
}

func badRequest(resource, format string, args ...any) *model.Error {
	return model.Errf(model.KindInvalid, "BadRequest", "Bad %s request: %s.", resource, fmt.Sprintf(format, args...))
}

// Unsupported refuses, in words, what does not exist yet. The request is at fault
// then, not the server.
func Unsupported(format string, args ...any) *model.Error {
	return model.Errf(model.KindUnsupported, "FeatureNotSupported", format, args...)
}

func conflict(typ, format string, args ...any) *model.Error {
	return model.Errf(model.KindConflict, typ, format, args...)
}

func macInUse(net model.NetworkID, mac model.MAC) *model.Error {
	return conflict("MacAddressInUse", "Unable to complete operation for network %s. The mac address %s is in use.", net, mac)
}

func ipAllocated(ip netip.Addr, sub model.SubnetID) *model.Error {
	return conflict("IpAddressAlreadyAllocated", "IP address %s already allocated in subnet %s", ip, sub)
}

func portInUse(p *model.Port) *model.Error {
	return conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.", p.ID, p.NetworkID, p.DeviceID)
}

func deviceInUse(id, kind string) *model.Error {
	return conflict("DeviceInUseByGatewayDevice", "device %s (%s) is in use by gateway device", id, kind)
}

func interfaceInUseByRoute(r model.RouterID, sub model.SubnetID) *model.Error {
	return conflict("RouterInterfaceInUseByRoute", "Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", sub, r)
}

func hostNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "HostNotFound", "Host %s is not registered.", id)
}
