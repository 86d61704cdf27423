package site

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// SwitchSegment is what a hw_vtep is to have for one L2 gateway connection.
type SwitchSegment struct {
	Connection model.L2GatewayConnectionID
	Network    model.NetworkID
	VNI        model.VNI
	Interfaces []model.SwitchInterface
	// Remote are the MACs behind other VTEPs, in order, each once.
	Remote []SwitchRemote
	// VTEPs take what the switch floods, in order.
	VTEPs []netip.Addr
}

// SwitchRemote is a MAC and the VTEP that it is behind.
type SwitchRemote struct {
	MAC  model.MAC
	VTEP netip.Addr
}

// SwitchSegments works out what a hw_vtep is to have, in order of VNI: its remote
// MAC table, and, of what the network is on with the same VNI in this site, its own
// ports behind the VTEP router, and what other switches have learned. What the
// table says of a MAC comes first.
func SwitchSegments(r store.Reader, d *model.GatewayDevice) []SwitchSegment {
	table := map[model.VNI][]*model.RemoteMACEntry{}
	for _, e := range RemoteMACsOf(r, d.ID) {
		table[e.VNI] = append(table[e.VNI], e)
	}
	var out []SwitchSegment
	for _, gid := range suffixes(r, ixGatewayOfDevice, string(d.ID)+"/") {
		g := store.Get(r, store.L2Gateways, gid)
		cid, connected := r.Lookup(ixConnOfGateway, gid)
		if g == nil || !connected {
			continue
		}
		c := store.Get(r, store.L2GatewayConnections, cid)
		if c == nil {
			continue
		}
		s := SwitchSegment{Connection: c.ID, Network: c.NetworkID, VNI: EffectiveVNI(c, g), Interfaces: g.Interfaces}
		s.remote(r, d, table[s.VNI])
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b SwitchSegment) int { return int(a.VNI) - int(b.VNI) })
	return out
}

func (s *SwitchSegment) remote(r store.Reader, d *model.GatewayDevice, table []*model.RemoteMACEntry) {
	vtepOf := map[model.MAC]netip.Addr{}
	vteps := map[netip.Addr]bool{}
	add := func(mac model.MAC, vtep netip.Addr) {
		if vtep == d.TunnelIP {
			return // the switch itself
		}
		vteps[vtep] = true
		if _, known := vtepOf[mac]; !known {
			vtepOf[mac] = vtep
		}
	}
	for _, e := range table {
		add(e.MAC.MAC, e.VTEPAddress)
	}
	routers, switches := s.others(r, d.ID)
	if len(routers) > 0 { // of several, the one of the first connection
		own := routers[0].device
		vteps[own.TunnelIP] = true
		for _, id := range PortsOf(r, s.Network) {
			if p := store.Get(r, store.Ports, id); p != nil && !p.IsRemoteSite() {
				add(p.MAC.MAC, own.TunnelIP)
			}
		}
	}
	here := map[model.MAC]bool{}
	if l := LearnedOf(r, s.Connection); l != nil {
		for _, m := range l.MACs {
			here[m] = true
		}
	}
	for _, o := range switches {
		vteps[o.device.TunnelIP] = true
		if l := LearnedOf(r, o.connection); l != nil {
			for _, m := range l.MACs { // those that it has forgotten, it gets by flooding
				if !here[m] {
					add(m, o.device.TunnelIP)
				}
			}
		}
	}
	for mac, vtep := range vtepOf {
		s.Remote = append(s.Remote, SwitchRemote{mac, vtep})
	}
	slices.SortFunc(s.Remote, func(a, b SwitchRemote) int { return compareMAC(a.MAC, b.MAC) })
	for vtep := range vteps {
		s.VTEPs = append(s.VTEPs, vtep)
	}
	slices.SortFunc(s.VTEPs, netip.Addr.Compare)
}

// neighbor is another gateway device that the network is on with the same VNI.
type neighbor struct {
	device     *model.GatewayDevice
	connection model.L2GatewayConnectionID
}

// others are the site's other gateway devices on the segment, in order of connection.
func (s *SwitchSegment) others(r store.Reader, self model.GatewayDeviceID) (routers, switches []neighbor) {
	for _, cid := range suffixes(r, ixConnOfNetwork, string(s.Network)+"/") {
		c := store.Get(r, store.L2GatewayConnections, cid)
		if c == nil {
			continue
		}
		g := store.Get(r, store.L2Gateways, string(c.L2GatewayID))
		if g == nil || EffectiveVNI(c, g) != s.VNI {
			continue
		}
		d := store.Get(r, store.GatewayDevices, string(g.DeviceID))
		switch {
		case d == nil || d.ID == self:
		case d.Type == model.RouterVTEP:
			routers = append(routers, neighbor{d, c.ID})
		case d.Type == model.HWVTEP:
			switches = append(switches, neighbor{d, c.ID})
		}
	}
	return routers, switches
}

// errSwitchTaken: another controller drives the switch by now.
func errSwitchTaken(id model.GatewayDeviceID, by string) *model.Error {
	return conflict("SwitchTaken", "gateway device %s is driven by controller %s", id, by)
}

// switchState finds the state of a hw_vtep, nil where nothing was said of it yet. A
// retired one has a state without a device.
func (t *tx) switchState(id model.GatewayDeviceID) (*model.SwitchState, error) {
	st := store.Get(t, store.SwitchStates, string(id))
	if st != nil && st.Retired != nil {
		return st, nil
	}
	_, err := find(t, store.GatewayDevices, string(id), GatewayDeviceNotFound)
	return st, err
}

// retireSwitch drops the state of a device that is deleted; or, where a controller
// has taken its switch, which then may have rows that were made for it, keeps in
// mind that these must go.
func (t *tx) retireSwitch(d *model.GatewayDevice) {
	st := store.Get(t, store.SwitchStates, string(d.ID))
	if st == nil || st.Epoch == 0 || d.Management == nil {
		store.Delete(t, store.SwitchStates, string(d.ID))
		return
	}
	left := *st
	left.Retired = &model.RetiredSwitch{Name: d.Name, Management: *d.Management}
	store.Put(t, store.SwitchStates, string(d.ID), &left)
}

// RetiredSwitches are the states of deleted devices whose switches are not known to
// be clean, in order of id.
func RetiredSwitches(r store.Reader) []*model.SwitchState {
	var out []*model.SwitchState
	for st := range store.All(r, store.SwitchStates) {
		if st.Retired != nil {
			out = append(out, st)
		}
	}
	slices.SortFunc(out, func(a, b *model.SwitchState) int { return cmp.Compare(a.DeviceID, b.DeviceID) })
	return out
}

func retiredSwitchNotFound(id model.GatewayDeviceID) *model.Error {
	return model.Errf(model.KindNotFound, "RetiredSwitchNotFound", "no deleted gateway device %s has left anything on a switch", id)
}

// SwitchCleaned forgets a retired switch, which has nothing of ours any more. Only
// who took it last may say so.
func (s *Site) SwitchCleaned(ctx context.Context, id model.GatewayDeviceID, epoch uint64) error {
	_, err := s.forgetSwitch(ctx, id, func(st *model.SwitchState) error {
		if st.Epoch != epoch {
			return errSwitchTaken(id, st.Driver)
		}
		return nil
	})
	return err
}

// ForgetSwitch forgets a retired switch whatever is on it: it is not coming back.
func (s *Site) ForgetSwitch(ctx context.Context, id model.GatewayDeviceID) (*model.SwitchState, error) {
	return s.forgetSwitch(ctx, id, func(*model.SwitchState) error { return nil })
}

func (s *Site) forgetSwitch(ctx context.Context, id model.GatewayDeviceID, may func(*model.SwitchState) error) (st *model.SwitchState, err error) {
	err = s.update(ctx, func(t *tx) error {
		st = store.Get(t, store.SwitchStates, string(id))
		if st == nil || st.Retired == nil {
			return retiredSwitchNotFound(id)
		}
		if err := may(st); err != nil {
			return err
		}
		store.Delete(t, store.SwitchStates, string(id))
		return nil
	})
	return st, err
}

// TakeSwitch makes driver the controller that drives a hw_vtep, and returns the
// epoch with which it speaks from then on. Only who holds the switch's own lock
// may call it.
func (s *Site) TakeSwitch(ctx context.Context, id model.GatewayDeviceID, driver string) (epoch uint64, err error) {
	err = s.update(ctx, func(t *tx) error {
		old, err := t.switchState(id)
		if err != nil {
			return err
		}
		st := model.SwitchState{DeviceID: id}
		if old != nil {
			st = *old
		}
		st.Driver = driver
		st.Epoch++
		st.SwitchStatus = model.SwitchStatus{Connected: true}
		st.ChangedAt = t.now
		store.Put(t, store.SwitchStates, string(id), &st)
		epoch = st.Epoch
		return nil
	})
	return epoch, err
}

// SetSwitchStatus notes how it stands with a switch; nothing is written for what is
// known. Epoch 0 is a controller that does not drive it: what it says counts only
// where none does, or where it did itself.
func (s *Site) SetSwitchStatus(ctx context.Context, id model.GatewayDeviceID, driver string, epoch uint64, status model.SwitchStatus) error {
	return s.update(ctx, func(t *tx) error {
		old, err := t.switchState(id)
		if err != nil {
			return err
		}
		st := model.SwitchState{DeviceID: id, Driver: driver}
		switch {
		case old == nil && epoch != 0:
			return errSwitchTaken(id, "none")
		case old == nil:
		case epoch != 0 && old.Epoch != epoch, epoch == 0 && old.Connected && old.Driver != driver:
			return errSwitchTaken(id, old.Driver)
		case sameStatus(old.SwitchStatus, status):
			return nil
		default:
			st = *old
		}
		st.SwitchStatus = status
		st.ChangedAt = t.now
		store.Put(t, store.SwitchStates, string(id), &st)
		return nil
	})
}

func sameStatus(a, b model.SwitchStatus) bool {
	return a.Connected == b.Connected && a.InSync == b.InSync && a.Error == b.Error && slices.Equal(a.Problems, b.Problems)
}

// SetLearnedMACs notes the MACs that a switch reports for a connection, at most
// MaxLearned of them. Those of a connection that is gone are passed over.
func (s *Site) SetLearnedMACs(ctx context.Context, id model.GatewayDeviceID, epoch uint64, conn model.L2GatewayConnectionID, macs []model.MAC) error {
	return s.update(ctx, func(t *tx) error {
		st := store.Get(t, store.SwitchStates, string(id))
		if st == nil || st.Epoch != epoch {
			by := "none"
			if st != nil {
				by = st.Driver
			}
			return errSwitchTaken(id, by)
		}
		c := store.Get(t, store.L2GatewayConnections, string(conn))
		if c == nil {
			return nil
		}
		if g := store.Get(t, store.L2Gateways, string(c.L2GatewayID)); g == nil || g.DeviceID != id {
			return nil
		}
		now := &model.LearnedMACs{ConnectionID: conn, MACs: macs[:min(len(macs), model.MaxLearned)]}
		old := store.Get(t, store.LearnedMACs, string(conn))
		if old == nil {
			old = &model.LearnedMACs{}
		}
		now.Silent = silent(old, now.MACs)
		if !slices.Equal(old.MACs, now.MACs) || !slices.Equal(old.Silent, now.Silent) {
			store.Put(t, store.LearnedMACs, string(conn), now)
		}
		return nil
	})
}

// silent are the MACs that were learned before and are no more reported, as far as
// there is room.
func silent(old *model.LearnedMACs, now []model.MAC) []model.MAC {
	reported := make(map[model.MAC]bool, len(now))
	for _, m := range now {
		reported[m] = true
	}
	var out []model.MAC
	for _, l := range [][]model.MAC{old.MACs, old.Silent} {
		for _, m := range l {
			if !reported[m] && len(now)+len(out) < model.MaxLearned {
				reported[m] = true
				out = append(out, m)
			}
		}
	}
	slices.SortFunc(out, compareMAC)
	return out
}

func compareMAC(a, b model.MAC) int { return slices.Compare(a[:], b[:]) }

// SwitchStateOf reads a hw_vtep's state; nil where nothing was said of it yet.
func SwitchStateOf(r store.Reader, id model.GatewayDeviceID) *model.SwitchState {
	return store.Get(r, store.SwitchStates, string(id))
}

// LearnedOf reads the MACs that were learned behind a connection; nil for none.
func LearnedOf(r store.Reader, id model.L2GatewayConnectionID) *model.LearnedMACs {
	return store.Get(r, store.LearnedMACs, string(id))
}
