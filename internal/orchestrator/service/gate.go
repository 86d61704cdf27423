package service

import (
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// How long a site that does not answer is left alone, at first and at most.
const minRest, maxRest = time.Second, time.Minute

// gate keeps sites that do not answer from being asked again and again. A site is closed when
// a reading fails, and opened by a check that succeeds, beside the work on the others.
type gate struct {
	log *slog.Logger

	mu    sync.Mutex
	sites map[string]*closed // by access; those that answer have none
}

type closed struct {
	problem  observed.Problem
	rest     time.Duration
	next     time.Time // of the next check
	checking bool
}

func newGate(log *slog.Logger) *gate { return &gate{log: log, sites: map[string]*closed{}} }

// Closed implements orchestrator.Gate.
func (g *gate) Closed(s *peering.Site) *observed.Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.sites[orchestrator.AccessKey(s.Access)]
	if c == nil {
		return nil
	}
	p := c.problem
	return &p
}

// Seen implements orchestrator.Gate.
func (g *gate) Seen(s *peering.Site, problem *observed.Problem) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := orchestrator.AccessKey(s.Access)
	c := g.sites[key]
	switch {
	case problem == nil && c != nil:
		delete(g.sites, key)
		g.log.Info("the site answers again", "site", s.Name)
	case problem != nil && c == nil:
		c = &closed{problem: *problem, rest: minRest}
		c.next = time.Now().Add(jitter(c.rest))
		g.sites[key] = c
		g.log.Warn("the site does not answer; it is left alone for a while", "site", s.Name, "problem", problem.Text)
	case problem != nil && c.checking:
		c.problem, c.checking = *problem, false
		c.rest = min(2*c.rest, maxRest)
		c.next = time.Now().Add(jitter(c.rest))
	}
}

// due tells whether a closed site is to be checked now, and by whoever asked: nobody else is told so
// until Seen.
func (g *gate) due(s *peering.Site) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.sites[orchestrator.AccessKey(s.Access)]
	if c == nil || c.checking || time.Now().Before(c.next) {
		return false
	}
	c.checking = true
	return true
}

// giveUp ends a check that found nothing out.
func (g *gate) giveUp(s *peering.Site) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.sites[orchestrator.AccessKey(s.Access)]; c != nil {
		c.checking = false
	}
}

// keep forgets the sites that no peering has any more.
func (g *gate) keep(specs []peering.Peering) {
	g.mu.Lock()
	defer g.mu.Unlock()
	used := orchestrator.AccessKeys(specs)
	maps.DeleteFunc(g.sites, func(key string, _ *closed) bool { return !used[key] })
}

// jitter is between half of d and d, so that many do not come back at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
