package controller

import (
	"context"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
)

// delivery is one host's inbox, taken out.
type delivery struct {
	name   model.HostName
	host   *host
	acked  int64
	mtu    int
	writes bool
	ports  map[model.PortID]hostsync.PortReport
}

// deliver writes reports to the store until ctx ends. What comes in while it
// writes goes into the next round. What the store does not take is tried again,
// unless the host has said something newer.
func (h *hub) deliver(ctx context.Context) error {
	const minPause, maxPause = 50 * time.Millisecond, 5 * time.Second
	pause := minPause
	for {
		select {
		case <-h.wake:
		case <-ctx.Done():
			return nil
		}
		failed := false
		for _, d := range h.takeReports() {
			if err := h.write(ctx, d); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				h.log.Warn("a host's report was not stored; it is tried again", "host", d.name, "error", err, "retry_in", pause)
				h.giveBack(d)
				failed = true
			}
		}
		if !failed {
			pause = minPause
			continue
		}
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, maxPause)
	}
}

func (h *hub) takeReports() []delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []delivery
	for name, host := range h.hosts {
		if !host.writes && len(host.ports) == 0 {
			continue
		}
		out = append(out, delivery{name, host, host.acked, host.mtu, host.writes, host.ports})
		host.writes, host.ports = false, nil
	}
	return out
}

func (h *hub) giveBack(d delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.host.writes = d.host.writes || d.writes
	if d.host.ports == nil {
		d.host.ports = map[model.PortID]hostsync.PortReport{}
	}
	for id, p := range d.ports {
		if _, newer := d.host.ports[id]; !newer {
			d.host.ports[id] = p
		}
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hub) write(ctx context.Context, d delivery) error {
	if len(d.ports) > 0 {
		states := make([]model.PortState, 0, len(d.ports))
		for _, p := range d.ports {
			states = append(states, model.PortState{PortID: p.ID, Status: p.Status, Reason: p.Reason})
		}
		if err := h.rules.SetPortStates(ctx, d.name, states); err != nil {
			return err
		}
	}
	if !d.writes {
		return nil
	}
	// The site looks at freed keys in the newest snapshot, so that is what the
	// host must acknowledge next.
	snap, err := h.rules.View(ctx)
	if err != nil {
		return err
	}
	if err := h.rules.AckHost(ctx, d.name, d.acked, d.mtu); err != nil {
		return err
	}
	h.followUp(d.host, d.name, snap.Revision(), d.acked)
	return nil
}

// followUp asks for one more acknowledgement where keys were freed that this one
// could not vouch for.
func (h *hub) followUp(host *host, name model.HostName, seen, acked int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hosts[name] != host || host.freed == 0 {
		return
	}
	host.freed--
	if host.freed == 0 || host.acked > acked {
		return
	}
	host.nudge = max(seen, acked+1)
	if h.revision >= host.nudge {
		h.push(name, host, emptyDelta())
	}
}
