package slowpath

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/reason"
)

// Limits over all routers of a host.
const (
	icmpRate, icmpBurst         = 2000, 1000  // errors a second
	fragmentRate, fragmentBurst = 50000, 4096 // packets to be cut a second
	probeRate, probeBurst       = 2000, 1000  // packets about probes a second
	arpRate, arpBurst           = 1000, 500   // ARP requests a second
)

// One network's share of the packets to be cut, so that a workload that floods its
// own leaves the others theirs. Networks whose keys are equal modulo shares
// have one between them: keys are handed out one after the other.
const (
	shares                = 256
	shareRate, shareBurst = 5000, 512
)

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
}

// Server answers the frames of one tap device.
type Server struct {
	tap    io.ReadWriteCloser
	probes Probes // nil: nobody probes
	log    *slog.Logger

	icmp, frag, probe, arp *rate.Limiter
	share                  [shares]*rate.Limiter // of frag

	nICMP, nFragment, nProbe, nARP, nSent, nLimited, nForbidden, nMalformed, nFailed atomic.Uint64
}

// NewServer serves tap, whose reads and writes are whole frames and whose Close
// ends a Read that waits.
func NewServer(tap io.ReadWriteCloser, probes Probes, log *slog.Logger) *Server {
	s := &Server{
		tap: tap, probes: probes, log: log,
		icmp:  rate.NewLimiter(icmpRate, icmpBurst),
		frag:  rate.NewLimiter(fragmentRate, fragmentBurst),
		probe: rate.NewLimiter(probeRate, probeBurst),
		arp:   rate.NewLimiter(arpRate, arpBurst),
	}
	for i := range s.share {
		s.share[i] = rate.NewLimiter(shareRate, shareBurst)
	}
	return s
}

// Counters may be called at any time.
func (s *Server) Counters() Counters {
	return Counters{
		ICMP: s.nICMP.Load(), Fragment: s.nFragment.Load(), ARP: s.nARP.Load(), Probe: s.nProbe.Load(), Sent: s.nSent.Load(), Limited: s.nLimited.Load(),
		Forbidden: s.nForbidden.Load(), Malformed: s.nMalformed.Load(), Failed: s.nFailed.Load(),
	}
}

// Run serves until ctx ends, which returns nil, or the device is gone. It closes the tap.
func (s *Server) Run(ctx context.Context) error {
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
		s.frame(buf[:n])
	}
}

func (s *Server) frame(b []byte) {
	if !s.admit(b) {
		return
	}
	if b[packet.EthernetLen] == KindProbe {
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
	h, err := ParseHeader(b[packet.EthernetLen:])
	var failure *probe.Failure
	if h.Reason != 0 {
		failure = &probe.Failure{Reason: reason.Reason(h.Reason), Type: h.ICMPType, Code: h.ICMPCode, MTU: int(h.MTU)}
	}
	if err != nil || s.probes == nil || !s.probes.Answer(model.RouterKey(h.Router), b[packet.EthernetLen+HeaderLen:], failure) {
		s.nMalformed.Add(1)
	}
}

// Originate lets router send the IPv4 packet ip as one of its own.
func (s *Server) Originate(router model.RouterKey, ip []byte) error {
	return s.write(RouteFrame(uint32(router), ip))
}

// admit counts a frame by its kind and takes from the limit of that kind.
func (s *Server) admit(b []byte) bool {
	var l *rate.Limiter
	if len(b) >= minFrame {
		switch b[packet.EthernetLen] {
		case KindICMP:
			s.nICMP.Add(1)
			l = s.icmp
		case KindProbe:
			s.nProbe.Add(1)
			l = s.probe
		case KindARP:
			s.nARP.Add(1)
			l = s.arp
		case KindFragment:
			s.nFragment.Add(1)
			l = s.frag
			// Its own share first: what is refused there costs the others nothing.
			if h, err := ParseHeader(b[packet.EthernetLen:]); err != nil || !s.share[h.Net%shares].Allow() {
				s.nLimited.Add(1)
				return false
			}
		}
	}
	if l == nil {
		s.nMalformed.Add(1)
		return false
	}
	if !l.Allow() {
		s.nLimited.Add(1)
		return false
	}
	return true
}

var errWrite = errors.New("write to the slow path's tap")

func (s *Server) write(f []byte) error {
	if _, err := s.tap.Write(f); err != nil {
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
