package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/reason"
)

// A host that is busy is asked so often, with such pauses in between; a loss is measured as often.
const (
	tries     = 3
	busyPause = 500 * time.Millisecond
)

// settleMS is how long, in milliseconds, a packet is waited for whose fate counts for nothing.
const settleMS = 50

// settle asks each site for one packet, and does not look at what becomes of it. A site sends once
// its host has all that the site was told before; so no packet that counts comes to a host that
// does not know yet what was written a moment ago. Only the end of ctx is an error.
func (r *run) settle(ctx context.Context, pairs []Way, order []int) error {
	var first []*Way
	asked := map[string]bool{}
	for _, i := range order {
		if w := &pairs[i]; !asked[w.From] {
			asked[w.From] = true
			first = append(first, w)
		}
	}
	return r.eachOf(ctx, len(first), func(ctx context.Context, i int) error {
		if e, lacks := r.ends(first[i].From, first[i].To); lacks == "" {
			_, _ = e.site.Probe(ctx, e.router, probe.Question{Source: e.source, Target: e.target, Count: 1, TimeoutMS: settleMS})
		}
		return nil
	})
}

// prove sends packets from one peer router to another.
func (r *run) prove(ctx context.Context, w *Way) error {
	e, lacks := r.ends(w.From, w.To)
	if lacks != "" {
		w.base, w.Why = NotMeasured, []string{lacks}
		return nil
	}
	m, err := r.measure(ctx, w.From, e, probe.Question{
		Source: e.source, Target: e.target, Count: r.Count, IntervalMS: r.IntervalMS, TimeoutMS: r.TimeoutMS, PathMTU: !r.NoPathMTU,
	})
	w.base, w.Probe, w.Why, w.noProbes = m.state, m.report, m.why, m.noProbes
	return err
}

// proveNetwork sends packets into a network of another site.
func (r *run) proveNetwork(ctx context.Context, j job) error {
	e, lacks := r.ends(j.pair.From, j.pair.To)
	if lacks != "" {
		j.way.State, j.way.Why = NotMeasured, []string{lacks}
		return nil
	}
	count := networkCount
	if r.Count > 0 {
		count = min(count, r.Count)
	}
	m, err := r.measure(ctx, j.pair.From, e, probe.Question{
		Source: j.way.Source, Target: j.way.Target, Count: count, IntervalMS: r.IntervalMS, TimeoutMS: r.TimeoutMS,
	})
	j.way.State, j.way.Probe, j.way.Why = m.state, m.report, m.why
	return err
}

// measured is what came of a question.
type measured struct {
	state    State
	report   *probe.Report
	why      []string
	noProbes bool
}

// measure asks a site to send packets. What a host is too busy for is asked again, and is no fault of
// the way. Packets that were lost once may have been lost to somebody else's noise: two measurements of
// three must lose some. Only the end of ctx is an error.
func (r *run) measure(ctx context.Context, site string, e ends, q probe.Question) (measured, error) {
	var sum probe.Report
	lossy, clean := 0, 0
	busy := ""
	for n := 0; n < tries && lossy < 2 && clean < 2; n++ {
		rep, err := e.site.Probe(ctx, e.router, q)
		switch {
		case ctx.Err() != nil:
			return measured{}, ctx.Err()
		case sites.HasNoProbes(err):
			return measured{state: NotMeasured, noProbes: true, why: []string{site + ": the site's API sends no probes"}}, nil
		case sites.IsRefused(err):
			// The router has no such address, say: a piece is missing that apply makes.
			return measured{state: Broken, why: []string{fmt.Sprintf("%s: %v", site, err)}}, nil
		case sites.IsBusy(err) || err == nil && limited(rep):
			busy = fmt.Sprintf("%s: the host that sends the packets is busy", site)
			if err != nil {
				busy = fmt.Sprintf("%s: %v", site, err)
			}
			if n+1 < tries {
				if err := pause.For(ctx, busyPause+rand.N(busyPause)); err != nil {
					return measured{}, err
				}
			}
			continue
		case err != nil:
			return measured{state: NotMeasured, why: []string{fmt.Sprintf("%s: %v", site, err)}}, nil
		}
		sum = merge(sum, rep)
		if rep.Received == 0 || rep.Received == rep.Sent && lossy == 0 {
			return r.judge(sum), nil
		}
		if rep.Received < rep.Sent {
			lossy++
		} else {
			clean++
		}
		q.PathMTU = q.PathMTU && sum.PathMTU == 0
	}
	switch {
	case sum.Sent == 0 || lossy < 2 && clean < 2:
		return measured{state: NotMeasured, why: []string{busy}}, nil
	case clean == 2:
		m := r.judge(sum)
		if m.state == Lossy {
			m.state = Passes
			m.why = []string{fmt.Sprintf("%d of %d packets were lost, all of them in one of three measurements", sum.Sent-sum.Received, sum.Sent)}
		}
		return m, nil
	}
	return r.judge(sum), nil
}

// limited tells that the router's own share of packets was used up: what did not come back says nothing
// of the way.
func limited(rep probe.Report) bool {
	for _, e := range rep.Errors {
		if !e.From.IsValid() && e.Reason == reason.SlowPathLimited.String() {
			return true
		}
	}
	return false
}

// merge puts two reports of one way together.
func merge(a, b probe.Report) probe.Report {
	if a.Sent == 0 {
		return b
	}
	out := b
	out.Sent, out.Received = a.Sent+b.Sent, a.Received+b.Received
	out.Loss = float64(out.Sent-out.Received) / float64(out.Sent)
	out.PathMTU = max(a.PathMTU, b.PathMTU)
	if a.RTT != nil && b.RTT != nil {
		out.RTT = &probe.RTT{
			Min: min(a.RTT.Min, b.RTT.Min), Max: max(a.RTT.Max, b.RTT.Max),
			Avg: (a.RTT.Avg*float64(a.Received) + b.RTT.Avg*float64(b.Received)) / float64(max(out.Received, 1)),
		}
	} else if a.RTT != nil {
		out.RTT = a.RTT
	}
	out.Errors = append(a.Errors[:len(a.Errors):len(a.Errors)], b.Errors...)
	return out
}

func (r *run) judge(rep probe.Report) measured {
	m := measured{report: &rep}
	switch {
	case rep.Received == 0:
		m.state = Broken
	case rep.Received < rep.Sent:
		m.state = Lossy
		m.why = append(m.why, fmt.Sprintf("%d of %d packets were lost on the way there or back", rep.Sent-rep.Received, rep.Sent))
	case rep.PathMTU > 0 && r.mtu > 0 && rep.PathMTU < r.mtu:
		m.state = Small
		m.why = append(m.why, fmt.Sprintf("the largest packet that passes has %d bytes, and the multi-site network lets %d in: the underlay takes less than it should", rep.PathMTU, r.mtu))
	default:
		m.state = Passes
	}
	if rep.Path != nil && m.state != Passes {
		m.why = append(m.why, rep.Path.String())
	}
	for _, e := range rep.Errors {
		m.why = append(m.why, e.Text)
	}
	m.why = unique(m.why)
	return m
}
