package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

const (
	// maxAtOnce bounds the requests that a host serves at the same time.
	maxAtOnce = 16
	// A router's probes a second, over all requests: far within its allowance of
	// packets to the agent (--icmp-rate), which what answers them takes from.
	routerRate, routerBurst = 40, 8

	nonceLen = 8
	// The search for the path MTU: packets, answers waited for at most so long, tries of
	// each size.
	maxSizes, maxSizeWait, sizeTries = 16, 500 * time.Millisecond, 2
	minSizeWait                      = 100 * time.Millisecond
	maxSearch                        = maxSizes * sizeTries * maxSizeWait
)

// ErrBusy says that the host probes as much as it may already.
var ErrBusy = errors.New("the host is busy with other probes: try again")

// Wire sends an IPv4 packet as one that the router makes.
type Wire func(router model.RouterKey, ip []byte) error

// Limited tells how many packets that looked like answers to a router's probes its host has
// dropped so far, because there were too many.
type Limited func(router model.RouterKey) uint64

// Prober serves the requests of one host. It keeps nothing of a request that has ended.
type Prober struct {
	wire    Wire
	limited Limited

	mu      sync.Mutex
	waiting map[uint16]*waiting // by sequence number
	next    uint16
	routers map[model.RouterKey]*pace
	running int
}

// pace is a router's share while requests of it run.
type pace struct {
	limit *rate.Limiter
	users int
}

// waiting is one packet that was sent.
type waiting struct {
	router         model.RouterKey
	source, target netip.Addr
	nonce          [nonceLen]byte
	got            chan answer // capacity 1
}

type answer struct {
	at  time.Time
	err *Error // nil: the echo reply
}

// NewProber makes one that sends by wire.
func NewProber(wire Wire, limited Limited) *Prober {
	return &Prober{wire: wire, limited: limited, waiting: map[uint16]*waiting{}, routers: map[model.RouterKey]*pace{}, next: uint16(rand.Uint32())}
}

// Failure says why a probe did not leave its own router.
type Failure struct {
	Reason     reason.Reason
	Type, Code uint8 // of the ICMP error that a packet of somebody else would have met
	MTU        int
}

// Answer takes what the programs sent up for a router's probe: an echo reply or an ICMP
// error, or with a failure the request itself. What nobody waits for, or does not match, is
// dropped: false. It takes any bytes.
func (p *Prober) Answer(router model.RouterKey, ip []byte, failure *Failure) bool {
	at := time.Now()
	h, body, err := packet.ParseIPv4(ip)
	if err != nil {
		return false
	}
	m, payload, err := packet.ParseICMP(body)
	if err != nil {
		return false
	}
	a := answer{at: at}
	request, echo := h, m // the request as it was sent, from what came back
	switch {
	case failure != nil:
		if !packet.IsProbe(ip) {
			return false
		}
		a.err = &Error{Reason: failure.Reason.String(), What: packet.ICMPName(failure.Type, failure.Code), MTU: failure.MTU}
	case !packet.AnswersProbe(ip):
		return false
	case m.Type == packet.ICMPEchoReply:
		if packet.Checksum(body, 0) != 0 {
			return false
		}
		request.Src, request.Dst = h.Dst, h.Src
	default:
		a.err = &Error{From: h.Src, What: packet.ICMPName(m.Type, m.Code)}
		if m.Type == packet.ICMPUnreachable && m.Code == packet.ICMPFragmentationNeeded {
			a.err.MTU = int(m.Rest & 0xffff)
		}
		// The quote need not be whole; AnswersProbe has seen that its heads are there.
		request.Src, request.Dst = netip.AddrFrom4([4]byte(payload[12:])), netip.AddrFrom4([4]byte(payload[16:]))
		echo, payload, _ = packet.ParseICMP(payload[packet.IPv4Len:])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiting[uint16(echo.Rest)]
	if w == nil || w.router != router || w.source != request.Src || w.target != request.Dst {
		return false
	}
	// Who answers from off the path does not know the nonce. An error may quote too little of it.
	if a.err == nil && len(payload) < nonceLen || len(payload) >= nonceLen && [nonceLen]byte(payload) != w.nonce {
		return false
	}
	select {
	case w.got <- a:
	default: // a second answer to one packet
	}
	return true
}

// Run serves a request until it is done or ctx ends. Errors wrap ErrRequest, ErrBusy, ctx's, or
// what the wire said.
func (p *Prober) Run(ctx context.Context, r Request) (Result, error) {
	if err := r.Check(); err != nil {
		return Result{}, err
	}
	limit, err := p.enter(r.Router)
	if err != nil {
		return Result{}, err
	}
	defer p.leave(r.Router)
	var res Result
	before := p.limited(r.Router)
	if err := p.reach(ctx, limit, r, &res); err != nil {
		return res, err
	}
	// What was dropped for its number says nothing of the path: answers may be among it.
	if n := p.limited(r.Router) - before; n > 0 && res.Received < res.Sent {
		res.Errors = append(res.Errors, Error{Reason: reason.SlowPathLimited.String(), What: "more came back for the router's probes than its host may look at", Count: int(min(n, math.MaxInt32))})
	}
	if r.PathMTU && res.Received > 0 {
		return res, p.search(ctx, limit, r, &res)
	}
	return res, nil
}

func (p *Prober) enter(router model.RouterKey) (*rate.Limiter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running >= maxAtOnce {
		return nil, ErrBusy
	}
	p.running++
	own := p.routers[router]
	if own == nil {
		own = &pace{limit: rate.NewLimiter(routerRate, routerBurst)}
		p.routers[router] = own
	}
	own.users++
	return own.limit, nil
}

func (p *Prober) leave(router model.RouterKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if own := p.routers[router]; own != nil {
		if own.users--; own.users == 0 {
			delete(p.routers, router)
		}
	}
}

// sent is a packet on its way.
type sent struct {
	seq uint16
	at  time.Time
	got <-chan answer
}

// send makes and sends one packet; done must be called with what it returns.
func (p *Prober) send(ctx context.Context, limit *rate.Limiter, r Request, size int) (sent, error) {
	if err := limit.Wait(ctx); err != nil {
		return sent{}, ended(ctx, err)
	}
	w := &waiting{router: r.Router, source: r.Source, target: r.Target, got: make(chan answer, 1)}
	binary.BigEndian.PutUint64(w.nonce[:], rand.Uint64())
	p.mu.Lock()
	for p.waiting[p.next] != nil {
		p.next++ // there are far fewer than 65536: MaxCount × maxAtOnce
	}
	seq := p.next
	p.next++
	p.waiting[seq] = w
	p.mu.Unlock()
	payload := make([]byte, size-packet.IPv4Len-packet.ICMPLen)
	copy(payload, w.nonce[:])
	for i := nonceLen; i < len(payload); i++ {
		payload[i] = byte(i)
	}
	h := packet.IPv4{DF: true, TTL: 64, Protocol: packet.ProtoICMP, Src: r.Source, Dst: r.Target}
	m := packet.ICMP{Type: packet.ICMPEchoRequest, Rest: packet.ProbeID<<16 | uint32(seq)}
	ip := m.Append(h.Append(make([]byte, 0, size), packet.ICMPLen+len(payload)), payload)
	s := sent{seq: seq, at: time.Now(), got: w.got}
	if err := p.wire(r.Router, ip); err != nil {
		p.done(s)
		return sent{}, fmt.Errorf("send a probe: %w", err)
	}
	return s, nil
}

func (p *Prober) done(s sent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, s.seq)
}

// reach sends the packets of the request and waits for what comes back.
func (p *Prober) reach(ctx context.Context, limit *rate.Limiter, r Request, res *Result) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan outcome, r.Count)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	for i := range r.Count {
		if i > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s, err := p.send(ctx, limit, r, r.Size)
		if err != nil {
			return err
		}
		res.Sent++
		wg.Go(func() {
			defer p.done(s)
			results <- s.wait(ctx, r.Timeout)
		})
	}
	var sum time.Duration
	for range r.Count {
		o := <-results
		switch {
		case o.err != nil:
			res.note(*o.err)
		case o.answered:
			if res.Received == 0 || o.rtt < res.RTTMin {
				res.RTTMin = o.rtt
			}
			res.RTTMax = max(res.RTTMax, o.rtt)
			sum += o.rtt
			res.Received++
		}
	}
	if res.Received > 0 {
		res.RTTAvg = sum / time.Duration(res.Received)
	}
	return ctx.Err()
}

type outcome struct {
	answered bool
	rtt      time.Duration
	err      *Error
}

func (s sent) wait(ctx context.Context, timeout time.Duration) outcome {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case a := <-s.got:
		return outcome{answered: a.err == nil, rtt: a.at.Sub(s.at), err: a.err}
	case <-timer.C:
	case <-ctx.Done():
	}
	return outcome{}
}

// search looks for the path MTU between what has passed and the largest that may. A
// router that says how much is too much shortens it; where none does, halving finds it.
func (p *Prober) search(ctx context.Context, limit *rate.Limiter, r Request, res *Result) error {
	wait := min(max(4*res.RTTMax, minSizeWait), maxSizeWait)
	passes, most := r.Size, r.MaxMTU
	if most < passes {
		most = passes
	}
	try := most
	for range maxSizes {
		if passes >= most {
			break
		}
		ok, hint, err := p.trySize(ctx, limit, r, try, wait, res)
		if err != nil {
			return err
		}
		if ok {
			passes = try
		} else {
			most = try - 1
		}
		// Nothing larger gets past the router that said so.
		if hint >= passes && hint <= most {
			most, try = hint, hint
			continue
		}
		try = passes + (most-passes+1)/2
	}
	res.PathMTU = passes
	return nil
}

// trySize tells whether a packet of size passes, and the MTU that a router named.
func (p *Prober) trySize(ctx context.Context, limit *rate.Limiter, r Request, size int, wait time.Duration, res *Result) (ok bool, hint int, err error) {
	for range sizeTries {
		s, err := p.send(ctx, limit, r, size)
		if err != nil {
			return false, 0, err
		}
		o := s.wait(ctx, wait)
		p.done(s)
		switch {
		case ctx.Err() != nil:
			return false, 0, ctx.Err()
		case o.answered:
			return true, 0, nil
		case o.err != nil && o.err.MTU > 0:
			return false, o.err.MTU, nil
		case o.err != nil:
			res.note(*o.err)
		}
	}
	return false, 0, nil
}

// ended is ctx's error where that is why a limiter would not wait.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, ok := ctx.Deadline(); ok {
		return context.DeadlineExceeded // the limiter sees that it would come too late
	}
	return err
}
