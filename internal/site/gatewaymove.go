package site

import (
	"context"
	"fmt"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// A gateway device moves from host to host in stages, so that no packet meets a host that does not expect it. Each begins
// when the hosts have applied the one before (see model.MoveStage):
//
//	MoveAccept    all hosts take frames of the device's remote MACs from the new host too
//	MoveBoth      the new host has the device: its tunnel IP, and what is let in by it
//	MoveSwitched  all hosts send to the new host; the former one has the device still
//	MoveLeft      the former host has let go; all hosts take frames from it still
//
// Other sites know the tunnel IP alone: what they send may come in at either
// host from MoveBoth on.

// No device is handed to a host that does not answer: see Advance, TurnBack and putPlace.

// deviceMoves tells whether some device moves.
func deviceMoves(r store.Reader) bool {
	for p := range store.All(r, store.Placements) {
		if p.Other != "" {
			return true
		}
	}
	return false
}

// bound is the host that a device is at, or on its way to; "": none.
func bound(p *model.Placement) model.HostName {
	if p == nil {
		return ""
	}
	if p.Other != "" && p.Stage < model.MoveSwitched {
		return p.Other
	}
	return p.Host
}

// moving says in words how far a device's move has come.
func moving(p *model.Placement) string {
	switch p.Stage {
	case model.MoveAccept:
		return fmt.Sprintf("it moves from host %s to host %s: the hosts are told to expect it there", p.Host, p.Other)
	case model.MoveBoth:
		return fmt.Sprintf("it moves from host %s to host %s, which takes the tunnel IP: the other hosts send to it next", p.Host, p.Other)
	}
	if p.Stage == model.MoveLeft {
		return fmt.Sprintf("it moves from host %s to host %s: host %s lets go", p.Other, p.Host, p.Other)
	}
	return fmt.Sprintf("it moves from host %s to host %s: host %s has the tunnel IP for a while still, for what other sites have sent there", p.Other, p.Host, p.Other)
}

// withoutDeleted takes hosts that are no more out of a placement; nil: none is left.
func (t *tx) withoutDeleted(p *model.Placement) *model.Placement {
	if p == nil {
		return nil
	}
	n := *p
	there := func(h model.HostName) bool { return h != "" && store.Get(t, store.Hosts, string(h)) != nil }
	switch here, other := there(p.Host), there(p.Other); {
	case here && (other || p.Other == ""):
		return p
	case here:
		n.Other, n.Stage = "", 0
	case other:
		n.Host, n.Other, n.Stage, n.Epoch = p.Other, "", 0, p.Epoch+1
	default:
		store.Delete(t, store.Placements, string(p.DeviceID))
		return nil
	}
	store.Put(t, store.Placements, string(n.DeviceID), &n)
	return &n
}

// putPlace makes a host a device's place. A device that has a place begins to move, or turns to another
// host on its way. It stays with a host that answers where the new one does not.
func (t *tx) putPlace(d *model.GatewayDevice, now *model.Placement, host model.HostName) {
	next := model.Placement{DeviceID: d.ID, Host: host, Epoch: 1}
	switch {
	case now == nil:
	case bound(now) == host:
		return
	case now.Host == host: // back before the others have been sent there
		next.Epoch = now.Epoch + 1
	case t.answers(now.Host) && !t.answers(host):
		return
	default:
		next.Epoch = now.Epoch + 1
		if !t.movesInStages(d, now.Host, host) {
			break
		}
		next.Host, next.Other, next.Stage = now.Host, host, model.MoveAccept
		if now.Other == host && now.Stage == model.MoveSwitched { // it has all still
			next.Stage = model.MoveBoth
		}
	}
	store.Put(t, store.Placements, string(d.ID), &next)
}

// answers tells whether a host is there and its agent is not away.
func (t *tx) answers(name model.HostName) bool {
	h := store.Get(t, store.Hosts, string(name))
	return h != nil && !h.Gone
}

// movesInStages tells whether a device can be on two hosts for a while. It cannot where one of them does not answer or is not
// on the fabric, and where the VTEP router has uplinks of its own, each of which is one host's.
func (t *tx) movesInStages(d *model.GatewayDevice, from, to model.HostName) bool {
	for _, name := range []model.HostName{from, to} {
		if h := store.Get(t, store.Hosts, string(name)); h == nil || h.Gone || !h.Fabric.On() {
			return false
		}
	}
	for _, id := range PortsOfRouter(t, d.RouterID()) {
		p := store.Get(t, store.Ports, id)
		if p == nil {
			continue
		}
		if n := store.Get(t, store.Networks, string(p.NetworkID)); n != nil && n.Type == model.NetworkUplink {
			return false
		}
	}
	return true
}

// Advance takes a device's move on to its next stage, if it is at the stage that was seen. It does not take it to a
// host that is gone. written tells whether it did.
func (s *Site) Advance(ctx context.Context, seen model.Placement) (written bool, err error) {
	err = s.update(ctx, func(t *tx) error {
		written = false
		now := store.Get(t, store.Placements, string(seen.DeviceID))
		if now == nil || *now != seen || now.Other == "" {
			return nil
		}
		if now.Stage < model.MoveSwitched && !t.answers(now.Other) {
			return nil
		}
		next := *now
		switch now.Stage {
		case model.MoveAccept:
			next.Stage = model.MoveBoth
		case model.MoveBoth:
			next.Stage, next.Epoch = model.MoveSwitched, now.Epoch+1
			next.Host, next.Other = now.Other, now.Host
		case model.MoveSwitched:
			next.Stage = model.MoveLeft
		default:
			next.Stage, next.Other = 0, ""
		}
		store.Put(t, store.Placements, string(next.DeviceID), &next)
		written = true
		return nil
	})
	return written && err == nil, err
}

// TurnBack ends a device's move, if it is at the stage that was seen and the other hosts have not been sent to the new host yet:
// the device stays where it is. written tells whether it did.
func (s *Site) TurnBack(ctx context.Context, seen model.Placement) (written bool, err error) {
	err = s.update(ctx, func(t *tx) error {
		written = false
		now := store.Get(t, store.Placements, string(seen.DeviceID))
		if now == nil || *now != seen || now.Other == "" || now.Stage >= model.MoveSwitched {
			return nil
		}
		store.Put(t, store.Placements, string(now.DeviceID), &model.Placement{DeviceID: now.DeviceID, Host: now.Host, Epoch: now.Epoch + 1})
		written = true
		return nil
	})
	return written && err == nil, err
}
