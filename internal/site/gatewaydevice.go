package site

import (
	"context"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// GatewayDeviceTypes are the values that the type attribute may have.
func GatewayDeviceTypes() []string {
	return []string{string(model.HWVTEP), string(model.RouterVTEP), string(model.NetworkVLAN)}
}

// GatewayDeviceInput is a gateway device as requested. The device's TunnelIP and
// Management are not used: the fields here hold what was given.
type GatewayDeviceInput struct {
	model.GatewayDevice
	TunnelIPs          []netip.Addr
	ManagementIP       netip.Addr // zero: not given
	ManagementPort     *uint16    // nil: not given
	ManagementProtocol string     // "": not given
}

// CreateGatewayDevice makes a router a VTEP router, an uplink network a carrier of
// VLANs, or a switch one of the site's. A VTEP router is placed on a
// host that may serve it, if there is one. The order of the checks is that of Neutron's plugin.
func (s *Site) CreateGatewayDevice(ctx context.Context, in *GatewayDeviceInput) (*model.GatewayDevice, error) {
	var out *model.GatewayDevice
	err := s.update(ctx, func(t *tx) error {
		d := in.GatewayDevice
		d.ID = model.GatewayDeviceID(uuid.NewString())
		err := t.deviceResource(&d, in)
		if err != nil {
			return err
		}
		if d.TunnelIP, err = tunnelIP(in); err != nil {
			return err
		}
		if err := t.reindex(nil, deviceEntries(&d)); err != nil {
			return err
		}
		t.stamp(&d.Standard, 1)
		store.Put(t, store.GatewayDevices, string(d.ID), &d)
		if err := t.checkBinding(&d); err != nil {
			return err
		}
		if placed(&d) {
			t.place(&d)
		}
		out = &d
		return nil
	})
	return out, err
}

// deviceResource checks what the device is made of, and fills in Management. What
// is taken already by another device is reported here, before the tunnel IP.
func (t *tx) deviceResource(d *model.GatewayDevice, in *GatewayDeviceInput) error {
	switch d.Type {
	case model.HWVTEP:
		return t.deviceSwitch(d, in)
	case model.RouterVTEP:
		if d.ResourceID == "" {
			return model.Errf(model.KindInvalid, "RouterVtepTypeInvalid", "resource_id is required for gateway devices of type router_vtep")
		}
		if named(t, store.Routers, d.ResourceID) == nil {
			return resourceNotFound(d.ResourceID)
		}
	case model.NetworkVLAN:
		if d.ResourceID == "" {
			return model.Errf(model.KindInvalid, "NetworkVlanTypeInvalid", "resource_id is required for gateway devices of type network_vlan")
		}
		n := named(t, store.Networks, d.ResourceID)
		if n == nil {
			return resourceNotFound(d.ResourceID)
		}
		if n.Type != model.NetworkUplink {
			return model.Errf(model.KindInvalid, "NetworkVlanTypeInvalid", "resource_id of a gateway device of type network_vlan must be a network with provider:network_type uplink, and network %s is none", n.ID)
		}
	default:
		return invalidInput("%s is no type of gateway device", d.Type)
	}
	if holder := resourceEntry(d); holder.taken != nil {
		if id, used := t.Lookup(holder.ix, holder.key); used {
			return holder.taken(id)
		}
	}
	if in.ManagementIP.IsValid() || in.ManagementPort != nil || in.ManagementProtocol != "" {
		return invalidInput("management_ip, management_port and management_protocol have no meaning for gateway devices of type %s", d.Type)
	}
	return nil
}

func (t *tx) deviceSwitch(d *model.GatewayDevice, in *GatewayDeviceInput) error {
	ip := in.ManagementIP.Unmap()
	if !ip.IsValid() || in.ManagementPort == nil || *in.ManagementPort == 0 {
		return model.Errf(model.KindInvalid, "HwVtepTypeInvalid", "management_ip and management_port are required for gateway devices of type hw_vtep")
	}
	d.Management = &model.Management{IP: ip, Port: *in.ManagementPort, Protocol: in.ManagementProtocol}
	if d.Management.Protocol == "" {
		d.Management.Protocol = model.OVSDB
	}
	if id, used := t.Lookup(ixManagementIP, ip.String()); used {
		return resourceEntry(d).taken(id)
	}
	if !ip.IsGlobalUnicast() && !ip.IsLoopback() {
		return model.Errf(model.KindInvalid, "HTTPBadRequest", "Invalid input for management_ip. Reason: '%s' is not a unicast address.", ip)
	}
	if d.ResourceID != "" {
		return invalidInput("resource_id has no meaning for gateway devices of type hw_vtep")
	}
	return nil
}

func resourceNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "ResourceNotFound", "specified resource %s does not exist", id)
}

// placed tells whether a device has its place on one host.
func placed(d *model.GatewayDevice) bool { return d.Type == model.RouterVTEP }

func tunnelIP(in *GatewayDeviceInput) (netip.Addr, error) {
	if len(in.TunnelIPs) > 1 {
		return netip.Addr{}, model.Errf(model.KindInvalid, "TunnelIPsExhausted", "a gateway device can have one tunnel ip only")
	}
	switch {
	case in.Type == model.NetworkVLAN && len(in.TunnelIPs) == 0:
		return netip.Addr{}, nil
	case in.Type == model.NetworkVLAN:
		return netip.Addr{}, invalidInput("tunnel_ips have no meaning for gateway devices of type network_vlan")
	case len(in.TunnelIPs) == 0:
		return netip.Addr{}, model.Errf(model.KindInvalid, "TunnelIPsRequired", "tunnel_ips are required for gateway devices of type %s", in.Type)
	}
	ip := in.TunnelIPs[0]
	if err := checkVTEP("tunnel_ips", ip); err != nil {
		return netip.Addr{}, err
	}
	return ip, nil
}

// checkVTEP refuses addresses that no VXLAN endpoint can have.
func checkVTEP(attr string, ip netip.Addr) error {
	if !ip.Is4() {
		return Unsupported("IPv6 VXLAN endpoints do not exist yet: %s in %s", ip, attr)
	}
	if !model.IsRouted(ip) || !ip.IsGlobalUnicast() {
		return model.Errf(model.KindInvalid, "HTTPBadRequest", "Invalid input for %s. Reason: '%s' is not a unicast address.", attr, ip)
	}
	return nil
}

// resourceEntry is the entry of what a device is made of: one device a router, an
// uplink network, a switch.
func resourceEntry(d *model.GatewayDevice) entry {
	switch d.Type {
	case model.HWVTEP:
		return entry{ix: ixManagementIP, key: d.Management.IP.String(), value: string(d.ID), taken: func(string) *model.Error {
			return conflict("GatewayDeviceParamDuplicate", "management_ip %s is already used", d.Management.IP)
		}}
	case model.NetworkVLAN:
		return entry{ix: ixDeviceOfNetwork, key: d.ResourceID, value: string(d.ID), taken: func(string) *model.Error {
			return deviceInUse(d.ResourceID, "network")
		}}
	}
	return entry{ix: ixDeviceOfRouter, key: d.ResourceID, value: string(d.ID), taken: func(string) *model.Error {
		return deviceInUse(d.ResourceID, "router")
	}}
}

func deviceEntries(d *model.GatewayDevice) []entry {
	entries := []entry{resourceEntry(d)}
	if d.TunnelIP.IsValid() {
		entries = append(entries, entry{ix: ixTunnelIP, key: d.TunnelIP.String(), value: string(d.ID), taken: func(string) *model.Error {
			return conflict("GatewayDeviceParamDuplicate", "tunnel_ips %s is already used", d.TunnelIP)
		}})
	}
	return entries
}

// UpdateGatewayDevice applies change to a copy of the device and stores it.
func (s *Site) UpdateGatewayDevice(ctx context.Context, id string, change func(*GatewayDeviceInput) error) (*model.GatewayDevice, error) {
	var out *model.GatewayDevice
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.GatewayDevices, id, GatewayDeviceNotFound)
		if err != nil {
			return err
		}
		in := GatewayDeviceInput{GatewayDevice: *old}
		if old.TunnelIP.IsValid() {
			in.TunnelIPs = []netip.Addr{old.TunnelIP}
		}
		if err := change(&in); err != nil {
			return err
		}
		d := in.GatewayDevice
		if d.TunnelIP, err = tunnelIP(&in); err != nil {
			return err
		}
		if placed(&d) && d.TunnelIP != old.TunnelIP {
			for _, e := range RemoteMACsOf(t, old.ID) {
				if e.VTEPAddress == d.TunnelIP {
					return ownTunnelIP(d.TunnelIP)
				}
			}
		}
		if err := t.reindex(deviceEntries(old), deviceEntries(&d)); err != nil {
			return err
		}
		t.touch(&d.Standard)
		store.Put(t, store.GatewayDevices, id, &d)
		if d.HostID != old.HostID {
			if err := t.checkBinding(&d); err != nil {
				return err
			}
			t.place(&d)
		} else if placed(&d) && d.HostID != "" { // it may have turned back before
			t.place(&d)
		}
		out = &d
		return nil
	})
	return out, err
}

// cascadeChunk bounds the remote MACs that go in one transaction; the limit of an
// etcd cluster is 128 operations, and a remote MAC takes two.
const cascadeChunk = 50

// DeleteGatewayDevice deletes a device that no L2 gateway uses, with its remote MAC
// table. Its router is a plain one again.
//
// A table too large for one transaction goes in several, the device with the last:
// without an L2 gateway the table leads nowhere, so that nothing can see it shrink.
// Each transaction makes sure of that again.
func (s *Site) DeleteGatewayDevice(ctx context.Context, id string, guard func(*model.GatewayDevice) error) error {
	for {
		gone := false
		err := s.update(ctx, func(t *tx) (err error) {
			gone, err = t.deleteDevice(id, guard)
			return err
		})
		if gone || err != nil {
			return err
		}
	}
}

// deleteDevice deletes the device or, while its table is too large for that, a
// part of the table.
func (t *tx) deleteDevice(id string, guard func(*model.GatewayDevice) error) (gone bool, err error) {
	d, err := find(t, store.GatewayDevices, id, GatewayDeviceNotFound)
	if err != nil {
		return false, err
	}
	if err := check(guard, d); err != nil {
		return false, err
	}
	if first(t, ixGatewayOfDevice, id+"/") != "" {
		return false, conflict("GatewayDeviceInUse", "Gateway device %s is in use by l2 gateway", id)
	}
	table := remoteMACs(t, d.ID, cascadeChunk+1)
	for _, e := range table[:min(len(table), cascadeChunk)] {
		if err := t.removeRemoteMAC(e); err != nil {
			return false, err
		}
	}
	if len(table) > cascadeChunk {
		return false, nil
	}
	store.Delete(t, store.Placements, id)
	t.retireSwitch(d)
	store.Delete(t, store.GatewayDevices, id)
	return true, t.reindex(deviceEntries(d), nil)
}

// CreateRemoteMAC adds a row to a device's remote MAC table.
func (s *Site) CreateRemoteMAC(ctx context.Context, in *model.RemoteMACEntry) (*model.RemoteMACEntry, error) {
	if err := s.roomForRemoteMAC(ctx, in.DeviceID); err != nil {
		return nil, err
	}
	var out *model.RemoteMACEntry
	err := s.update(ctx, func(t *tx) error {
		e := *in
		e.ID = model.RemoteMACEntryID(uuid.NewString())
		d, err := find(t, store.GatewayDevices, string(e.DeviceID), GatewayDeviceNotFound)
		if err != nil {
			return err
		}
		if d.Type == model.NetworkVLAN {
			return conflict("OperationRemoteMacEntryNotSupported", "remote mac entries are not supported by gateway device %s of type %s", d.ID, d.Type)
		}
		if e.MAC.MAC == (model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
			return invalidInput("the broadcast address cannot be the mac_address of a remote MAC entry")
		}
		if err := checkVTEP("vtep_address", e.VTEPAddress); err != nil {
			return err
		}
		if placed(d) && e.VTEPAddress == d.TunnelIP {
			return ownTunnelIP(e.VTEPAddress)
		}
		if err := t.reindex(nil, remoteMACEntries(&e)); err != nil {
			return err
		}
		e.CreatedAt = t.now
		store.Put(t, store.RemoteMACEntries, string(e.ID), &e)
		out = &e
		return nil
	})
	if err == nil {
		s.warn.groupMAC("remote_mac_entry", string(out.ID), out.MAC)
	}
	return out, err
}

// ownTunnelIP refuses a remote MAC entry that leads back to its own gateway device. (Of
// a switch it says what is behind the switch itself.)
func ownTunnelIP(ip netip.Addr) *model.Error {
	return invalidInput("%s is the gateway device's own tunnel ip: the vtep_address of a remote MAC entry is another site's", ip)
}

func remoteMACEntries(e *model.RemoteMACEntry) []entry {
	return []entry{{ix: ixRemoteMAC, key: join(e.DeviceID, e.VNI, e.MAC.MAC), value: string(e.ID), taken: func(string) *model.Error {
		return conflict("DuplicateRemoteMacEntry", "The remote MAC table of gateway device %s already has %s for segmentation_id %d", e.DeviceID, strings.ToLower(e.MAC.String()), e.VNI)
	}}}
}

// DeleteRemoteMAC removes a row of the device's remote MAC table.
func (s *Site) DeleteRemoteMAC(ctx context.Context, device model.GatewayDeviceID, id string) error {
	return s.update(ctx, func(t *tx) error {
		e, err := RemoteMAC(t, device, id)
		if err != nil {
			return err
		}
		return t.removeRemoteMAC(e)
	})
}

// RemoteMAC reads a row of the device's remote MAC table.
func RemoteMAC(r store.Reader, device model.GatewayDeviceID, id string) (*model.RemoteMACEntry, error) {
	if _, err := find(r, store.GatewayDevices, string(device), GatewayDeviceNotFound); err != nil {
		return nil, err
	}
	e, err := find(r, store.RemoteMACEntries, id, RemoteMACEntryNotFound)
	if err != nil {
		return nil, err
	}
	if e.DeviceID != device {
		return nil, model.Errf(model.KindInvalid, "RemoteMacEntryWrongGatewayDevice", "remote mac entry %s does not belong to gateway device %s", id, device)
	}
	return e, nil
}

func (t *tx) removeRemoteMAC(e *model.RemoteMACEntry) error {
	store.Delete(t, store.RemoteMACEntries, string(e.ID))
	return t.reindex(remoteMACEntries(e), nil)
}
