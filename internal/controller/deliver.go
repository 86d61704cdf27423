package controller

import (
	"context"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// What a host reports is written to the store, whose history keeps each version for
// minutes. So each host has a budget: enough at once for all ports of a large host, and
// in the long run for what changes on a busy one. What is beyond waits, and is merged
// with what the host says meanwhile.
const (
	reportRate  = 64 << 10 // bytes a second
	reportBurst = 4 << 20
	// reportCost is what a state takes in the store beside its words, in bytes.
	reportCost = 400
	// mtuRate and mtuBurst are how many changes of a host's MTUs are written a second, and at once. All hosts
	// are told of each.
	mtuRate, mtuBurst = 1, 8
	// reportPause is when a host whose budget is spent is looked at again.
	reportPause = 250 * time.Millisecond
)

// allowance is what a host may have written in its name.
type allowance struct{ bytes, mtus *rate.Limiter }

func newAllowance() *allowance {
	return &allowance{rate.NewLimiter(reportRate, reportBurst), rate.NewLimiter(mtuRate, mtuBurst)}
}

// delivery is one host's inbox, taken out.
type delivery struct {
	name   model.HostName
	host   *host
	budget *rate.Limiter
	mtu    int
	fabric int
	writes bool
	fresh  bool
	ports  map[model.PortID]hostsync.PortReport
}

// deliver writes reports to the store until ctx ends. What comes in while it
// writes goes into the next round. What the store does not take is tried again,
// unless the host has said something newer.
func (h *hub) deliver(ctx context.Context) error {
	const minPause, maxPause = 50 * time.Millisecond, 5 * time.Second
	var again <-chan time.Time // nil: nothing waits for a budget or another try
	for {
		select {
		case <-h.wake:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		again = nil
		taken, spent := h.takeReports()
		forgotten := h.forgetOthers(ctx, taken)
		for _, d := range taken {
			rest, err := h.write(ctx, d, forgotten)
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				// The others do not wait for this one.
				d.host.wait = min(max(2*d.host.wait, minPause), maxPause)
				h.log.Warn("a host's report was not stored; it is tried again", "host", d.name, "error", err, "retry_in", d.host.wait)
				d.host.notBefore = time.Now().Add(d.host.wait)
				h.giveBack(d)
				spent = true
				continue
			}
			d.host.wait = 0
			if len(rest) > 0 {
				d.ports, d.writes, d.fresh = rest, false, false
				h.giveBack(d)
				spent = true
			}
		}
		if spent {
			again = time.After(reportPause)
		}
	}
}

// takeReports takes what hosts have said out of their inboxes, at the cost of those that have something. spent tells whether it
// left some there for later: of a host whose budget is spent, or whose last try failed.
func (h *hub) takeReports() (out []delivery, spent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.inboxes {
		host := h.hosts[name]
		begins := host != nil && host.fresh && h.life.reports[name] == host // what it says first
		if host == nil || !host.writes && len(host.ports) == 0 && !begins {
			delete(h.inboxes, name)
			continue
		}
		if time.Now().Before(host.notBefore) {
			spent = true
			continue
		}
		budget := h.budgets[name]
		if budget == nil {
			budget = newAllowance()
			h.budgets[name] = budget
		}
		if !budget.bytes.Allow() {
			spent = true
			continue
		}
		writes := host.writes && budget.mtus.Allow()
		late := host.writes && !writes // others do not wait for it, and what else the host says does not either
		if spent = spent || late; late && len(host.ports) == 0 && !begins {
			continue
		}
		out = append(out, delivery{name, host, budget.bytes, host.mtu, host.fabric, writes, host.fresh, host.ports})
		host.writes, host.fresh, host.ports = late, false, nil
		if !late {
			delete(h.inboxes, name)
		}
	}
	return out, spent
}

func (h *hub) giveBack(d delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inboxes[d.name] = struct{}{}
	d.host.writes = d.host.writes || d.writes
	d.host.fresh = d.host.fresh || d.fresh
	if d.host.ports == nil {
		d.host.ports = map[model.PortID]hostsync.PortReport{}
	}
	for id, p := range d.ports {
		if _, newer := d.host.ports[id]; !newer {
			d.host.ports[id] = p
		}
	}
}

// wakeDelivery makes deliver go another round.
func (h *hub) wakeDelivery() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// forgetOthers forgets what hosts said before they connected of ports that are not theirs: once for all that
// have come.
func (h *hub) forgetOthers(ctx context.Context, taken []delivery) error {
	var fresh []model.HostName
	for _, d := range taken {
		if d.fresh {
			fresh = append(fresh, d.name)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	// What they have said before may be written this moment.
	if err := h.catchUp(ctx); err != nil {
		return err
	}
	return h.rules.ForgetOthers(ctx, h.erringAt(fresh...), fresh...)
}

// write brings a delivery to the store, and returns what the host's budget does not
// reach for. forgotten is what became of forgetOthers.
func (h *hub) write(ctx context.Context, d delivery, forgotten error) (rest map[model.PortID]hostsync.PortReport, err error) {
	if d.fresh && forgotten != nil {
		return nil, forgotten
	}
	snap, err := h.rules.View(ctx)
	if err != nil {
		return nil, err
	}
	states, rest := affordable(d.budget, changed(snap, d))
	if len(states) > 0 {
		if err := h.rules.SetPortStates(ctx, d.name, states); err != nil {
			return nil, err
		}
	}
	if d.fresh {
		if err := h.back(ctx, site.Session{Host: d.name, Controller: h.id, Number: d.host.session}); err != nil {
			return nil, err
		}
	}
	if !d.writes {
		return rest, nil
	}
	d.budget.AllowN(time.Now(), reportCost) // merged, never put off
	return rest, h.rules.SetMTUs(ctx, d.name, d.mtu, d.fabric)
}

// changed are the reports about ports that are the host's, and that say what is not
// known already.
func changed(r store.Reader, d delivery) map[model.PortID]hostsync.PortReport {
	out := map[model.PortID]hostsync.PortReport{}
	for id, p := range d.ports {
		if strings.Contains(string(id), "/") { // of a port that is not bound: the site looks it up
			out[id] = p
			continue
		}
		port := store.Get(r, store.Ports, string(id))
		if port == nil || port.HostID != d.name {
			continue
		}
		old := store.Get(r, store.PortStates, string(id))
		if old == nil || *old != stateOf(d.name, p) {
			out[id] = p
		}
	}
	return out
}

func stateOf(host model.HostName, p hostsync.PortReport) model.PortState {
	return model.PortState{PortID: p.ID, Host: host, Status: p.Status, Reason: p.Reason}
}

// affordable takes as many reports as a budget reaches for; the rest is for later.
func affordable(budget *rate.Limiter, ports map[model.PortID]hostsync.PortReport) (states []model.PortState, rest map[model.PortID]hostsync.PortReport) {
	rest = map[model.PortID]hostsync.PortReport{}
	for id, p := range ports {
		if !budget.AllowN(time.Now(), reportCost+len(p.Reason)) {
			rest[id] = p
			continue
		}
		states = append(states, stateOf("", p))
	}
	return states, rest
}
