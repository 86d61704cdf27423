package pathmtu

import (
	"time"
)

// scouted chooses who is asked from now on.
func (p *Path) scouted(r *round, now time.Time) {
	for i, pk := range r.packets {
		if !r.answered[i] {
			continue
		}
		p.misses, p.unclear, p.pause = 0, 0, 0
		if pk.Method != p.method || pk.Target != p.target {
			p.method, p.target = pk.Method, pk.Target
			// Another may see another path.
			p.doubt(now)
		}
		p.next = now
		return
	}
	p.missed(now)
}

// missed: nobody answered anything.
func (p *Path) missed(now time.Time) {
	p.misses++
	if p.misses < mute {
		p.next = now
		return
	}
	p.method, p.target = NoMethod, 0
	// Who never answered is not known; who did may be away, and comes back on the
	// same path.
	if p.kind == Searching || p.kind == Proven && now.Sub(p.heard) >= forget {
		p.kind, p.since = Unproven, now
		p.believe(p.limit, now)
		p.doubt(now)
	}
	p.pause = min(max(2*p.pause, time.Second), max(silent, p.set.Interval))
	p.next = now.Add(p.spread(p.pause))
}

// tested reads a round of sizes.
func (p *Path) tested(r *round, now time.Time) {
	small, smalls, any, passed := 0, 0, false, 0
	for i, pk := range r.packets {
		switch {
		case pk.Size == SmallSize:
			smalls++
			if r.answered[i] {
				small++
				any = true
			}
		case r.answered[i]:
			any = true
			passed = max(passed, pk.Size)
		}
	}
	was := p.settled()
	if passed > 0 {
		p.passes(min(passed, p.limit), now)
	}
	if any {
		p.misses, p.pause = 0, 0
	}
	if smalls == 0 {
		p.confirmedOr(was, passed, now)
		return
	}
	if !any {
		p.missed(now)
		return
	}
	if small < smalls {
		// Something was lost that had no size to be lost for.
		p.unclear++
		p.next = now
		if p.unclear > shaky {
			p.next = now.Add(time.Second)
		}
		return
	}
	p.unclear = 0
	for i, pk := range r.packets {
		if pk.Size == SmallSize || r.answered[i] || pk.Size <= p.good {
			continue
		}
		p.lost[pk.Size]++
		if p.lost[pk.Size] >= losses {
			p.bad = min(p.bad, pk.Size)
		}
	}
	for s := range p.lost {
		if s >= p.bad {
			delete(p.lost, s)
		}
	}
	p.conclude(now)
}

// confirmedOr reads a round that went without small packets.
func (p *Path) confirmedOr(was bool, passed int, now time.Time) {
	switch {
	case was && p.settled() && passed >= p.mtu:
		p.next = now.Add(p.spread(p.set.Interval))
	case passed >= p.mtu:
		p.next = now // more passes than before: how much?
	default:
		p.good, p.bad = 0, p.limit+1
		clear(p.lost)
		p.next = now
	}
}

// conclude lowers what does not pass, and ends the search where nothing is left to be tried.
func (p *Path) conclude(now time.Time) {
	if p.bad <= p.mtu {
		switch {
		case p.good > 0:
			p.proven(p.good, now)
		case p.bad <= p.floor():
			// Small packets pass and those of the floor's size do not.
			p.believe(p.floor(), now)
			p.kind, p.stuck = Searching, true
		}
	}
	switch {
	case p.settled():
		p.next = now.Add(p.spread(p.set.Interval))
	case p.stuck:
		p.doubt(now)
		p.stuck = true
		p.next = now.Add(p.spread(p.set.Interval))
	default:
		p.next = now
	}
}

// spread keeps many paths from being looked at all at once: ±20 %.
func (p *Path) spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*p.chance.Float64()))
}
