// Package service keeps peerings as their files say for as long as it runs: it watches the
// files and the sites, and mends what has drifted. What tenants add to their peer routers is
// advertised, and what they take away withdrawn.
//
// # One at a time
//
// Any number of instances may run with the same files. For each peering one leads: it holds a
// lease on the VTEP router of the first site that answers, and the others wait for it. Leading only
// spares the sites the work of many; what keeps two from mixing is the lease that every change takes on
// all the peering's routers, and that is asked about before each step (package lease). So a
// leader that was held up, and does not know yet that another leads, changes nothing.
//
// # Bounds
//
// A site is looked at in two ways: often, with two small requests, at what tenants change; seldom at
// everything. One that does not answer is left alone for a time that grows to a minute, and is
// no reason to leave the others. Nothing queues: what happens while a peering is worked on is seen in
// the next round.
package service

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

// Options configure a Service.
type Options struct {
	// Paths are the files, and directories of files, that say what is peered.
	Paths []string
	// Poll is how often files and peer routers are looked at; 2 s if zero.
	Poll time.Duration
	// Full is how often all of a peering is looked at, whether something shows or not; 30 s if zero.
	Full time.Duration
	// Sites bound the requests. A zero Timeout is 5 s here, and zero Attempts 4: a site that hangs is
	// to hold up nobody for long.
	Sites sites.Options
	Lease lease.Options
	// Counts is told what happens.
	Counts Counts
	Log    *slog.Logger
}

// Counts takes what metrics are made of: *metrics.Peer.
type Counts interface {
	// Looked: whether this instance leads, and what its last whole look at the peering found.
	Looked(peering string, leader, inSync bool, drift, problems int)
	// Site: whether a site of a peering answers.
	Site(peering, site string, up bool)
	// Applied: an attempt to mend, by how it ended: done, failed, held or blocked, and its steps.
	Applied(peering, result string, steps int, took time.Duration)
	// Files: whether the files could be read, and how many peerings they have.
	Files(ok bool, peerings int)
	// Gone: a peering is looked after no more.
	Gone(peering string)
}

// Summary is what a look at a peering found.
type Summary struct {
	Leader   bool `json:"leader"`
	InSync   bool `json:"in_sync"`
	Drift    int  `json:"drift"`
	Problems int  `json:"problems"`
	Sites    int  `json:"sites"`
	Down     int  `json:"sites_down"`
}

// Service looks after peerings.
type Service struct {
	opts Options
	gate *gate
	orch *orchestrator.Orchestrator

	mu      sync.Mutex
	workers map[string]*worker
	beat    time.Time // of the loop over the files
}

// New makes a Service.
func New(o Options) *Service {
	if o.Poll == 0 {
		o.Poll = 2 * time.Second
	}
	if o.Full == 0 {
		o.Full = 30 * time.Second
	}
	if o.Sites.Timeout == 0 {
		o.Sites.Timeout = 5 * time.Second
	}
	if o.Sites.Attempts == 0 {
		o.Sites.Attempts = 4
	}
	if o.Lease.Term == 0 {
		o.Lease.Term = lease.DefaultTerm
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Service{opts: o, gate: newGate(o.Log), workers: map[string]*worker{}, beat: time.Now()}
	s.orch = orchestrator.New(orchestrator.Options{Sites: o.Sites, Lease: o.Lease, Gate: s.gate})
	return s
}

// Run works until ctx ends. Then what is under way stops after the step it is at, leases are given
// back, and it returns nil.
func (s *Service) Run(ctx context.Context) error {
	defer s.setWorkers(ctx, nil)
	tick := time.NewTicker(s.opts.Poll)
	defer tick.Stop()
	f := files{paths: s.opts.Paths}
	last := ""
	for {
		specs, ok, err := f.read()
		switch {
		case err == nil && last != "":
			s.opts.Log.Info("the files can be read again")
			last = ""
		case err != nil && err.Error() != last:
			last = err.Error()
			s.opts.Log.Error("files cannot be read; their peerings stay as they were last read", "error", err)
		}
		if ok {
			s.setWorkers(ctx, specs)
		}
		s.mu.Lock()
		s.opts.Counts.Files(err == nil, len(s.workers))
		s.beat = time.Now()
		s.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// setWorkers ends the workers whose peerings are not there any more, or are others now, and
// starts those that are missing. It waits for those that end.
func (s *Service) setWorkers(ctx context.Context, specs []peering.Peering) {
	want := map[string]*peering.Peering{}
	for i := range specs {
		want[specs[i].Name] = &specs[i]
	}
	s.mu.Lock()
	var ended []*worker
	for name, w := range s.workers {
		spec := want[name]
		if spec != nil && same(spec, w.spec) {
			continue
		}
		delete(s.workers, name)
		ended = append(ended, w)
		switch {
		case spec != nil:
			s.opts.Log.Info("the peering's file has changed", "peering", name, "place", spec.Place)
		case ctx.Err() == nil:
			s.opts.Log.Info("the peering is in no file any more: it is left as it is", "peering", name)
		}
	}
	s.mu.Unlock()
	for _, w := range ended {
		w.cancel()
	}
	for _, w := range ended {
		<-w.done
		s.opts.Counts.Gone(w.spec.Name) // with the sites that it has no more
	}
	if len(ended) > 0 {
		s.orch.Keep(specs)
		s.gate.keep(specs)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, spec := range want {
		if s.workers[name] == nil && ctx.Err() == nil {
			s.workers[name] = s.start(ctx, spec)
		}
	}
}

func same(a, b *peering.Peering) bool {
	x, y := *a, *b
	x.Place, y.Place = "", ""
	return reflect.DeepEqual(x, y)
}

// maxSilence is how long a loop may be busy before Healthy takes it for stuck: far longer than the
// longest change.
const maxSilence = 5 * time.Minute

// ErrStuck is what Healthy says of a loop that does not go on.
var ErrStuck = errors.New("it has not come round for a long time")

// Healthy tells whether all loops go on, and what the last looks found.
func (s *Service) Healthy() (map[string]Summary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if time.Since(s.beat) > maxSilence {
		err = ErrStuck
	}
	out := map[string]Summary{}
	for name, w := range s.workers {
		sum, beat := w.summary()
		out[name] = sum
		if time.Since(beat) > maxSilence {
			err = errors.Join(err, errors.New(name+": "+ErrStuck.Error()))
		}
	}
	return out, err
}
