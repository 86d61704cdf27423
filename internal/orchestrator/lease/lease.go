// Package lease keeps two runs for one peering apart, by nothing but the sites'
// public API.
//
// The lease is a tag on the peer router of each site. A tag is written and taken
// away in one step of the API, so that no condition on the router's revision is
// needed, and tenants may change their routers meanwhile.
//
//   - Who wants the lease looks: a tag of somebody else means that it is held.
//   - Then it writes its own tag and looks again. Of two that write at the same time,
//     the one that looks later sees the other's, and takes its own away. Both may see
//     both, and both try again after a random time; never do both go on.
//   - The holder renews: it writes a tag with the next number and takes the last one
//     away.
//   - Who waits may take the tag away that it has seen unchanged for the whole term
//     by its own clock. No two clocks are ever compared.
//   - The holder trusts its lease for less than the term after it began to write its
//     last tag, by its own clock. So it has stopped before anybody takes the tag away.
//     The clock is the one that goes on while the machine is suspended.
package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/pause"
)

// Router is the API of the site whose router holds the tag.
type Router interface {
	RouterTags(ctx context.Context, id string) ([]string, error)
	TagRouter(ctx context.Context, id, tag string) error
	UntagRouter(ctx context.Context, id, tag string) (was, sure bool, err error)
}

// Place is one router that the lease is on.
type Place struct {
	Site     string
	Router   Router
	RouterID string
}

// DefaultTerm is the term where none is given.
const DefaultTerm = 15 * time.Second

// Options change how a lease is taken. The zero value is usable.
type Options struct {
	// Holder names this run; Self() if empty.
	Holder string
	// Term is how long a tag must be seen unchanged before it may be taken away;
	// DefaultTerm if zero. All runs must use the same.
	Term time.Duration
	// Doing is the command that this run is for, in one word; whoever waits is told.
	Doing string
	// Wait bounds the wait for somebody else's lease; 0 is not to wait.
	Wait time.Duration
	// OnWait, if not nil, is told who is waited for: at first, when what it does changes, and now and
	// then. It is called by one goroutine at a time.
	OnWait func(Held)
	// Dead, if not nil, tells whether a holder is known to have ended.
	Dead func(holder string) bool
	// now is sinceBoot but in tests.
	now func() time.Duration
}

// ErrLost is what work under a lease ends with when the lease could not be renewed
// in time or was taken away.
var ErrLost = errors.New("the lease was lost: another run may be at work")

// Lease is held on all its places until Release.
type Lease struct {
	peering string
	opts    Options
	spots   []*spot
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    sync.WaitGroup
	began   time.Time
	// progress is what Report was told last; waited, what Waited gives.
	progress atomic.Pointer[[2]int]
	waited   waiter
}

// spot is the lease on one router.
type spot struct {
	Place
	n int // number of the present tag; 0: none
	// tag is the present one, next the one that is written in its place.
	tag, next string

	mu    sync.Mutex
	until time.Duration // since the boot; trusted until then
}

// margin is the part of the term by which the holder stops early.
const margin = 4

// Take takes the lease on all places. They are asked in the order of the sites'
// names, the first alone: so two runs with the same places meet there, and neither
// holds what the other waits for.
func Take(ctx context.Context, peering string, places []Place, o Options) (*Lease, error) {
	if o.Term == 0 {
		o.Term = DefaultTerm
	}
	if o.Holder == "" {
		o.Holder = Self()
	}
	if o.now == nil {
		o.now = sinceBoot
	}
	places = slices.Clone(places)
	slices.SortFunc(places, func(a, b Place) int { return strings.Compare(a.Site, b.Site) })
	l := &Lease{peering: peering, opts: o, began: time.Now(), waited: waiter{onWait: o.OnWait, news: min(tellNews, o.Term/4), again: min(tellAgain, o.Term)}}
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	deadline := time.Now().Add(o.Wait)
	w := &l.waited
	for _, p := range places {
		l.spots = append(l.spots, &spot{Place: p})
	}
	err := func() error {
		if len(l.spots) == 0 {
			return nil
		}
		if err := l.take(ctx, l.spots[0], deadline, w); err != nil {
			return err
		}
		l.keep(l.spots[0])
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(16)
		for _, s := range l.spots[1:] {
			g.Go(func() error {
				if err := l.take(gctx, s, deadline, w); err != nil {
					return err
				}
				l.keep(s)
				return nil
			})
		}
		return g.Wait()
	}()
	if err != nil {
		l.Release(context.WithoutCancel(ctx))
		return nil, err
	}
	return l, nil
}

func (l *Lease) prefix() string { return observed.LeaseMark + l.peering + ":" }

// tag is the n-th tag of this run. After the number it says what the run does.
func (l *Lease) tag(n int) string {
	w := work{doing: l.opts.Doing, since: l.began}
	if p := l.progress.Load(); p != nil {
		w.done, w.all = p[0], p[1]
	}
	return l.prefix() + l.opts.Holder + ":" + w.suffix(n)
}

// Report says how far the work is that the lease was taken for: whoever waits is told.
func (l *Lease) Report(done, all int) { l.progress.Store(&[2]int{done, all}) }

// Waited is who was waited for last, and how it ended; nil where nobody was.
func (l *Lease) Waited() *Held { return l.waited.held() }

// others are the lease tags of other runs.
func (l *Lease) others(tags []string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(t string) bool {
		return !strings.HasPrefix(t, l.prefix()) || strings.HasPrefix(t, l.prefix()+l.opts.Holder+":")
	})
}

func (l *Lease) holderOf(tag string) string {
	h := strings.TrimPrefix(tag, l.prefix())
	if i := strings.LastIndexByte(h, ':'); i >= 0 {
		h = h[:i]
	}
	return h
}

// take takes the lease on one router.
func (l *Lease) take(ctx context.Context, s *spot, deadline time.Time, w *waiter) error {
	seen := map[string]time.Time{}
	for {
		tags, err := s.Router.RouterTags(ctx, s.RouterID)
		if err != nil {
			return fmt.Errorf("%s: look for a lease: %w", s.Site, err)
		}
		others := l.others(tags)
		if len(others) == 0 {
			ok, err := l.try(ctx, s)
			if ok || err != nil {
				return err
			}
			if err := pause.For(ctx, rand.N(l.opts.Term/20+time.Millisecond)); err != nil {
				return err
			}
			continue
		}
		now := time.Now()
		stale := true
		for _, t := range others {
			first, known := seen[t]
			if !known {
				seen[t] = now
			}
			if dead := l.opts.Dead != nil && l.opts.Dead(l.holderOf(t)); dead || known && now.Sub(first) > l.opts.Term {
				if _, _, err := s.Router.UntagRouter(ctx, s.RouterID, t); err != nil {
					return fmt.Errorf("%s: take over a lease: %w", s.Site, err)
				}
				w.died(l.holderOf(t))
				continue
			}
			stale = false
		}
		if stale {
			continue
		}
		held := heldBy(l.peering, s.Site, l.holderOf(others[0]), others[0])
		if now.After(deadline) {
			return held
		}
		w.tell(held)
		if err := pause.For(ctx, min(l.opts.Term/10, time.Second)); err != nil {
			return err
		}
	}
}

// try writes the first tag and looks whether somebody else did as well.
func (l *Lease) try(ctx context.Context, s *spot) (bool, error) {
	begin := l.opts.now()
	s.n, s.tag = 1, l.tag(1)
	if err := s.Router.TagRouter(ctx, s.RouterID, s.tag); err != nil {
		return false, fmt.Errorf("%s: take the lease: %w", s.Site, err)
	}
	tags, err := s.Router.RouterTags(ctx, s.RouterID)
	if err == nil && len(l.others(tags)) == 0 && slices.Contains(tags, s.tag) {
		s.trust(begin + l.opts.Term - l.opts.Term/margin)
		return true, nil
	}
	if _, _, uerr := s.Router.UntagRouter(context.WithoutCancel(ctx), s.RouterID, s.tag); err == nil {
		err = uerr
	}
	s.n = 0
	return false, err
}

func (s *spot) trust(until time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = until
}

func (s *spot) trusted() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until
}

// keep renews the lease on a router until it is released or lost.
func (l *Lease) keep(s *spot) {
	l.done.Go(func() {
		for {
			if pause.For(l.ctx, l.opts.Term/4) != nil {
				return
			}
			ctx, cancel := context.WithTimeout(l.ctx, s.trusted()-l.opts.now())
			err := l.renew(ctx, s)
			cancel()
			if l.ctx.Err() != nil {
				return
			}
			if err != nil {
				l.cancel(fmt.Errorf("%s: %w", s.Site, err))
				return
			}
		}
	})
}

// renew writes the next tag. It returns ErrLost if the lease is somebody else's, or
// nobody can say whose.
func (l *Lease) renew(ctx context.Context, s *spot) error {
	s.next = l.tag(s.n + 1) // the same at each try, so that only one is ever there
	for {
		begin := l.opts.now()
		err := s.Router.TagRouter(ctx, s.RouterID, s.next)
		if err == nil {
			var was, sure bool
			was, sure, err = s.Router.UntagRouter(ctx, s.RouterID, s.tag)
			if err == nil {
				s.n++
				s.tag, s.next = s.next, ""
				if !was || !sure {
					// Somebody took the tag away, or an answer was lost. Who took it
					// either sees the new tag and steps back, or its own is there now.
					tags, terr := s.Router.RouterTags(ctx, s.RouterID)
					if terr != nil || len(l.others(tags)) > 0 || !slices.Contains(tags, s.tag) {
						return ErrLost
					}
				}
				s.trust(begin + l.opts.Term - l.opts.Term/margin)
				return nil
			}
		}
		if ctx.Err() != nil || pause.For(ctx, l.opts.Term/20) != nil {
			return fmt.Errorf("%w (%w)", ErrLost, err)
		}
	}
}

// Context is done when ctx is, or when the lease is lost; its cause says so.
func (l *Lease) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	return out, func() { stop(); cancel(context.Canceled) }
}

// Check tells whether the lease is held at this moment, everywhere. Each step asks
// before it begins.
func (l *Lease) Check() error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	now := l.opts.now()
	for _, s := range l.spots {
		if now >= s.trusted() {
			return fmt.Errorf("%s: %w", s.Site, ErrLost)
		}
	}
	return nil
}

// releaseTime bounds Release: whoever interrupts a run waits for it.
const releaseTime = 5 * time.Second

// Release gives the lease back. What cannot be taken away in time stays and is taken
// over by whoever comes.
func (l *Lease) Release(ctx context.Context) {
	l.cancel(errors.New("the lease was given back"))
	l.done.Wait()
	ctx, cancel := context.WithTimeout(ctx, min(l.opts.Term, releaseTime))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, s := range l.spots {
		if s.n == 0 {
			continue
		}
		g.Go(func() error {
			// A renewal that was cut short may have written the next one.
			// What stays ends by itself.
			if s.next != "" {
				_, _, _ = s.Router.UntagRouter(ctx, s.RouterID, s.next)
			}
			_, _, _ = s.Router.UntagRouter(ctx, s.RouterID, s.tag)
			return nil
		})
	}
	_ = g.Wait() // none fails
}
