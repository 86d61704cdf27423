package site

import (
	"context"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// L2GatewayInput is an L2 gateway as requested; Segmentation is the VNI as text,
// "" where the connection is to give it.
type L2GatewayInput struct {
	model.L2Gateway
	Segmentation string
}

// CreateL2Gateway creates an L2 gateway on a gateway device.
func (s *Site) CreateL2Gateway(ctx context.Context, in *L2GatewayInput) (*model.L2Gateway, error) {
	var out *model.L2Gateway
	err := s.update(ctx, func(t *tx) error {
		g := in.L2Gateway
		g.ID = model.L2GatewayID(uuid.NewString())
		if err := t.onDevice(&g, in.Segmentation); err != nil {
			return err
		}
		if err := t.reindex(nil, gatewayEntries(&g)); err != nil {
			return err
		}
		t.stamp(&g.Standard, 1)
		store.Put(t, store.L2Gateways, string(g.ID), &g)
		out = &g
		return nil
	})
	return out, err
}

// onDevice checks what a gateway is to be made of, and reads its VNI.
func (t *tx) onDevice(g *model.L2Gateway, segmentation string) error {
	d, err := find(t, store.GatewayDevices, string(g.DeviceID), GatewayDeviceNotFound)
	if err != nil {
		return err
	}
	if g.VNI, err = parseSegment(segmentation, d.Type); err != nil {
		return err
	}
	return checkInterfaces(g.Interfaces, d.Type)
}

// UpdateL2Gateway applies change to a copy of the gateway and stores it. As in
// networking-l2gw, the ports of a switch may change at any time; the device and the
// VNI are what a connection was checked against, and stay while there is one.
func (s *Site) UpdateL2Gateway(ctx context.Context, id string, change func(*L2GatewayInput) error) (*model.L2Gateway, error) {
	var out *model.L2Gateway
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.L2Gateways, id, L2GatewayNotFound)
		if err != nil {
			return err
		}
		stored := L2GatewayInput{L2Gateway: *old}
		if old.VNI != 0 {
			stored.Segmentation = strconv.Itoa(int(old.VNI))
		}
		in := stored
		if err := change(&in); err != nil {
			return err
		}
		g := in.L2Gateway
		if !sameDevices(&in, &stored) {
			if err := t.onDevice(&g, in.Segmentation); err != nil {
				return err
			}
		}
		if g.DeviceID != old.DeviceID || g.VNI != old.VNI {
			if _, used := t.Lookup(ixConnOfGateway, id); used {
				return gatewayInUse(id)
			}
		}
		if err := t.reindex(gatewayEntries(old), gatewayEntries(&g)); err != nil {
			return err
		}
		t.touch(&g.Standard)
		store.Put(t, store.L2Gateways, id, &g)
		out = &g
		return nil
	})
	return out, err
}

func sameDevices(a, b *L2GatewayInput) bool {
	return a.DeviceID == b.DeviceID && a.Segmentation == b.Segmentation && (a.Interfaces == nil) == (b.Interfaces == nil) &&
		slices.EqualFunc(a.Interfaces, b.Interfaces, func(x, y model.SwitchInterface) bool {
			return x.Name == y.Name && slices.Equal(x.VLANs, y.VLANs)
		})
}

func gatewayInUse(id string) *model.Error {
	return conflict("L2GatewayInUse", "L2 Gateway %s still has active mappings with one or more neutron networks.", id)
}

// parseSegment reads a segmentation id; "" and 0 are none.
func parseSegment(s string, on model.GatewayDeviceType) (model.VNI, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, invalidInput("Segmentation id must be a valid integer")
	}
	if n < 0 || n > on.MaxSegment() {
		return 0, invalidInput("Segmentation id is out of range")
	}
	return model.VNI(n), nil
}

func gatewayEntries(g *model.L2Gateway) []entry {
	entries := []entry{{ix: ixGatewayOfDevice, key: join(g.DeviceID, g.ID)}}
	for _, i := range g.Interfaces {
		for _, vlan := range i.VLANs {
			entries = append(entries, entry{ix: ixSwitchPort, key: join(g.DeviceID, vlan, i.Name), value: string(g.ID), taken: func(holder string) *model.Error {
				return conflict("L2GatewayInterfaceInUse", "VLAN %d of interface %s on gateway device %s is already used by l2 gateway %s", vlan, i.Name, g.DeviceID, holder)
			}})
		}
	}
	return entries
}

// maxBindings bounds the VLANs on ports of one L2 gateway: each is an index entry
// of one transaction.
const maxBindings = 50

// checkInterfaces takes the ports of a switch; MidoNet's own types have none, not
// even an empty list.
func checkInterfaces(l []model.SwitchInterface, on model.GatewayDeviceType) error {
	if l != nil && on != model.HWVTEP {
		return model.Errf(model.KindInvalid, "HTTPBadRequest", "Invalid input for devices. Reason: Interfaces are not allowed in MidoNet L2GW.")
	}
	type binding struct {
		name string
		vlan uint16
	}
	seen := map[binding]bool{}
	for _, i := range l {
		if i.Name == "" {
			return invalidInput("an interface of an l2 gateway must have a name")
		}
		for _, vlan := range i.VLANs {
			if vlan > model.MaxVLAN {
				return invalidInput("Segmentation id is out of range")
			}
			b := binding{i.Name, vlan}
			if seen[b] {
				return invalidInput("VLAN %d of interface %s is given twice", vlan, i.Name)
			}
			seen[b] = true
		}
	}
	if len(seen) > maxBindings || len(l) > maxBindings {
		return invalidInput("an l2 gateway can have at most %d VLANs on its interfaces", maxBindings)
	}
	return nil
}

// DeleteL2Gateway deletes an L2 gateway without a connection.
func (s *Site) DeleteL2Gateway(ctx context.Context, id string, guard func(*model.L2Gateway) error) error {
	return s.update(ctx, func(t *tx) error {
		g, err := find(t, store.L2Gateways, id, L2GatewayNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, g); err != nil {
			return err
		}
		if _, used := t.Lookup(ixConnOfGateway, id); used {
			return gatewayInUse(id)
		}
		store.Delete(t, store.L2Gateways, id)
		return t.reindex(gatewayEntries(g), nil)
	})
}

// ConnectionInput is an L2 gateway connection as requested; Segmentation is the
// VNI as text, "" where the gateway gives it.
type ConnectionInput struct {
	model.L2GatewayConnection
	Segmentation string
}

// CreateConnection puts a network on an L2 gateway. The order of the checks is
// that of Neutron's plugins: it decides which error a client reads.
func (s *Site) CreateConnection(ctx context.Context, in *ConnectionInput) (*model.L2GatewayConnection, error) {
	var out *model.L2GatewayConnection
	err := s.update(ctx, func(t *tx) error {
		c := in.L2GatewayConnection
		c.ID = model.L2GatewayConnectionID(uuid.NewString())
		net, err := find(t, store.Networks, string(c.NetworkID), NetworkNotFound)
		if err != nil {
			return err
		}
		g := named(t, store.L2Gateways, string(c.L2GatewayID))
		if err := checkConnection(t, &c, g, in.Segmentation); err != nil {
			return err
		}
		if net.Type == model.NetworkUplink {
			return invalidInput("an uplink network leads to the underlay and cannot be put on an l2 gateway")
		}
		c.ProjectID = g.ProjectID
		if err := t.reindex(nil, connectionEntries(&c, g)); err != nil {
			return err
		}
		c.CreatedAt = t.now
		store.Put(t, store.L2GatewayConnections, string(c.ID), &c)
		out = &c
		return nil
	})
	return out, err
}

func checkConnection(t *tx, c *model.L2GatewayConnection, g *model.L2Gateway, segmentation string) error {
	gatewayHas := g != nil && g.VNI != 0
	switch {
	case gatewayHas && segmentation != "":
		return invalidInput("default segmentation_id should not be provided when segmentation_id is assigned during l2gateway creation")
	case !gatewayHas && segmentation == "":
		return invalidInput("Segmentation id must be specified in create l2gateway connections")
	case g == nil:
		return L2GatewayNotFound(string(c.L2GatewayID))
	}
	if id, ok := t.Lookup(ixConnOfGateway, string(g.ID)); ok {
		if other := store.Get(t, store.L2GatewayConnections, id); other != nil && other.NetworkID == c.NetworkID {
			return conflict("L2GatewayConnectionExists", "The specified mapping for l2gateway %s and network %s already exists", g.ID, c.NetworkID)
		}
		return gatewayConnected(g.ID)
	}
	d, err := find(t, store.GatewayDevices, string(g.DeviceID), GatewayDeviceNotFound)
	if err != nil {
		return err // cannot be: a device with an L2 gateway is not deleted
	}
	if !gatewayHas {
		if err := setSegment(c, segmentation, d.Type); err != nil {
			return err
		}
	}
	return nil
}

// setSegment gives a connection the segmentation id that its gateway lacks.
func setSegment(c *model.L2GatewayConnection, segmentation string, on model.GatewayDeviceType) error {
	vni, err := parseSegment(segmentation, on)
	if err != nil {
		return err
	}
	if vni == 0 {
		return invalidInput("Segmentation id is out of range")
	}
	c.VNI = vni
	return nil
}

func gatewayConnected(id model.L2GatewayID) *model.Error {
	return conflict("MidonetL2GatewayConnectionExists", "There is already a connection on l2 gateway %s", id)
}

// EffectiveVNI is the VNI of a connection: its own, or its gateway's.
func EffectiveVNI(c *model.L2GatewayConnection, g *model.L2Gateway) model.VNI {
	if c.VNI != 0 {
		return c.VNI
	}
	return g.VNI
}

func connectionEntries(c *model.L2GatewayConnection, g *model.L2Gateway) []entry {
	vni := EffectiveVNI(c, g)
	return []entry{
		{ix: ixConnOfGateway, key: string(c.L2GatewayID), value: string(c.ID), taken: func(string) *model.Error {
			return gatewayConnected(c.L2GatewayID)
		}},
		{ix: ixConnOfNetwork, key: join(c.NetworkID, c.ID)},
		{ix: ixVNI, key: join(g.DeviceID, vni), value: string(c.ID), taken: func(holder string) *model.Error {
			return conflict("L2GatewayConnectionVNIInUse", "segmentation_id %d is already used on gateway device %s by l2 gateway connection %s", vni, g.DeviceID, holder)
		}},
	}
}

// DeleteConnection takes a network off its L2 gateway.
func (s *Site) DeleteConnection(ctx context.Context, id string, guard func(*model.L2GatewayConnection) error) error {
	return s.update(ctx, func(t *tx) error {
		c, err := find(t, store.L2GatewayConnections, id, L2GatewayConnectionNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, c); err != nil {
			return err
		}
		return t.removeConnection(c)
	})
}

func (t *tx) removeConnection(c *model.L2GatewayConnection) error {
	g, err := find(t.Tx, store.L2Gateways, string(c.L2GatewayID), L2GatewayNotFound)
	if err != nil {
		return err // cannot be: an L2 gateway with a connection is not deleted
	}
	store.Delete(t, store.L2GatewayConnections, string(c.ID))
	store.Delete(t, store.LearnedMACs, string(c.ID))
	return t.reindex(connectionEntries(c, g), nil)
}
