package slowpath

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/reason"
)

// Limits over all routers of a host, a second. The programs have bounds of their own within
// these, by sender; what is here holds where they are lifted.
const (
	puntRate, puntBurst         = 10000, 1000 // of each kind but: ICMP errors, those of packets that are too big, …
	fragmentRate, fragmentBurst = 50000, 4096 // packets to be cut
)

// One router's share, and for packets to be cut one network's, so that one that is flooded
// leaves the others theirs. Those whose keys are equal modulo shares have one between
// them: keys are handed out at random.
const (
	shares                    = 256
	routerRate, routerBurst   = 1000, 500
	networkRate, networkBurst = 5000, 512
)

// fair is a limit in shares. What a share refuses costs the others nothing.
type fair struct {
	all   *rate.Limiter
	share [shares]*rate.Limiter
}

func newFair(all, burst, share, shareBurst int) *fair {
	f := &fair{all: rate.NewLimiter(rate.Limit(all), burst)}
	for i := range f.share {
		f.share[i] = rate.NewLimiter(rate.Limit(share), shareBurst)
	}
	return f
}

func (f *fair) allow(key uint32) bool { return f.share[key%shares].Allow() && f.all.Allow() }

// maxFrame is more than any frame: the tap's MTU with Ethernet header.
const maxFrame = 65535 + packet.EthernetLen

// Counters of a Server since its start.
type Counters struct {
	ICMP      uint64 // frames that asked for an ICMP error
	Fragment  uint64 // frames that asked to be cut
	Probe     uint64 // frames about routers' probes
	ARP       uint64 // frames that asked for an ARP request
	Sent      uint64 // frames written
	Limited   uint64 // dropped by a limit
	Forbidden uint64 // dropped by a rule: no error about an error, DF …
	Malformed uint64 // dropped because they were none of the kinds, or about no probe that is on
	Failed    uint64 // could not be written
}

// Plus adds two sets of counters.
func (c Counters) Plus(d Counters) Counters {
	return Counters{
		ICMP: c.ICMP + d.ICMP, Fragment: c.Fragment + d.Fragment, ARP: c.ARP + d.ARP, Probe: c.Probe + d.Probe, Sent: c.Sent + d.Sent, Limited: c.Limited + d.Limited,
		Forbidden: c.Forbidden + d.Forbidden, Malformed: c.Malformed + d.Malformed, Failed: c.Failed + d.Failed,
	}
}

// Probes takes what comes back for routers' probes: *probe.Prober.
type Probes interface {
	// Answer gets a packet that is valid until it returns. It tells whether a probe
	// waited for it, and does not block.
	Answer(router model.RouterKey, ip []byte, failure *probe.Failure) bool
	// AnsweredFrame gets the same with its Ethernet header, and what may be behind the packet,
	// before Answer does: a probe of a path is told from a router's by what it carries.
	AnsweredFrame(router model.RouterKey, frame []byte) bool
}

// Server answers the frames of one tap device.
type Server struct {
	tap    io.ReadWriteCloser
	probes Probes // nil: nobody probes
	log    *slog.Logger

	icmp, tooBig, frag, probe, arp lane
	buffers                        buffers
	writing                        sync.Mutex // hands on in turn, as a file's own lock does not

	nICMP, nFragment, nProbe, nARP, nSent, nLimited, nForbidden, nMalformed, nFailed atomic.Uint64
}

// NewServer serves tap, whose reads and writes are whole frames and whose Close
// ends a Read that waits.
func NewServer(tap io.ReadWriteCloser, probes Probes, log *slog.Logger) *Server {
	punts := func() lane { return newLane(newFair(puntRate, puntBurst, routerRate, routerBurst)) }
	return &Server{
		tap: tap, probes: probes, log: log,
		icmp: punts(), tooBig: punts(), probe: punts(), arp: punts(),
		frag: newLane(newFair(fragmentRate, fragmentBurst, networkRate, networkBurst)),
	}
}

// Counters may be called at any time.
func (s *Server) Counters() Counters {
	return Counters{
		ICMP: s.nICMP.Load(), Fragment: s.nFragment.Load(), ARP: s.nARP.Load(), Probe: s.nProbe.Load(), Sent: s.nSent.Load(), Limited: s.nLimited.Load(),
		Forbidden: s.nForbidden.Load(), Malformed: s.nMalformed.Load(), Failed: s.nFailed.Load(),
	}
}

// Run serves until ctx ends, which returns nil, or the device is gone. It closes the tap. It is called once.
func (s *Server) Run(ctx context.Context) error {
	workers := s.work()
	defer workers.Wait()
	defer func() {
		for _, l := range s.lanes() {
			close(l.wait)
		}
	}()
	stop := context.AfterFunc(ctx, func() { s.tap.Close() })
	defer stop()
	defer s.tap.Close()
	buf := make([]byte, maxFrame)
	for {
		n, err := s.tap.Read(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read the slow path's tap: %w", err)
		}
		if l := s.admit(buf[:n]); l != nil {
			s.queue(l, buf[:n])
		}
	}
}

// handle does what an admitted frame asks for.
func (s *Server) handle(b []byte) {
	if b[packet.EthernetLen] == packet.SlowProbe {
		s.answer(b)
		return
	}
	err := Handle(b, s.write)
	switch {
	case err == nil:
	case errors.Is(err, errWrite): // counted
	case errors.Is(err, packet.ErrNoICMPError), errors.Is(err, packet.ErrDF):
		s.nForbidden.Add(1)
	default:
		s.nMalformed.Add(1)
	}
}

// answer passes on what is about a probe.
func (s *Server) answer(b []byte) {
	h, err := packet.ParseSlowHeader(b[packet.EthernetLen:])
	var failure *probe.Failure
	if h.Reason != 0 {
		failure = &probe.Failure{Reason: reason.Reason(h.Reason), Type: h.ICMPType, Code: h.ICMPCode, MTU: int(h.MTU)}
	}
	router, ip := model.RouterKey(h.Router), b[packet.EthernetLen+packet.SlowHeaderLen:]
	if err != nil || s.probes == nil {
		s.nMalformed.Add(1)
		return
	}
	copy(b[packet.SlowHeaderLen:], b[:packet.EthernetLen]) // over the slow path's header
	if failure == nil && s.probes.AnsweredFrame(router, b[packet.SlowHeaderLen:]) || s.probes.Answer(router, ip, failure) {
		return
	}
	s.nMalformed.Add(1)
}

// Originate lets router send the IPv4 packet ip as one of its own.
func (s *Server) Originate(router model.RouterKey, ip []byte) error {
	return s.write(RouteFrame(uint32(router), ip))
}

// Bridge sends a frame in network, to whom its destination address belongs to.
func (s *Server) Bridge(network model.NetworkKey, frame []byte) error {
	out := make([]byte, 0, packet.SlowHeaderLen+len(frame))
	out = append(out, frame[:packet.EthernetLen]...)
	out = packet.SlowHeader{Kind: packet.SlowBridge, Net: uint32(network)}.Append(out)
	return s.write(append(out, frame[packet.EthernetLen:]...))
}

// admit counts a frame by its kind and takes from the limit of that kind; nil: it is refused.
func (s *Server) admit(b []byte) *lane {
	var l *lane
	var h packet.SlowHeader
	err := ErrFrame
	if len(b) >= minFrame {
		h, err = packet.ParseSlowHeader(b[packet.EthernetLen:])
	}
	key := h.Router
	switch {
	case err != nil:
	case h.Kind == packet.SlowICMP:
		s.nICMP.Add(1)
		l = &s.icmp
		if h.ICMPType == packet.ICMPUnreachable && h.ICMPCode == packet.ICMPFragmentationNeeded {
			l = &s.tooBig
		}
	case h.Kind == packet.SlowProbe:
		s.nProbe.Add(1)
		l = &s.probe
	case h.Kind == packet.SlowARP:
		s.nARP.Add(1)
		l = &s.arp
	case h.Kind == packet.SlowFragment:
		s.nFragment.Add(1)
		l, key = &s.frag, h.Net
	}
	if l == nil {
		s.nMalformed.Add(1)
		return nil
	}
	if !l.allow(key) {
		s.nLimited.Add(1)
		return nil
	}
	return l
}

var errWrite = errors.New("write to the slow path's tap")

func (s *Server) write(f []byte) error {
	s.writing.Lock()
	_, err := s.tap.Write(f)
	s.writing.Unlock()
	if err != nil {
		s.nFailed.Add(1)
		// EIO: the device is down. It comes back, or the reader learns that it
		// is gone.
		if !errors.Is(err, unix.EIO) {
			s.log.Debug("slow path", "err", err)
		}
		return errWrite
	}
	s.nSent.Add(1)
	return nil
}
