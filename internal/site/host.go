package site

import (
	"context"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// stateChunk bounds the port states of one transaction.
const stateChunk = 50

// RegisterHost makes a host known whose agent has connected, and places on it the
// gateway devices that have no place. The site's first host is taken; another
// name is refused.
func (s *Site) RegisterHost(ctx context.Context, name model.HostName) error {
	return s.update(ctx, func(t *tx) error {
		known := false
		for h := range store.All(t, store.Hosts) {
			if h.Name != name {
				return Unsupported("host %s is refused: this site's host is %s, and a second one needs the fabric between hosts, which does not exist yet", name, h.Name)
			}
			known = true
		}
		if !known {
			store.Put(t, store.Hosts, string(name), &model.Host{Name: name, FirstSeen: t.now})
		}
		for d := range store.All(t, store.GatewayDevices) {
			if placed(d) && store.Get(t, store.Placements, string(d.ID)) == nil {
				store.Put(t, store.Placements, string(d.ID), &model.Placement{DeviceID: d.ID, Host: name, Epoch: 1})
			}
		}
		return nil
	})
}

// place puts a new gateway device on the site's host, if one is registered.
func (t *tx) place(id model.GatewayDeviceID) {
	for name := range t.List(store.Hosts.Kind()) {
		store.Put(t, store.Placements, string(id), &model.Placement{DeviceID: id, Host: model.HostName(name), Epoch: 1})
		return
	}
}

// AckHost notes that a host has applied the state of a revision and what MTU its
// underlay has (0: unknown). Only what somebody waits for is written, so that an
// acknowledgement does not make a revision that wants one in turn: a changed MTU,
// and a revision that lets freed keys be used again, which it then does.
func (s *Site) AckHost(ctx context.Context, name model.HostName, revision int64, underlayMTU int) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	h := store.Get(snap, store.Hosts, string(name))
	if h == nil {
		return hostNotFound(string(name))
	}
	s.freed.refresh(snap, s.now())
	waiting := len(s.freed.between(-1, revision)) > 0
	behind := len(s.freed.between(h.AckedRevision, revision)) > 0
	if behind || underlayMTU != 0 && underlayMTU != h.UnderlayMTU {
		err := s.update(ctx, func(t *tx) error {
			old, err := find(t, store.Hosts, string(name), hostNotFound)
			if err != nil {
				return err
			}
			h := *old
			if behind {
				h.AckedRevision = max(h.AckedRevision, revision)
			}
			if underlayMTU != 0 {
				h.UnderlayMTU = underlayMTU
			}
			if h != *old {
				store.Put(t, store.Hosts, string(name), &h)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if waiting {
		return s.ReclaimKeys(ctx)
	}
	return nil
}

// SetPortStates notes what a host says of ports bound to it. Ports that are gone or
// bound elsewhere by now are passed over, and nothing is written for what is
// known already.
func (s *Site) SetPortStates(ctx context.Context, host model.HostName, states []model.PortState) error {
	for chunk := range slices.Chunk(states, stateChunk) {
		err := s.update(ctx, func(t *tx) error {
			for _, st := range chunk {
				st.Host = host
				if strings.Contains(string(st.PortID), "/") {
					t.setOtherState(st)
					continue
				}
				p := store.Get(t, store.Ports, string(st.PortID))
				if p == nil || p.HostID != host {
					continue
				}
				if old := store.Get(t, store.PortStates, string(st.PortID)); old != nil && *old == st {
					continue
				}
				store.Put(t, store.PortStates, string(st.PortID), &st)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// setOtherState notes what a host says of a port that is not bound: a router's, or a
// remote-site port, named NETWORK/MAC. Nothing is kept of those that lack nothing.
func (t *tx) setOtherState(st model.PortState) {
	id, ok := t.Lookup(ixMAC, string(st.PortID))
	if !ok {
		return
	}
	p := store.Get(t, store.Ports, id)
	if p == nil || p.HostID != "" {
		return
	}
	st.PortID = p.ID
	old := store.Get(t, store.PortStates, id)
	switch {
	case st.Status == model.PortError && (old == nil || *old != st):
		store.Put(t, store.PortStates, id, &st)
	case st.Status != model.PortError && old != nil && old.Host == st.Host:
		store.Delete(t, store.PortStates, id)
	}
}

// ForgetOthers forgets what a host has said of ports that are not bound to it: an agent
// that connects says anew which of them lack something.
func (s *Site) ForgetOthers(ctx context.Context, host model.HostName) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	var ids []model.PortID
	for st := range store.All(snap, store.PortStates) {
		if st.Host != host || st.Status != model.PortError {
			continue
		}
		if p := store.Get(snap, store.Ports, string(st.PortID)); p != nil && p.HostID == "" {
			ids = append(ids, st.PortID)
		}
	}
	for chunk := range slices.Chunk(ids, stateChunk) {
		err := s.update(ctx, func(t *tx) error {
			for _, id := range chunk {
				p := store.Get(t, store.Ports, string(id))
				st := store.Get(t, store.PortStates, string(id))
				if p != nil && p.HostID == "" && st != nil && st.Host == host {
					store.Delete(t, store.PortStates, string(id))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
