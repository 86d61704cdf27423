// Package probe finds out by packets whether a router reaches an address: echo
// requests from one of the router's own addresses, sent as any packet that the router
// makes, through the virtual topology and the tunnels. It counts what comes back and
// how fast, finds the largest packet that passes whole in both directions, and keeps what came
// back instead of an answer.
//
// The package is pure but for the clock: a Wire sends what it makes, and Prober.Answer takes what
// comes.
package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// Bounds of a request, and what a zero field stands for.
const (
	DefaultCount, MaxCount = 5, 100
	// Sizes are those of IP packets, bytes.
	DefaultSize, MinSize, MaxSize             = 84, packet.IPv4Len + packet.ICMPLen + nonceLen, 9000
	DefaultInterval, MinInterval, MaxInterval = 100 * time.Millisecond, 20 * time.Millisecond, time.Second
	DefaultTimeout, MinTimeout, MaxTimeout    = time.Second, 50 * time.Millisecond, 5 * time.Second
	maxSending                                = 20 * time.Second
	maxErrors                                 = 16 // different ones in a result
)

// MaxDuration bounds how long a request that Check accepts can take: sending, waiting
// for the last answer, and the search for the path MTU.
const MaxDuration = maxSending + MaxTimeout + maxSearch

// ErrRequest is wrapped by all errors about a request.
var ErrRequest = errors.New("not a probe that can be sent")

// Request says what to send. Zero fields have the defaults.
type Request struct {
	Router   model.RouterKey
	Source   netip.Addr // an address of the router
	Target   netip.Addr
	Count    int
	Size     int           // bytes of the IP packet
	Interval time.Duration // between two
	Timeout  time.Duration // of waiting for each answer
	// PathMTU: look for the largest packet with "don't fragment" that passes, up to
	// MaxMTU bytes.
	PathMTU bool
	MaxMTU  int
	// Paths: send nothing, and say what the host knows of all its paths.
	Paths bool
	// Port: send nothing, and say what the host has of that port; 0: no port is asked for.
	Port model.PortKey
}

// MaxDrops bounds the reasons of a port's drops in a result.
const MaxDrops = 256

// PortState is what a host has of a port.
type PortState struct {
	// Known: it was told of the port.
	Known bool
	// There: the port's interface is there, and its packets are forwarded.
	There bool
	// The revision of the last change that the host was told of, and of the last that it has applied.
	WantedRevision, AppliedRevision int64
	// Received from the workload, and sent to it.
	RxPackets, RxBytes, TxPackets, TxBytes uint64
	// Drops are packets of the port's workload that were dropped, by the name of the reason.
	Drops map[string]uint64
	// TrafficUncounted and DropsUncounted: the host has no room to count them for this port.
	TrafficUncounted, DropsUncounted bool
}

// MaxPaths bounds the paths in a result.
const MaxPaths = 4096

// PathState is what a host knows of its path to a VTEP, as it looks after it all the time.
type PathState struct {
	TunnelIP netip.Addr `json:"tunnel_ip"`
	VTEP     netip.Addr `json:"vtep"`
	MTU      int        `json:"mtu"`   // bytes of the largest outer IP packet
	State    string     `json:"state"` // searching, proven, unproven, fixed, or Unreachable
	By       string     `json:"by"`    // who proved it: tunnel (the peer's router), underlay (the VTEP's echo), or none
	Why      string     `json:"why"`   // in words
	// Problem is what the host knows to keep packets from leaving for the VTEP, or those of the VTEP from
	// coming in; empty: nothing.
	Problem string `json:"problem,omitempty"`
}

// Unreachable is the state of a path by which nothing leaves.
const Unreachable = "unreachable"

// String is all of it in words.
func (p PathState) String() string {
	if p.State == Unreachable {
		return fmt.Sprintf("the underlay's path to %s: nothing leaves for it: %s", p.VTEP, p.Problem)
	}
	s := fmt.Sprintf("the underlay's path to %s: packets of up to %d bytes, %s: %s", p.VTEP, p.MTU, p.State, p.Why)
	if p.Problem != "" {
		s += "; " + p.Problem
	}
	return s
}

// Check fills in the defaults and refuses what is out of bounds.
func (r *Request) Check() error {
	if r.Paths || r.Port != 0 {
		return nil
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrRequest, fmt.Sprintf(format, args...))
	}
	for _, v := range []struct {
		name              string
		v                 *int
		least, most, zero int
	}{
		{"count", &r.Count, 1, MaxCount, DefaultCount},
		{"size", &r.Size, MinSize, MaxSize, DefaultSize},
		{"largest MTU", &r.MaxMTU, MinSize, MaxSize, 1500},
	} {
		if *v.v == 0 {
			*v.v = v.zero
		}
		if *v.v < v.least || *v.v > v.most {
			return bad("%s %d is not in %d–%d", v.name, *v.v, v.least, v.most)
		}
	}
	for _, v := range []struct {
		name              string
		v                 *time.Duration
		least, most, zero time.Duration
	}{
		{"interval", &r.Interval, MinInterval, MaxInterval, DefaultInterval},
		{"timeout", &r.Timeout, MinTimeout, MaxTimeout, DefaultTimeout},
	} {
		if *v.v == 0 {
			*v.v = v.zero
		}
		if *v.v < v.least || *v.v > v.most {
			return bad("%s %v is not in %v–%v", v.name, *v.v, v.least, v.most)
		}
	}
	switch {
	case r.Router == 0:
		return bad("no router")
	case !r.Source.Is4() || !r.Target.Is4():
		return bad("from %s to %s: both must be IPv4 addresses", r.Source, r.Target)
	case packet.Martian(r.Source, r.Target):
		return bad("from %s to %s: routers do not forward to or from such addresses", r.Source, r.Target)
	case r.Source == r.Target:
		return bad("%s is the router's own address", r.Target)
	case time.Duration(r.Count)*r.Interval > maxSending:
		return bad("%d packets every %v take longer than %v", r.Count, r.Interval, maxSending)
	}
	return nil
}

// Result is what came of a request.
type Result struct {
	Sent, Received int
	// Of the answers that came; zero without any.
	RTTMin, RTTAvg, RTTMax time.Duration
	// PathMTU is the largest IP packet, in bytes, that reached the target and came back
	// whole; 0: not asked for, or not found.
	PathMTU int
	Errors  []Error
	// Paths is the path that leads to the target, where that is a router beyond a tunnel; or
	// all, where the request says so.
	Paths []PathState
	// Port is what the host has of the port that the request asks for.
	Port *PortState
}

// Error is what came instead of an answer.
type Error struct {
	// From is the router that sent an ICMP error; the zero address where the probe did not
	// leave its own router.
	From netip.Addr
	// Reason is the name of the drop reason where the router is the probe's own.
	Reason string
	What   string // the ICMP error in words
	MTU    int    // of the way that is too small, 0 otherwise
	Count  int
}

// String is the error in words.
func (e Error) String() string {
	var s string
	if e.Reason == reason.SlowPathLimited.String() {
		return fmt.Sprintf("%s (%s): what is missing need not be the path's fault", e.What, e.Reason)
	}
	if e.From.IsValid() {
		s = fmt.Sprintf("%s answered: %s", e.From, e.What)
	} else {
		s = fmt.Sprintf("the router itself: %s (%s)", e.What, e.Reason)
	}
	if e.MTU > 0 {
		s += fmt.Sprintf(", MTU %d", e.MTU)
	}
	return s
}

// Loss is the part of the packets that got no answer, 0–1.
func (r Result) Loss() float64 {
	if r.Sent == 0 {
		return 0
	}
	return float64(r.Sent-r.Received) / float64(r.Sent)
}

func (r *Result) note(e Error) {
	for i := range r.Errors {
		old := &r.Errors[i]
		if old.From == e.From && old.Reason == e.Reason && old.What == e.What && old.MTU == e.MTU {
			old.Count++
			return
		}
	}
	if len(r.Errors) < maxErrors {
		e.Count = 1
		r.Errors = append(r.Errors, e)
	}
}
