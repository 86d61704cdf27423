package site

import (
	"context"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// PortInput is a port as requested. A zero MAC asks for a new one. Its FixedIPs are not
// used: Requests says which addresses are wanted, and AutoIPs asks for one of any
// subnet of the network.
type PortInput struct {
	model.Port
	Requests []FixedIP
	AutoIPs  bool
	// PortSecurityGiven tells a chosen port_security_enabled from the network's.
	PortSecurityGiven bool
}

// CreatePorts creates all or none.
func (s *Site) CreatePorts(ctx context.Context, in []*PortInput) ([]*model.Port, error) {
	var out []*model.Port
	err := s.update(ctx, func(t *tx) error {
		out = nil
		for _, req := range in {
			p, err := t.createPort(*req)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		return nil
	})
	if err == nil {
		for _, p := range out {
			s.warn.groupMAC("port", string(p.ID), p.MAC)
		}
	}
	return out, err
}

func (t *tx) createPort(in PortInput) (*model.Port, error) {
	p := in.Port
	net, err := find(t, store.Networks, string(p.NetworkID), NetworkNotFound)
	if err != nil {
		return nil, err
	}
	id, err := t.newID(QuotaPort, p.ProjectID)
	if err != nil {
		return nil, err
	}
	p.ID = model.PortID(id)
	if !in.PortSecurityGiven {
		p.PortSecurity = net.PortSecurity
	}
	if p.MAC.IsZero() {
		if p.MAC, err = t.freeMAC(net.ID); err != nil {
			return nil, err
		}
	}
	if err := t.fillIPs(&p, in, nil); err != nil {
		return nil, err
	}
	if err := t.checkPort(&p, nil, net); err != nil {
		return nil, err
	}
	if err := t.reindex(nil, portEntries(&p)); err != nil {
		return nil, err
	}
	key, err := t.newKey(store.Ports.Kind(), string(p.ID))
	if err != nil {
		return nil, err
	}
	p.Key = model.PortKey(key)
	t.stamp(&p.Standard, 1)
	store.Put(t, store.Ports, string(p.ID), &p)
	return &p, nil
}

func (t *tx) fillIPs(p *model.Port, in PortInput, kept []model.AddrPair) (err error) {
	if in.AutoIPs {
		p.FixedIPs, err = t.allocateAny(p.NetworkID, p.DeviceOwner)
	} else {
		p.FixedIPs, err = t.allocate(p.NetworkID, p.DeviceOwner, in.Requests, kept)
	}
	return err
}

// checkPort refuses combinations that could not work. old is nil for a new port.
func (t *tx) checkPort(p, old *model.Port, net *model.Network) error {
	if p.MAC.MAC == (model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
		return invalidInput("the broadcast address cannot be a port's mac_address")
	}
	if err := t.s.limits.checkPairs(p, old); err != nil {
		return err
	}
	if p.IsRemoteSite() && (p.HostID != "" || p.InterfaceName() != "") {
		return badRequest("port", "a remote-site port stands for a port at another site and cannot be bound to a host of this one")
	}
	if p.DeviceOwner == model.OwnerRouterInterface {
		if p.InterfaceName() != "" && net.Type != model.NetworkUplink {
			return badRequest("port", "a router interface can be bound to a host's interface on an uplink network only")
		}
		return nil
	}
	return nil
}

// portEntries are the index entries of a port.
func portEntries(p *model.Port) []entry {
	id := string(p.ID)
	out := []entry{
		ownedEntry(QuotaPort, p.ProjectID, id),
		{ix: ixMAC, key: join(p.NetworkID, p.MAC.MAC), value: id, taken: func(string) *model.Error {
			return macInUse(p.NetworkID, p.MAC.MAC)
		}},
	}
	for _, a := range p.FixedIPs {
		out = append(out, entry{ix: ixIP, key: join(a.SubnetID, addrKey(a.IP)), value: id, taken: func(string) *model.Error {
			return ipAllocated(a.IP, a.SubnetID)
		}})
	}
	if name := p.InterfaceName(); name != "" && p.HostID != "" {
		out = append(out, entry{ix: ixInterface, key: join(p.HostID, name), value: id, taken: func(holder string) *model.Error {
			return conflict("PortBindingInUse", "Interface %s of host %s is already bound to port %s.", name, p.HostID, holder)
		}})
	}
	if m := p.Move; m != nil { // nobody else's before the move has ended
		out = append(out, entry{ix: ixInterface, key: join(m.Host, m.Interface), value: id, taken: func(holder string) *model.Error {
			return conflict("PortBindingInUse", "Interface %s of host %s is already bound to port %s.", m.Interface, m.Host, holder)
		}})
	}
	if isInterface(p) {
		out = append(out, entry{ix: ixPortOfRouter, key: join(p.DeviceID, id)})
		for _, a := range p.FixedIPs {
			out = append(out, entry{ix: ixSubnetOfRouter, key: join(p.DeviceID, a.SubnetID), value: id, taken: func(string) *model.Error {
				return badRequest("router", "Router already has a port on subnet %s", a.SubnetID)
			}})
		}
	}
	return out
}

// isInterface tells whether p is a router's interface.
func isInterface(p *model.Port) bool {
	return p.DeviceOwner == model.OwnerRouterInterface && p.DeviceID != ""
}

// UpdatePort applies change to a copy of the port and stores it. The copy's
// Requests hold the addresses that the port has.
func (s *Site) UpdatePort(ctx context.Context, id string, change func(*PortInput) error) (*model.Port, error) {
	var out *model.Port
	var newMAC bool
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.Ports, id, PortNotFound)
		if err != nil {
			return err
		}
		in := PortInput{Port: *old}
		for _, a := range old.FixedIPs {
			in.Requests = append(in.Requests, FixedIP(a))
		}
		if err := change(&in); err != nil {
			return err
		}
		p := in.Port
		if p.MAC.IsZero() {
			if p.MAC, err = t.freeMAC(p.NetworkID); err != nil {
				return err
			}
		}
		if err := t.fillIPs(&p, in, old.FixedIPs); err != nil {
			return err
		}
		if err := t.checkPortChange(old, &p); err != nil {
			return err
		}
		if err := t.storePort(old, &p); err != nil {
			return err
		}
		out, newMAC = &p, p.MAC.MAC != old.MAC.MAC
		return nil
	})
	if err == nil && newMAC {
		s.warn.groupMAC("port", id, out.MAC)
	}
	return out, err
}

// storePort writes a changed port. What the old host said of it is void where its
// binding changes.
func (t *tx) storePort(old, p *model.Port) error {
	p.Move = t.moveOf(old, p)
	if err := t.reindex(portEntries(old), portEntries(p)); err != nil {
		return err
	}
	if old.HostID != p.HostID || old.InterfaceName() != p.InterfaceName() {
		store.Delete(t, store.PortStates, string(p.ID))
	}
	t.touch(&p.Standard)
	store.Put(t, store.Ports, string(p.ID), p)
	return nil
}

func (t *tx) checkPortChange(old, p *model.Port) error {
	if p.NetworkID != old.NetworkID {
		return invalidInput("the network of a port cannot be changed")
	}
	net, err := find(t.Tx, store.Networks, string(p.NetworkID), NetworkNotFound)
	if err != nil {
		return err
	}
	if err := t.checkPort(p, old, net); err != nil {
		return err
	}
	if p.MAC.MAC != old.MAC.MAC && old.HostID != "" {
		return conflict("PortBound", "Unable to complete operation on port %s, port is already bound, old_mac %s, new_mac %s.", p.ID, old.MAC, p.MAC)
	}
	if !isInterface(old) {
		return nil
	}
	if p.DeviceOwner != old.DeviceOwner || p.DeviceID != old.DeviceID {
		return portInUse(old)
	}
	if slices.Equal(p.FixedIPs, old.FixedIPs) {
		return nil
	}
	router, err := find(t.Tx, store.Routers, p.DeviceID, RouterNotFound)
	if err != nil {
		return err
	}
	if err := t.checkInterfacePort(router, p, p.ID); err != nil {
		return err
	}
	return t.checkRoutesWithout(router, old, p)
}

// DeletePort deletes a port that is nothing's interface.
func (s *Site) DeletePort(ctx context.Context, id string, guard func(*model.Port) error) error {
	return s.update(ctx, func(t *tx) error {
		p, err := find(t, store.Ports, id, PortNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, p); err != nil {
			return err
		}
		if isInterface(p) {
			return conflict("ServicePortInUse", "Port %s cannot be deleted directly via the port API: has device owner %s.", id, p.DeviceOwner)
		}
		return t.removePort(p)
	})
}

func (t *tx) removePort(p *model.Port) error {
	if err := t.reindex(portEntries(p), nil); err != nil {
		return err
	}
	t.freeKey(store.Ports.Kind(), uint32(p.Key))
	store.Delete(t, store.PortStates, string(p.ID))
	store.Delete(t, store.Ports, string(p.ID))
	return nil
}

// PortStatus works out a port's status attribute.
//
// A workload's port is what its host reports, and DOWN until it does. A router
// interface and a remote-site port exist in the tables alone, so that nobody
// reports them: they are ACTIVE while their admin state is up, unless a host says that it
// has no room for their rows. A router interface
// on an uplink network is a real interface of a host and is reported like a
// workload's.
func PortStatus(r store.Reader, p *model.Port) model.PortStatus {
	if !p.AdminStateUp {
		return model.PortDown
	}
	if p.IsRemoteSite() {
		return tableStatus(r, p)
	}
	if isInterface(p) {
		net := store.Get(r, store.Networks, string(p.NetworkID))
		if net == nil || net.Type != model.NetworkUplink {
			return tableStatus(r, p)
		}
	}
	st := store.Get(r, store.PortStates, string(p.ID))
	if st == nil || p.HostID == "" || st.Host != p.HostID || hostGone(r, p.HostID) != "" {
		return model.PortDown
	}
	return st.Status
}

// tableStatus is the status of a port that exists in tables alone.
func tableStatus(r store.Reader, p *model.Port) model.PortStatus {
	if st := store.Get(r, store.PortStates, string(p.ID)); st != nil && st.Status == model.PortError {
		return model.PortError
	}
	return model.PortActive
}

// PortReason is why a host says that a port is DOWN or in ERROR, in words; "" where the
// port is ACTIVE, and where what makes it DOWN is the port itself.
func PortReason(r store.Reader, p *model.Port) string {
	st := store.Get(r, store.PortStates, string(p.ID))
	status := PortStatus(r, p)
	if p.AdminStateUp && p.HostID != "" && status == model.PortDown {
		if why := hostGone(r, p.HostID); why != "" {
			return why
		}
	}
	if st == nil || !p.AdminStateUp || status == model.PortActive || status != st.Status {
		return ""
	}
	return st.Reason
}

// portAddrs is the set of addresses of ports.
func portAddrs(ports ...*model.Port) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, p := range ports {
		for _, a := range p.FixedIPs {
			out[a.IP] = true
		}
	}
	return out
}
