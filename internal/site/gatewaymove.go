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

// A host that has had the device keeps it for a while, and what comes from it is taken, also where the device turns back or on to a third
// host: see stay and towards.
//
// No device is handed to a host that does not answer: see Advance, TurnBack and putPlace.

// bound is the host that a device is at, or on its way to; "": none.
func bound(p *model.Placement) model.HostName {
	switch {
	case p == nil:
		return ""
	case p.Next != "":
		return p.Next
	case p.Other != "" && p.Stage < model.MoveSwitched:
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
	then := ""
	if p.Next != "" {
		then = fmt.Sprintf("; it goes on to host %s then", p.Next)
	}
	if p.Stage == model.MoveLeft {
		return fmt.Sprintf("it moves from host %s to host %s: host %s lets go%s", p.Other, p.Host, p.Other, then)
	}
	return fmt.Sprintf("it moves from host %s to host %s: host %s has the tunnel IP for a while still, for what other sites have sent there%s", p.Other, p.Host, p.Other, then)
}

// withoutDeleted takes hosts that are no more out of a placement; nil: none is left.
func (t *tx) withoutDeleted(p *model.Placement) *model.Placement {
	if p == nil {
		return nil
	}
	n := *p
	there := func(h model.HostName) bool { return h != "" && store.Get(t, store.Hosts, string(h)) != nil }
	if !there(p.Next) {
		n.Next = ""
	}
	switch here, other := there(p.Host), there(p.Other); {
	case here && (other || p.Other == ""):
	case here:
		n.Other, n.Stage, n.Next = "", 0, ""
	case other:
		n.Host, n.Other, n.Stage, n.Next, n.Epoch = p.Other, "", 0, "", p.Epoch+1
	default:
		store.Delete(t, store.Placements, string(p.DeviceID))
		return nil
	}
	if n == *p {
		return p
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
	case bound(now) == host || now.Host != host && t.answers(now.Host) && !t.answers(host):
		return
	case now.Host == host:
		next = stay(now)
	default:
		next = t.towards(d, now, host)
	}
	store.Put(t, store.Placements, string(d.ID), &next)
}

// stay is the place of a device that is to stay where it is, or be again. A host that it was on its way to and that has it keeps it for
// as long as a former host does.
func stay(now *model.Placement) model.Placement {
	next := *now
	switch now.Stage {
	case model.MoveSwitched, model.MoveLeft:
		next.Next = ""
	case model.MoveBoth:
		next.Stage, next.Epoch = model.MoveSwitched, now.Epoch+1
	default:
		next.Other, next.Stage, next.Epoch = "", 0, now.Epoch+1
	}
	return next
}

// towards is the place of a device that is to go to another host than it is at. One that is on a third host too goes when that has let go.
func (t *tx) towards(d *model.GatewayDevice, now *model.Placement, host model.HostName) model.Placement {
	next := model.Placement{DeviceID: d.ID, Host: host, Epoch: now.Epoch + 1}
	if !t.movesInStages(d, now.Host, host) {
		return next
	}
	next.Host, next.Other, next.Stage = now.Host, host, model.MoveAccept
	switch {
	case now.Stage == 0 || now.Stage == model.MoveAccept:
	case now.Other != host:
		next = stay(now)
		next.Next = host
	case now.Stage == model.MoveSwitched: // it has all still
		next.Stage = model.MoveBoth
	}
	return next
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
			next = t.over(now)
		}
		store.Put(t, store.Placements, string(next.DeviceID), &next)
		written = true
		return nil
	})
	return written && err == nil, err
}

// over is the place of a device whose move is over: it stays there, or begins to go on.
func (t *tx) over(now *model.Placement) model.Placement {
	next := *now
	next.Stage, next.Other, next.Next = 0, "", ""
	d := store.Get(t, store.GatewayDevices, string(now.DeviceID))
	if now.Next == "" || d == nil || t.answers(now.Host) && !t.answers(now.Next) {
		return next
	}
	return t.towards(d, &next, now.Next)
}

// TurnBack ends a device's move, if it is at the stage that was seen and the other hosts have not been sent to the new host yet:
// the device stays where it is. If the new host may have it, that lets go as a former host does. written tells whether it did.
func (s *Site) TurnBack(ctx context.Context, seen model.Placement) (written bool, err error) {
	err = s.update(ctx, func(t *tx) error {
		written = false
		now := store.Get(t, store.Placements, string(seen.DeviceID))
		if now == nil || *now != seen || now.Other == "" || now.Stage >= model.MoveSwitched {
			return nil
		}
		next := stay(now)
		store.Put(t, store.Placements, string(now.DeviceID), &next)
		written = true
		return nil
	})
	return written && err == nil, err
}
