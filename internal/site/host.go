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

// RegisterHost makes a host known whose agent has connected, notes the session, and
// places on it, if it may serve them, the gateway devices that have no place or are bound to it. A host that the fabric of the site cannot
// reach is refused.
func (s *Site) RegisterHost(ctx context.Context, session Session) error {
	name := session.Host
	err := s.update(ctx, func(t *tx) error {
		h := store.Get(t, store.Hosts, string(name))
		if h == nil {
			h = &model.Host{Name: name, FirstSeen: t.now}
		}
		if err := t.joinFabric(h, session); err != nil {
			return err
		}
		return t.begin(h, session)
	})
	if err != nil {
		return err
	}
	return s.placeOn(ctx, name)
}

// SetMTUs notes what MTU, in bytes of an IP packet, a host's underlay has, and the interface that
// carries its fabric; 0: as before.
func (s *Site) SetMTUs(ctx context.Context, name model.HostName, underlay, fabric int) error {
	return s.update(ctx, func(t *tx) error {
		old, err := find(t, store.Hosts, string(name), hostNotFound)
		if err != nil {
			return err
		}
		h := *old
		if underlay != 0 {
			h.UnderlayMTU = underlay
		}
		if fabric != 0 && h.Fabric.On() {
			h.Fabric.MTU = fabric
		}
		if h != *old {
			store.Put(t, store.Hosts, string(name), &h)
		}
		return nil
	})
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

// ForgetOthers forgets what hosts have said of ports that are not bound to them: an agent
// that connects says anew which of them lack something. erring are all ports of which the hosts have said that they are in status ERROR.
func (s *Site) ForgetOthers(ctx context.Context, erring []model.PortID, hosts ...model.HostName) error {
	of := make(map[model.HostName]bool, len(hosts))
	for _, h := range hosts {
		of[h] = true
	}
	for chunk := range slices.Chunk(erring, stateChunk) {
		err := s.update(ctx, func(t *tx) error {
			for _, id := range chunk {
				p := store.Get(t, store.Ports, string(id))
				st := store.Get(t, store.PortStates, string(id))
				if p != nil && p.HostID == "" && st != nil && of[st.Host] && st.Status == model.PortError {
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
