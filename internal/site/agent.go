package site

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// AgentID is the id of a host's agent, which stays the same for a host.
func AgentID(host model.HostName) model.AgentID {
	return model.AgentID(uuid.NewSHA1(uuid.NameSpaceOID, []byte("agent/"+host)).String())
}

// AgentNotFound is the error for an agent that does not exist, in Neutron's words.
func AgentNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "AgentNotFound", "Agent %s could not be found.", id)
}

// agentOf makes the agent of a host that has none, and notes its version unless that is "".
func (t *tx) agentOf(host model.HostName, version string) {
	id := AgentID(host)
	a := model.Agent{ID: id, Host: host, AdminStateUp: true, CreatedAt: t.now}
	old := store.Get(t, store.Agents, string(id))
	if old != nil {
		a = *old
	}
	if version != "" {
		a.Version = version
	}
	if old == nil || a != *old {
		store.Put(t, store.Agents, string(id), &a)
	}
}

// hostGone says in words that a host does not exist or is gone; "" where neither.
func hostGone(r store.Reader, name model.HostName) string {
	h := store.Get(r, store.Hosts, string(name))
	switch {
	case h == nil:
		return fmt.Sprintf("no agent of host %s has connected yet", name)
	case h.Gone:
		return fmt.Sprintf("the agent of host %s is away, noticed at %s: the host may forward on by what it had, and takes no changes", name, h.GoneAt.Format(time.RFC3339))
	}
	return ""
}

// Signs is what a controller has seen of a host and its controller when it took it for gone.
type Signs struct {
	Host       model.HostName
	Controller string
	Session    uint64
	Beat       uint64
	HeardAt    time.Time // zero: not by this controller
}

// HostGone notes that a host's agent is away, unless there has been a sign of it meanwhile.
// written tells whether that was news.
func (s *Site) HostGone(ctx context.Context, seen Signs) (written bool, err error) {
	err = s.update(ctx, func(t *tx) error {
		written = false
		old := store.Get(t, store.Hosts, string(seen.Host))
		if old == nil || old.Gone || old.Controller != seen.Controller || old.Session != seen.Session || t.controller(seen.Controller).Beat != seen.Beat {
			return nil
		}
		h := *old
		h.Gone, h.GoneAt, written = true, t.now, true
		if at := seen.HeardAt.UTC().Truncate(time.Second); at.After(h.HeardAt) {
			h.HeardAt = at
		}
		store.Put(t, store.Hosts, string(h.Name), &h)
		t.agentOf(h.Name, "")
		return nil
	})
	return written, err
}

// HostBack notes that a host's agent has reported, in a session that must be its last one. Gateway devices that
// have waited for the host begin to move to it.
func (s *Site) HostBack(ctx context.Context, session Session) (written bool, err error) {
	err = s.update(ctx, func(t *tx) error {
		written = false
		old := store.Get(t, store.Hosts, string(session.Host))
		if old == nil || !old.Gone || old.Controller != session.Controller || old.Session != session.Number {
			return nil
		}
		h := *old
		h.Gone, h.GoneAt, h.Returned, h.HeardAt, written = false, time.Time{}, false, t.now, true
		store.Put(t, store.Hosts, string(h.Name), &h)
		t.takeBackMark(&h)
		return nil
	})
	if written && err == nil {
		err = s.placeOn(ctx, session.Host)
	}
	return written, err
}

// Begin shows other controllers that there is a new run, and forgets those that no host has
// had its last session with.
func (s *Site) Begin(ctx context.Context, controller string) error {
	return s.update(ctx, func(t *tx) error {
		t.forgetControllers(controller)
		store.Put(t, store.Controllers, controller, &model.Controller{ID: controller, Beat: 1})
		return nil
	})
}

// Beat shows other controllers that this run lives.
func (s *Site) Beat(ctx context.Context, controller string) error {
	return s.update(ctx, func(t *tx) error {
		c := t.controller(controller)
		c.Beat++
		store.Put(t, store.Controllers, controller, &c)
		return nil
	})
}

// UpdateAgent changes what operators say of a host. While its admin state is down, no gateway
// device is placed on it, and those that are there go to other hosts, as far as others may serve them. That is
// done after the change, some devices at a time; the same change once more goes on with what an error has left.
func (s *Site) UpdateAgent(ctx context.Context, id string, change func(*model.Agent) error) (out *model.Agent, err error) {
	err = s.update(ctx, func(t *tx) error {
		old, err := find(t, store.Agents, id, AgentNotFound)
		if err != nil {
			return err
		}
		a := *old
		if err := change(&a); err != nil {
			return err
		}
		out = &a
		if a == *old {
			return nil
		}
		store.Put(t, store.Agents, id, &a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.placeAll(ctx) // also where nothing has changed: a drain is to go on that ended in the middle
}

// DeleteAgent takes a host out of the site, with what it has said of ports, its hold on keys and
// the gateway devices placed on it, which go to another host if there is one. A host that is not
// gone is refused, unless off says that it is switched off and does not forward any more.
func (s *Site) DeleteAgent(ctx context.Context, id string, off bool) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	var states []model.PortID
	if a := store.Get(snap, store.Agents, id); a != nil {
		for st := range store.All(snap, store.PortStates) {
			if st.Host == a.Host {
				states = append(states, st.PortID)
			}
		}
	}
	// What it has said of ports is too much for one transaction. A port without is DOWN, so
	// that ending in the middle leaves what can be deleted again.
	for chunk := range slices.Chunk(states, stateChunk) {
		err := s.update(ctx, func(t *tx) error {
			a, err := t.deletable(id, off)
			if err != nil {
				return err
			}
			for _, port := range chunk {
				if st := store.Get(t, store.PortStates, string(port)); st != nil && st.Host == a.Host {
					store.Delete(t, store.PortStates, string(port))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	err = s.update(ctx, func(t *tx) error {
		a, err := t.deletable(id, off)
		if err != nil {
			return err
		}
		store.Delete(t, store.Agents, id)
		if h := store.Get(t, store.Hosts, string(a.Host)); h != nil {
			t.leaveFabric(h)
		}
		t.DeleteIndex(ixGatewayHost, string(a.Host))
		store.Delete(t, store.Hosts, string(a.Host))
		return nil
	})
	if err != nil {
		return err
	}
	return s.placeAll(ctx)
}

// deletable finds an agent that may be deleted.
func (t *tx) deletable(id string, off bool) (*model.Agent, error) {
	a, err := find(t, store.Agents, id, AgentNotFound)
	if err != nil {
		return nil, err
	}
	if h := store.Get(t, store.Hosts, string(a.Host)); h != nil && !h.Gone && !off {
		return nil, conflict("AgentInUse", "Host %s may still be heard: its agent is connected, or was until lately. Stop it and wait until it is not alive, or say that the host is off.", a.Host)
	}
	return a, nil
}
