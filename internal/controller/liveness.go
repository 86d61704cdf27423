package controller

import (
	"context"
	"errors"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// A host is gone when its agent has been away for a time. The controller that had it last
// says so; where that has shown no sign of life for the same time, any other. A controller shows
// one from time to time, but only while there is another: so a site of one controller writes nothing
// while nothing happens. All is told by what this process has seen change, since it began, and
// never by another machine's clock.

// signs is what the hub knows of hosts' and controllers' lives. hub.mu guards it.
type signs struct {
	timeout time.Duration
	begun   time.Time                      // of the watch; anew where the feed broke, or the store was away
	hosts   map[model.HostName]*model.Host // those of the site
	heard   map[model.HostName]time.Time   // by this controller
	runs    map[string]run                 // of other controllers, and this one
	fresh   bool                           // another controller has come: it must see a sign at once
	reports map[model.HostName]*host       // which have said something in their sessions
	wake    chan struct{}                  // capacity 1
}

// run is what was seen of a controller's run.
type run struct {
	beat uint64
	seen time.Time // that it was there or did something; zero: only in the first snapshot
}

func newSigns() signs {
	return signs{
		timeout: 30 * time.Second, begun: time.Now(), hosts: map[model.HostName]*model.Host{}, heard: map[model.HostName]time.Time{},
		runs: map[string]run{}, reports: map[model.HostName]*host{}, wake: make(chan struct{}, 1),
	}
}

var errDeleted = errors.New("the host was deleted from the site")

// readHosts takes hosts and controllers from a snapshot. It needs mu.
func (h *hub) readHosts(r store.Reader) {
	had := h.life.hosts
	h.life.hosts = map[model.HostName]*model.Host{}
	for x := range store.All(r, store.Hosts) {
		h.noteHost(x)
		delete(had, x.Name)
	}
	for name := range had {
		h.dropHost(name)
	}
	// What happened while nothing was watched is not known, so all times begin anew.
	h.life.begun = time.Now()
	for c := range store.All(r, store.Controllers) {
		now := run{beat: c.Beat, seen: h.life.runs[c.ID].seen}
		if old, known := h.life.runs[c.ID]; known && old.beat != c.Beat {
			now.seen = h.life.begun
		}
		h.life.runs[c.ID] = now
	}
}

// noteHosts takes from a batch what has changed of hosts and controllers. It needs mu.
func (h *hub) noteHosts(b store.Batch) {
	for _, c := range b.Changes {
		switch c.Kind {
		case store.Hosts.Kind():
			if x, ok := c.Object.(*model.Host); ok {
				old := h.life.hosts[x.Name]
				h.noteHost(x)
				if old == nil || old.Session != x.Session || old.Controller != x.Controller {
					h.sign(x.Controller, h.life.runs[x.Controller].beat)
					if x.Controller == h.id {
						h.life.heard[x.Name] = time.Now()
					}
				}
			} else {
				h.dropHost(model.HostName(c.ID))
			}
		case store.Controllers.Kind():
			if x, ok := c.Object.(*model.Controller); ok {
				h.sign(x.ID, x.Beat)
				h.placeOf(x.ID, x)
			} else {
				delete(h.life.runs, c.ID)
				h.placeOf(c.ID, nil)
			}
		}
	}
}

// sign notes that a controller has done something.
func (h *hub) sign(id string, beat uint64) {
	old, known := h.life.runs[id]
	h.life.runs[id] = run{beat, time.Now()}
	if id != h.id && (!known || old.seen.IsZero() || time.Since(old.seen) > h.life.timeout) {
		h.life.fresh = true
		h.wakeLife()
	}
}

func (h *hub) wakeLife() {
	select {
	case h.life.wake <- struct{}{}:
	default:
	}
}

func (h *hub) noteHost(x *model.Host) {
	h.life.hosts[x.Name] = x
	h.place(x.Name)
	h.counts.HostAlive(string(x.Name), !x.Gone)
}

// dropHost ends what there is of a host that was deleted.
func (h *hub) dropHost(name model.HostName) {
	delete(h.life.hosts, name)
	h.place(name)
	if host := h.hosts[name]; host != nil {
		host.queue.Close(errDeleted)
	}
	h.forgetHost(name)
	h.wakeVouching() // it may have been the last to hold keys
}

// forgetHost drops what is kept of a host by its name. It needs mu.
func (h *hub) forgetHost(name model.HostName) {
	delete(h.life.heard, name)
	delete(h.life.reports, name)
	delete(h.budgets, name)
	h.line.forget(name)
	h.counts.HostDeleted(string(name))
}

// lastHeard is when the agent of a host that is connected here was heard last; its connection
// is tried every few seconds. Zero: it is not connected here.
func (h *hub) lastHeard(name model.HostName) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hosts[name] == nil {
		return time.Time{}
	}
	return time.Now()
}

// liveness is what is to be written about the hosts.
type liveness struct {
	gone  []site.Signs // for want of a sign since signs.begun was
	since time.Time
	back  []site.Session
	beat  bool
	// next is when to look again at the latest.
	next time.Duration
}

// look works out what is to be written now. While the store is away no host is gone: its agent was let go.
func (h *hub) look(now time.Time) liveness {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &h.life
	out := liveness{next: l.timeout / 3, beat: l.fresh, since: l.begun}
	l.fresh = false
	for id, r := range l.runs {
		if id != h.id && !r.seen.IsZero() && now.Sub(r.seen) < 3*l.timeout && now.Sub(l.runs[h.id].seen) > l.timeout/4 {
			out.beat = true
		}
	}
	for name, x := range l.hosts {
		if host := h.hosts[name]; host != nil {
			l.heard[name] = now
			if x.Gone && l.reports[name] == host && x.Controller == h.id && x.Session == host.session {
				out.back = append(out.back, site.Session{Host: name, Controller: h.id, Number: host.session})
			}
			continue
		}
		if x.Gone || h.proofs.away != nil {
			continue
		}
		last := l.begun
		if seen := l.runs[x.Controller].seen; x.Controller != h.id && seen.After(last) {
			last = seen
		}
		if x.Controller == h.id && l.heard[name].After(last) {
			last = l.heard[name]
		}
		if left := l.timeout - now.Sub(last); left > 0 {
			out.next = min(out.next, left)
			continue
		}
		out.gone = append(out.gone, site.Signs{Host: name, Controller: x.Controller, Session: x.Session, Beat: l.runs[x.Controller].beat, HeardAt: l.heard[name]})
	}
	return out
}

// watchHosts keeps what the store says of hosts' lives up to date until ctx ends.
func (h *hub) watchHosts(ctx context.Context) error {
	select {
	case <-h.ready:
	case <-ctx.Done():
		return nil
	}
	if err := h.rules.Begin(ctx, h.id); err != nil && ctx.Err() == nil {
		h.log.Warn("the other controllers do not know of this one yet", "error", err)
	}
	for {
		due := h.look(time.Now())
		if err := h.writeLives(ctx, due); err != nil && ctx.Err() == nil {
			h.log.Warn("what is known of hosts' lives was not stored; it is tried again", "error", err)
		}
		timer := time.NewTimer(max(due.next, 10*time.Millisecond))
		select {
		case <-timer.C:
		case <-h.life.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (h *hub) writeLives(ctx context.Context, due liveness) error {
	var errs []error
	if due.beat {
		if err := h.rules.Beat(ctx, h.id); err != nil {
			errs = append(errs, err)
			h.mu.Lock()
			h.life.fresh = true
			h.mu.Unlock()
		}
	}
	for _, s := range due.gone {
		if h.begunSince(due.since) {
			break // a write may wait for as long as the store is away
		}
		news, err := h.rules.HostGone(ctx, s)
		if err != nil {
			errs = append(errs, err)
		}
		if news {
			h.log.Warn("a host is gone: its agent is away; its ports are DOWN, and it holds freed keys until it is back or deleted", "host", s.Host, "host_timeout", h.life.timeout)
		}
	}
	for _, s := range due.back {
		if err := h.back(ctx, s); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// begunSince tells whether hosts have their whole time anew since a look, or will have it when the store is back.
func (h *hub) begunSince(look time.Time) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.proofs.away != nil || !h.life.begun.Equal(look)
}

// back notes that a host that was gone has reported.
func (h *hub) back(ctx context.Context, s site.Session) error {
	news, err := h.rules.HostBack(ctx, s)
	if news {
		h.log.Info("a host is back", "host", s.Host)
	}
	return err
}
