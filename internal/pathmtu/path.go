// Package pathmtu finds the largest packet that a path takes by sending packets and
// seeing what is answered (RFC 8899). Nothing else proves anything: an ICMP error is no more
// than a reason to look at once, but for a path where nothing answers.
//
// A Path is the state of one path. It is pure: time goes in, packets to be sent come out. The
// caller sends them, so that nothing but the link bounds their size, and says which were
// answered. Sizes are those of outer IP packets, in bytes.
//
// The rules:
//   - A size is proven by an answer to a packet of that size.
//   - A size is too large when packets of it were lost in three rounds, in each of
//     which the small packets sent before and after them were answered. So an outage
//     lowers nothing, and loss at random hardly ever does.
//   - What is proven is confirmed at each interval, and with it the link's size and the size
//     one byte larger are tried.
package pathmtu

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is what is known of a path.
type Kind uint8

// The kinds, as State.Kind has them.
const (
	Searching Kind = iota // not known yet
	Proven                // a packet of that size was answered
	Unproven              // nothing answers
	Fixed                 // by a setting
)

var kinds = [...]string{"searching", "proven", "unproven", "fixed"}

// Kinds are the names of all kinds.
func Kinds() []string { return kinds[:] }

// String is the kind's name.
func (k Kind) String() string { return kinds[k] }

// Method is who answers.
type Method uint8

// The methods, the better one first.
const (
	NoMethod Method = iota
	Tunnel          // the peer's router, through the tunnel
	Underlay        // the VTEP itself: ICMP echo on the underlay
)

// String is who answers, in words.
func (m Method) String() string {
	return [...]string{"", "the peer's router", "the VTEP's own echo"}[m]
}

// Name is who answers, in one word; none: nobody.
func (m Method) Name() string { return [...]string{"none", "tunnel", "underlay"}[m] }

// SmallSize is the size of the packets that tell a lost packet from an outage.
const SmallSize = 128

// LeastByICMP is the size below which no ICMP error lowers a path: every path of
// IPv6 takes as much (RFC 8200 §5).
const LeastByICMP = 1280

const (
	// losses is how many rounds a size must be lost in to be too large.
	losses = 3
	// mute is how many rounds without any answer end the use of a method.
	mute = 3
	// lowTimeout, highTimeout bound the wait for answers; firstTimeout is it before any came.
	lowTimeout, firstTimeout, highTimeout = 200 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second
	// forget is how long a proof holds that nobody confirms.
	forget = 10 * time.Minute
	// better is how often a better method is looked for.
	better = time.Minute
	// hintGap is the least time between two looks that ICMP errors cause.
	hintGap = time.Second
	// loweredFor is how long an ICMP error counts where nothing answers.
	loweredFor = 10 * time.Second
	// rungs is how many sizes a round of a search tries at most.
	rungs = 8
	// silent bounds the pause between rounds of a path where nothing answers.
	silent = 30 * time.Second
	// shaky is after how many rounds in a row that told nothing the search slows down.
	shaky = 10
)

// MaxTargets bounds the routers that are asked; MaxPackets, the packets of a round.
const MaxTargets, MaxPackets = 4, rungs + 2

// common are sizes that paths have: Ethernet, and it less what is often put in between (PPPoE,
// GRE, IPsec, VXLAN, WireGuard), and IPv6's least.
var common = []int{9000, 8950, 4096, 1500, 1492, 1480, 1476, 1472, 1468, 1460, 1454, 1450, 1442, 1438, 1430, 1420, 1412, 1400, 1380, 1350, 1300, 1280}

// cost is how many packets the next Step sends at most.
func (p *Path) cost() int {
	if p.method != NoMethod && p.settled() {
		return 3
	}
	return MaxPackets
}

// Settings are the same for all paths.
type Settings struct {
	Fixed    int           // bytes; 0: none, probe
	Floor    int           // nothing lowers a path below it
	Interval time.Duration // between two confirmations
}

// The defaults of Settings.
const (
	DefaultFloor    = LeastByICMP
	DefaultInterval = 5 * time.Second
)

// WithDefaults puts the defaults in place of what is 0.
func (s Settings) WithDefaults() Settings {
	if s.Floor == 0 {
		s.Floor = DefaultFloor
	}
	if s.Interval == 0 {
		s.Interval = DefaultInterval
	}
	return s
}

// Packet is one to be sent.
type Packet struct {
	Method Method
	Target int // which of the routers, with Tunnel
	Size   int // of the outer IP packet, bytes
	round  uint64
	index  int
	sent   time.Time
}

// State is what is known, for people and for the maps.
type State struct {
	Kind   Kind
	MTU    int    // the largest outer IP packet that is sent
	By     Method // who proved it
	Target int    // the router that did, with Tunnel
	Limit  int    // of the link
	// Since is when the size was first believed, Confirmed when it was last proven.
	Since, Confirmed time.Time
	// Silent: what proved it does not answer any more.
	Silent bool
	// Mute: the VTEP itself answers, and of the routers beyond the tunnel none does.
	Mute bool
	// Lowered: an ICMP error lowered it, for seconds.
	Lowered bool
	// Stuck: not even packets of the floor's size pass.
	Stuck bool
}

// Path is the state of one path.
type Path struct {
	set     Settings
	limit   int
	targets int
	chance  *rand.Rand

	kind             Kind
	mtu              int
	since, confirmed time.Time
	heard            time.Time // the last answer of any kind

	by       Method // who proved mtu
	byTarget int
	fresh    bool // no round has tried a size yet

	method   Method // who is asked
	target   int
	good     int // the largest that is known to pass, in this search
	bad      int // the least that is known not to
	lost     map[int]int
	stuck    bool
	misses   int // rounds in a row without any answer
	unclear  int // rounds in a row that told nothing
	pause    time.Duration
	rtt      time.Duration
	round    *round
	rounds   uint64
	next     time.Time
	hinted   time.Time
	upgrade  time.Time
	lowered  int
	loweredT time.Time
}

// round is a few packets that are sent at once.
type round struct {
	id       uint64
	scout    bool
	packets  []Packet
	answered []bool
	deadline time.Time
}

// New begins with a path whose link takes limit bytes. believed is what was proven before a
// restart, 0: nothing. targets is how many routers may answer in the tunnel.
func New(set Settings, limit, believed, targets int, chance *rand.Rand, now time.Time) *Path {
	p := &Path{set: set, limit: limit, targets: min(targets, MaxTargets), chance: chance, since: now, next: now, heard: now, lost: map[int]int{}, fresh: true}
	p.bad = limit + 1
	p.mtu = limit
	switch {
	case set.Fixed > 0:
		p.kind, p.mtu = Fixed, min(set.Fixed, limit)
	case believed > 0:
		p.kind, p.mtu = Proven, min(max(believed, p.floor()), limit)
	}
	return p
}

func (p *Path) floor() int { return min(p.set.Floor, p.limit) }

// State is what is known at now.
func (p *Path) State(now time.Time) State {
	s := State{
		Kind: p.kind, MTU: p.mtu, By: p.by, Target: p.byTarget, Limit: p.limit, Since: p.since, Confirmed: p.confirmed,
		Silent: p.kind == Proven && p.misses >= mute, Stuck: p.stuck,
		Mute: p.kind == Proven && p.targets > 0 && p.method == Underlay,
	}
	if p.lowered > 0 && now.Before(p.loweredT) {
		s.MTU, s.Lowered = min(p.mtu, p.lowered), true
	}
	return s
}

// SetLimit says what the link takes now.
func (p *Path) SetLimit(limit int, now time.Time) {
	if limit == p.limit {
		return
	}
	p.limit, p.lowered = limit, 0
	p.round = nil
	switch p.kind {
	case Fixed:
		p.believe(min(p.set.Fixed, limit), now)
		return
	case Searching, Unproven:
		p.believe(limit, now)
	default:
		p.believe(min(max(p.mtu, p.floor()), limit), now)
	}
	p.doubt(now)
}

// SetTargets says how many routers may answer.
func (p *Path) SetTargets(n int, now time.Time) {
	n = min(n, MaxTargets)
	if n == p.targets {
		return
	}
	p.targets = n
	if p.kind == Fixed {
		return
	}
	p.round, p.method = nil, NoMethod
	p.soon(now)
}

// Hint is an ICMP error that names the path and a size. It has the path looked at
// at once, no more often than each second. Where nothing answers it lowers what is believed, for
// seconds.
func (p *Path) Hint(mtu int, now time.Time) {
	if p.kind == Fixed {
		return
	}
	if p.kind == Unproven && mtu > 0 && mtu < p.mtu {
		if to := min(max(mtu, LeastByICMP, p.floor()), p.mtu); p.lowered == 0 || !now.Before(p.loweredT) || to <= p.lowered {
			p.lowered, p.loweredT = to, now.Add(loweredFor)
		}
	}
	if now.Sub(p.hinted) >= hintGap {
		p.hinted = now
		p.soon(now)
	}
}

func (p *Path) soon(now time.Time) {
	if now.Before(p.next) {
		p.next = now
	}
}

// doubt begins the search anew.
func (p *Path) doubt(now time.Time) {
	p.good, p.bad, p.stuck = 0, p.limit+1, false
	clear(p.lost)
	p.soon(now)
}

func (p *Path) believe(mtu int, now time.Time) {
	if mtu != p.mtu {
		p.mtu, p.since = mtu, now
	}
}

// Due tells when Step wants to be called, unless something happens before.
func (p *Path) Due() time.Time {
	var t time.Time
	switch {
	case p.kind == Fixed:
		return t
	case p.round == nil:
		t = p.next
	case p.round.decided():
		return p.round.deadline.Add(-highTimeout) // at once
	default:
		t = p.round.deadline
	}
	if p.lowered > 0 && p.loweredT.Before(t) {
		t = p.loweredT
	}
	return t
}

// Step ends a round whose time is over and returns the packets of the next one, if that is
// due.
func (p *Path) Step(now time.Time) []Packet {
	if p.kind == Fixed {
		return nil
	}
	if p.lowered > 0 && !now.Before(p.loweredT) {
		p.lowered = 0
	}
	if r := p.round; r != nil {
		if !r.decided() && now.Before(r.deadline) {
			return nil
		}
		p.round = nil
		if r.scout {
			p.scouted(r, now)
		} else {
			p.tested(r, now)
		}
	}
	if now.Before(p.next) {
		return nil
	}
	return p.begin(now)
}

// begin sends a round.
func (p *Path) begin(now time.Time) []Packet {
	r := &round{scout: p.method == NoMethod || p.method == Underlay && p.targets > 0 && !now.Before(p.upgrade)}
	add := func(m Method, target, size int) {
		r.packets = append(r.packets, Packet{Method: m, Target: target, Size: size})
	}
	if r.scout {
		p.upgrade = now.Add(better)
		for i := range p.targets {
			add(Tunnel, i, SmallSize)
		}
		add(Underlay, 0, SmallSize)
	} else {
		sizes, small := p.sizes()
		if small {
			add(p.method, p.target, SmallSize)
		}
		for _, s := range sizes {
			add(p.method, p.target, s)
		}
		if small {
			add(p.method, p.target, SmallSize)
		}
	}
	p.rounds++
	r.id = p.rounds
	for i := range r.packets {
		r.packets[i].round, r.packets[i].index, r.packets[i].sent = r.id, i, now
	}
	r.answered = make([]bool, len(r.packets))
	r.deadline = now.Add(p.timeout())
	p.round = r
	return slices.Clone(r.packets)
}

func (p *Path) timeout() time.Duration {
	if p.rtt == 0 {
		return firstTimeout
	}
	return min(max(4*p.rtt, lowTimeout), highTimeout)
}

// sizes are those to be tried, and whether small packets go with them.
func (p *Path) sizes() (sizes []int, small bool) {
	switch {
	case p.settled() && p.good == p.limit:
		return []int{p.good}, false
	case p.settled():
		return slices.Compact([]int{p.limit, p.good + 1, p.good}), false
	case p.fresh:
		// Most paths take what the link does, or what they took before.
		p.fresh = false
		return slices.Compact([]int{p.limit, min(p.mtu, p.limit)}), true
	}
	for s := range p.lost {
		sizes = append(sizes, s)
	}
	if len(sizes) > 0 { // what is being tried comes to an end first
		slices.Sort(sizes)
		slices.Reverse(sizes)
		return sizes, true
	}
	return ladder(max(p.good, p.floor()-1), p.bad, p.mtu), true
}

// settled: the search is over.
func (p *Path) settled() bool { return p.good > 0 && (p.good == p.limit || p.bad == p.good+1) }

// ladder are sizes above good and below bad, the largest first: the two ends, the one in use,
// those that paths often have, and as many between as there is room for.
func ladder(good, bad, inUse int) []int {
	all := []int{bad - 1}
	add := func(n int) {
		if n > good && n < bad && len(all) < rungs && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	add(inUse)
	add(good + 1)
	n := 0
	for _, c := range common {
		if c > good && c < bad {
			n++
		}
	}
	// Of many common sizes, some from all of the range; the next ladder has the others.
	every, i := (n+rungs-3)/(rungs-2), 0
	for _, c := range common {
		if c > good && c < bad {
			if every > 0 && i%every == 0 {
				add(c)
			}
			i++
		}
	}
	for k := range rungs {
		add(good + (bad-good)*(k+1)/(rungs+1))
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all
}

// decided: what is still to come tells nothing new.
func (r *round) decided() bool {
	if !slices.Contains(r.answered, false) {
		return true
	}
	if r.scout {
		return r.packets[0].Method == Tunnel && r.answered[0]
	}
	// All smaller ones pass where the largest does.
	for i, pk := range r.packets {
		if pk.Size != SmallSize {
			return r.answered[i]
		}
	}
	return false
}

// Answered says that a packet was. A late answer is a proof as well.
func (p *Path) Answered(pk Packet, now time.Time) {
	if p.kind == Fixed {
		return
	}
	p.heard = now
	if d := now.Sub(pk.sent); p.rtt == 0 {
		p.rtt = max(d, 1)
	} else {
		p.rtt += (d - p.rtt) / 8
		if d > p.timeout() {
			p.rtt = d // else all answers would be late for some time
		}
	}
	if r := p.round; r != nil && r.id == pk.round && pk.index < len(r.answered) {
		r.answered[pk.index] = true
		return
	}
	if pk.Size >= p.floor() && pk.Size <= p.limit && pk.Size != SmallSize && p.method == pk.Method && p.target == pk.Target {
		p.passes(pk.Size, now)
	}
}

// passes: a packet of size was answered.
func (p *Path) passes(size int, now time.Time) {
	p.stuck = false
	if size >= p.bad {
		p.bad = p.limit + 1 // the path has changed
	}
	p.good = max(p.good, size)
	for s := range p.lost {
		if s <= size {
			delete(p.lost, s)
		}
	}
	p.lowered = 0
	if size >= p.mtu {
		p.proven(size, now)
	}
}

func (p *Path) proven(size int, now time.Time) {
	p.believe(size, now)
	p.kind, p.confirmed, p.by, p.byTarget = Proven, now, p.method, p.target
}
