package pathmtu

import (
	"container/heap"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

const (
	// Packets a second of all paths, and of those whose answers one router takes: a part
	// of its allowance of packets to the agent.
	allRate, allBurst       = 400, 200
	routerRate, routerBurst = 40, 40
	// Confirmations a second of all paths, and of one router's. With more paths than
	// that allows, the interval grows.
	allConfirms, routerConfirms = 100, 10
	// answerable is how long an answer to a packet is waited for.
	answerable = 2 * highTimeout
)

// Wire sends packets. An error is like a loss.
type Wire interface {
	// SendFrame sends an inner frame by the programs, into the tunnel that its
	// destination on network leads to.
	SendFrame(network model.NetworkKey, frame []byte) error
	// SendPacket sends an IP packet of the host that no route exception holds up.
	SendPacket(k Key, ip []byte) error
}

// Paths looks after all paths of a host. Its methods may be called from several goroutines.
type Paths struct {
	set    Settings
	wire   Wire
	clock  func() time.Time
	id     uint16 // of echo requests on the underlay
	notify chan struct{}
	wake   chan struct{}

	mu       sync.Mutex
	paths    map[Key]*entry
	due      queue
	waiting  map[Nonce]*waiting
	sent     []*waiting // in the order of time
	all      *rate.Limiter
	routers  map[model.RouterKey]*rate.Limiter
	interval time.Duration
	nSent    uint64
	nAnswers uint64
	moved    map[Key]struct{} // whose MTU or kind changed since Moved was called
}

type entry struct {
	Path
	key     Key
	targets []Target
	due     time.Time
	index   int // in the queue
	said    State
}

type waiting struct {
	nonce  Nonce
	key    Key
	packet Packet
	target Target
	until  time.Time
}

// NewPaths looks after none yet.
func NewPaths(set Settings, wire Wire, clock func() time.Time) *Paths {
	return &Paths{
		set: set, wire: wire, clock: clock, id: uint16(rand.Uint32()), notify: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		paths: map[Key]*entry{}, waiting: map[Nonce]*waiting{}, all: rate.NewLimiter(allRate, allBurst),
		routers: map[model.RouterKey]*rate.Limiter{}, interval: set.Interval, moved: map[Key]struct{}{},
	}
}

// Changed gets a value when what is believed of a path has changed. Moved tells which.
func (p *Paths) Changed() <-chan struct{} { return p.notify }

// Moved are the paths that have changed since it was last called.
func (p *Paths) Moved() []Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Key, 0, len(p.moved))
	for k := range p.moved {
		out = append(out, k)
	}
	clear(p.moved)
	return out
}

// EchoID is the identifier of echo requests on the underlay.
func (p *Paths) EchoID() uint16 { return p.id }

// Set says that there is a path and what its link takes, and returns what is believed of it.
// believed is what was proven of it before a restart, 0: nothing; it counts the first time.
func (p *Paths) Set(k Key, limit, believed int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	e := p.paths[k]
	if e == nil {
		e = &entry{key: k, index: -1, Path: *New(p.set, limit, believed, 0, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), now)}
		// A host with many paths does not look at all of them in its first second.
		e.next = now.Add(time.Duration(len(p.paths)) * time.Second / allConfirms)
		p.paths[k] = e
		p.pace()
	} else {
		e.SetLimit(limit, now)
	}
	p.schedule(e, now)
	e.said = e.State(now)
	return e.said.MTU
}

// Keep forgets the paths for which keep does not hold.
func (p *Paths) Keep(keep func(Key) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, e := range p.paths {
		if !keep(k) {
			delete(p.paths, k)
			delete(p.moved, k)
			if e.index >= 0 {
				heap.Remove(&p.due, e.index)
			}
		}
	}
	p.pace()
}

// SetTargets says which routers answer beyond each path.
func (p *Paths) SetTargets(all map[Key][]Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	for k, e := range p.paths {
		ts := all[k]
		ts = ts[:min(len(ts), MaxTargets)]
		if slices.Equal(ts, e.targets) {
			continue
		}
		e.targets = slices.Clone(ts)
		e.Path.targets = -1 // others, even if as many
		e.Path.SetTargets(len(ts), now)
		p.schedule(e, now)
	}
	p.pace()
}

// pace works out how often a path may be confirmed.
func (p *Paths) pace() {
	most, of := 0, map[model.RouterKey]int{}
	for _, e := range p.paths {
		if len(e.targets) > 0 {
			of[e.targets[0].Router]++
			most = max(most, of[e.targets[0].Router])
		}
	}
	interval := max(p.set.Interval, time.Duration(len(p.paths))*time.Second/allConfirms, time.Duration(most)*time.Second/routerConfirms)
	for r := range p.routers {
		if of[r] == 0 {
			delete(p.routers, r)
		}
	}
	if interval != p.interval {
		p.interval = interval
	}
	for _, e := range p.paths {
		e.set.Interval = interval
	}
}

// Heeds tells whether an ICMP error may lower a path: nothing answers there.
func (p *Paths) Heeds(k Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.paths[k]
	return e != nil && e.kind == Unproven
}

// Hint is an ICMP error that names a path, and the size that it says passes; 0: none. It tells whether there is such a path.
func (p *Paths) Hint(k Key, mtu int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.paths[k]
	if e == nil {
		return false
	}
	now := p.clock()
	e.Path.Hint(mtu, now)
	p.say(e, now)
	p.schedule(e, now)
	return true
}

// States is what is known of each path.
func (p *Paths) States() map[Key]State {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	out := make(map[Key]State, len(p.paths))
	for k, e := range p.paths {
		out[k] = e.State(now)
	}
	return out
}

// Counts are the packets sent and answered so far.
func (p *Paths) Counts() (sent, answered uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nSent, p.nAnswers
}

// Toward is what is known of the path by which router reaches target, if it is a router
// beyond a tunnel.
func (p *Paths) Toward(router model.RouterKey, match func(Target) bool) (Key, State, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, e := range p.paths {
		for _, t := range e.targets {
			if t.Router == router && match(t) {
				return k, e.State(p.clock()), true
			}
		}
	}
	return Key{}, State{}, false
}

// schedule puts a path where its time has it in the queue.
func (p *Paths) schedule(e *entry, now time.Time) {
	e.due = e.Due()
	switch {
	case e.due.IsZero():
		if e.index >= 0 {
			heap.Remove(&p.due, e.index)
		}
		return
	case e.index < 0:
		heap.Push(&p.due, e)
	default:
		heap.Fix(&p.due, e.index)
	}
	if p.due[0] == e && !e.due.After(now.Add(time.Second)) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// say tells of what has changed.
func (p *Paths) say(e *entry, now time.Time) {
	s := e.State(now)
	if s.MTU != e.said.MTU || s.Kind != e.said.Kind || s.By != e.said.By || s.Silent != e.said.Silent {
		p.moved[e.key] = struct{}{}
		select {
		case p.notify <- struct{}{}:
		default:
		}
	}
	e.said = s
}

// Run sends probes until ctx ends.
func (p *Paths) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-p.wake:
		}
		timer.Reset(p.turn())
	}
}

// turn does what is due and returns how long nothing else is.
func (p *Paths) turn() time.Duration {
	out, wait := p.collect()
	for _, w := range out {
		// A packet that cannot be sent is lost.
		switch w.packet.Method {
		case Tunnel:
			_ = p.wire.SendFrame(w.target.Network, TunnelProbe(w.key, w.target, w.packet.Size, w.nonce))
		case Underlay:
			_ = p.wire.SendPacket(w.key, EchoRequest(w.key, w.packet.Size, p.id, w.nonce))
		}
	}
	return wait
}

func (p *Paths) collect() (out []*waiting, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	n := 0
	for n < len(p.sent) && now.After(p.sent[n].until) {
		delete(p.waiting, p.sent[n].nonce)
		n++
	}
	p.sent = slices.Delete(p.sent, 0, n)
	for len(p.due) > 0 && !p.due[0].due.After(now) {
		e := p.due[0]
		own := p.limitOf(e)
		if wait := enough(e, p.all, own, now); wait > 0 {
			e.due = now.Add(wait)
			heap.Fix(&p.due, e.index)
			continue
		}
		pks := e.Step(now)
		p.all.AllowN(now, len(pks))
		if own != nil {
			own.AllowN(now, len(pks))
		}
		for _, pk := range pks {
			w := &waiting{key: e.key, packet: pk, until: now.Add(answerable)}
			if pk.Method == Tunnel {
				w.target = e.targets[pk.Target]
			}
			binary.BigEndian.PutUint64(w.nonce[:], rand.Uint64())
			p.waiting[w.nonce] = w
			p.sent = append(p.sent, w)
			out = append(out, w)
			p.nSent++
		}
		p.say(e, now)
		p.schedule(e, now)
	}
	if len(p.due) == 0 {
		return out, time.Hour
	}
	return out, max(p.due[0].due.Sub(now), time.Millisecond)
}

// limitOf is the limit of the router that a path's answers come to, nil where none does.
func (p *Paths) limitOf(e *entry) *rate.Limiter {
	if len(e.targets) == 0 || e.method == Underlay {
		return nil
	}
	r := e.targets[min(e.target, len(e.targets)-1)].Router
	own := p.routers[r]
	if own == nil {
		own = rate.NewLimiter(routerRate, routerBurst)
		p.routers[r] = own
	}
	return own
}

// enough asks whether a path's next packets may be sent now; else it says when to ask again.
func enough(e *entry, all, own *rate.Limiter, now time.Time) time.Duration {
	n := e.cost()
	switch {
	case own != nil && own.TokensAt(now) < float64(n):
		return time.Duration(n) * time.Second / routerRate
	case all.TokensAt(now) < float64(n):
		return time.Duration(n) * time.Second / allRate
	}
	return 0
}

// AnsweredFrame takes a frame that came for a router of ours, as it was in the tunnel. It
// tells whether it answers a probe: the nonce, both routers, the addresses and the size must be those of one.
func (p *Paths) AnsweredFrame(router model.RouterKey, frame []byte) bool {
	h, from, n, ok := tunnelAnswer(frame)
	if !ok {
		return false
	}
	return p.answered(n, func(w *waiting) bool {
		t := w.target
		size := len(frame) - packet.EthernetLen + packet.OverheadTo(w.key.Remote)
		return w.packet.Method == Tunnel && t.Router == router && t.RemoteMAC == from && t.Remote == h.Src && t.Source == h.Dst &&
			size <= max(w.packet.Size, SmallSize)
	})
}

// AnsweredPacket is that for an IP packet that came for the host.
func (p *Paths) AnsweredPacket(ip []byte) bool {
	h, n, ok := echoAnswer(ip, p.id)
	if !ok {
		return false
	}
	return p.answered(n, func(w *waiting) bool {
		return w.packet.Method == Underlay && w.key.Remote == h.Src && w.key.Local == h.Dst && h.TotalLen == w.packet.Size
	})
}

func (p *Paths) answered(n Nonce, fits func(*waiting) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiting[n]
	now := p.clock()
	if w == nil || now.After(w.until) || !fits(w) {
		return false
	}
	delete(p.waiting, n)
	p.nAnswers++
	e := p.paths[w.key]
	if e == nil {
		return true
	}
	if w.packet.Method == Tunnel && !(w.packet.Target < len(e.targets) && e.targets[w.packet.Target] == w.target) {
		return true // of routers that are others by now
	}
	e.Answered(w.packet, now)
	p.say(e, now)
	p.schedule(e, now)
	return true
}

// queue is a heap of paths by the time they are due.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	e.index = -1
	*q = old[:len(old)-1]
	return e
}
