package hostsync

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/probe"
)

// maxProbes bounds a host's probes under way, as the controller counts them; the agent
// has a bound of its own. maxProbeErrors and maxProbeWords bound a result.
const maxProbes, maxProbeErrors, maxProbeWords = 64, 64, 512

// Errors of Queue.Probe, beside those of package probe.
var (
	ErrNoProbes  = errors.New("the host's agent is of a release that sends no probes: upgrade it")
	ErrHostLeft  = errors.New("the host's agent is not connected")
	errProbeFail = errors.New("the host could not probe")
)

// probes are the requests to one agent; Queue.mu guards them.
type probes struct {
	open, able bool
	last       uint64
	out        []*pb.FromController
	waiting    map[uint64]chan probeAnswer
}

type probeAnswer struct {
	result probe.Result
	rows   Rows
	err    error
}

func (p *probes) take() []*pb.FromController {
	out := p.out
	p.out = nil
	return out
}

// open says that the stream is up; able, that its agent serves probes.
func (q *Queue) open(able, groups bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.probes.open, q.probes.able = true, able
	q.ungrouped = !groups
}

// end tells those who wait that nothing more comes.
func (q *Queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.probes.open = false
	for id, got := range q.probes.waiting {
		got <- probeAnswer{err: ErrHostLeft}
		delete(q.probes.waiting, id)
	}
}

// Probe has the agent serve r and waits for the result. It is cancelled with ctx.
func (q *Queue) Probe(ctx context.Context, r probe.Request) (probe.Result, error) {
	if err := r.Check(); err != nil {
		return probe.Result{}, err
	}
	a, err := q.answer(ctx, func(id uint64) *pb.Probe { return encodeProbe(id, r) })
	return a.result, err
}

// answer puts a question to the agent and waits for what it says.
func (q *Queue) answer(ctx context.Context, question func(id uint64) *pb.Probe) (probeAnswer, error) {
	id, got, err := q.ask(question)
	if err != nil {
		return probeAnswer{}, err
	}
	select {
	case a := <-got:
		return a, a.err
	case <-ctx.Done():
		q.cancel(id)
		return probeAnswer{}, ctx.Err()
	}
}

func (q *Queue) ask(question func(id uint64) *pb.Probe) (uint64, <-chan probeAnswer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := &q.probes
	switch {
	case !p.open:
		return 0, nil, ErrHostLeft
	case !p.able:
		return 0, nil, ErrNoProbes
	case len(p.waiting) >= maxProbes:
		return 0, nil, probe.ErrBusy
	}
	if p.waiting == nil {
		p.waiting = map[uint64]chan probeAnswer{}
	}
	p.last++
	got := make(chan probeAnswer, 1)
	p.waiting[p.last] = got
	p.out = append(p.out, &pb.FromController{Message: &pb.FromController_Probe{Probe: question(p.last)}})
	q.signal()
	return p.last, got, nil
}

func (q *Queue) cancel(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := &q.probes
	if _, waits := p.waiting[id]; !waits || !p.open {
		return
	}
	delete(p.waiting, id)
	// A stream that stands still must not gather requests that nobody waits for.
	for i, m := range p.out {
		if m.GetProbe().GetId() == id {
			p.out = append(p.out[:i], p.out[i+1:]...)
			return
		}
	}
	if len(p.out) < maxProbes {
		p.out = append(p.out, &pb.FromController{Message: &pb.FromController_CancelProbe{CancelProbe: id}})
		q.signal()
	}
}

// probed takes an agent's answer; one that nobody waits for any more is no error.
func (q *Queue) probed(m *pb.ProbeResult) error {
	r, err := decodeProbeResult(m)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if got := q.probes.waiting[m.Id]; got != nil {
		delete(q.probes.waiting, m.Id)
		got <- r
	}
	return nil
}

func encodeProbe(id uint64, r probe.Request) *pb.Probe {
	return &pb.Probe{
		Id: id, Router: uint32(r.Router), Source: r.Source.AsSlice(), Target: r.Target.AsSlice(), Count: uint32(r.Count),
		Size: uint32(r.Size), IntervalUs: uint32(r.Interval.Microseconds()), TimeoutUs: uint32(r.Timeout.Microseconds()),
		PathMtu: r.PathMTU, MaxMtu: uint32(r.MaxMTU), Paths: r.Paths,
		Port: uint32(r.Port),
	}
}

// decodeProbe need not check: whoever serves the request does.
func decodeProbe(m *pb.Probe) probe.Request {
	source, _ := netip.AddrFromSlice(m.Source)
	target, _ := netip.AddrFromSlice(m.Target)
	small := func(n uint32) int { return int(min(n, math.MaxInt32)) }
	return probe.Request{
		Router: model.RouterKey(m.Router), Source: source, Target: target, Count: small(m.Count), Size: small(m.Size),
		Interval: time.Duration(m.IntervalUs) * time.Microsecond, Timeout: time.Duration(m.TimeoutUs) * time.Microsecond,
		PathMTU: m.PathMtu, MaxMTU: small(m.MaxMtu), Paths: m.Paths,
		Port: model.PortKey(m.Port),
	}
}

func encodeProbeResult(r probe.Result) *pb.ProbeResult {
	m := &pb.ProbeResult{
		Sent: uint32(r.Sent), Received: uint32(r.Received), PathMtu: uint32(r.PathMTU),
		RttMinNs: uint64(r.RTTMin), RttAvgNs: uint64(r.RTTAvg), RttMaxNs: uint64(r.RTTMax),
	}
	for _, e := range r.Errors {
		m.Errors = append(m.Errors, &pb.ProbeError{
			From: e.From.AsSlice(), Reason: e.Reason, What: e.What, Mtu: uint32(e.MTU), Count: uint32(e.Count),
		})
	}
	for _, p := range r.Paths {
		m.Paths = append(m.Paths, &pb.PathState{
			TunnelIp: p.TunnelIP.AsSlice(), Vtep: p.VTEP.AsSlice(), Mtu: uint32(p.MTU), State: p.State, By: p.By, Why: p.Why, Problem: p.Problem,
		})
	}
	if r.Port != nil {
		m.Port = encodePortState(*r.Port)
	}
	return m
}

// noteProbeError says in an answer why there is none.
func noteProbeError(m *pb.ProbeResult, err error) {
	switch {
	case err == nil:
		return
	case errors.Is(err, probe.ErrRequest):
		m.Code = pb.ProbeResult_REFUSED
	case errors.Is(err, probe.ErrBusy):
		m.Code = pb.ProbeResult_BUSY
	default:
		m.Code = pb.ProbeResult_FAILED
	}
	m.Error = strings.ToValidUTF8(err.Error(), "?")
}

func decodeProbeResult(m *pb.ProbeResult) (probeAnswer, error) {
	switch m.Code {
	case pb.ProbeResult_DONE:
	case pb.ProbeResult_REFUSED:
		return probeAnswer{err: fmt.Errorf("%w, says the host: %s", probe.ErrRequest, bounded(m.Error))}, nil
	case pb.ProbeResult_BUSY:
		return probeAnswer{err: probe.ErrBusy}, nil
	default:
		return probeAnswer{err: fmt.Errorf("%w: %s", errProbeFail, bounded(m.Error))}, nil
	}
	const longest = uint64(probe.MaxDuration)
	if m.Sent > probe.MaxCount || m.Received > m.Sent || m.RttMinNs > longest || m.RttAvgNs > longest || m.RttMaxNs > longest ||
		m.PathMtu > probe.MaxSize || len(m.Errors) > maxProbeErrors || len(m.Paths) > probe.MaxPaths || len(m.Port.GetDrops()) > probe.MaxDrops {
		return probeAnswer{}, fmt.Errorf("probe: result of %d packets sent, %d received, %d errors, path MTU %d", m.Sent, m.Received, len(m.Errors), m.PathMtu)
	}
	r := probe.Result{
		Sent: int(m.Sent), Received: int(m.Received), PathMTU: int(m.PathMtu),
		RTTMin: time.Duration(m.RttMinNs), RTTAvg: time.Duration(m.RttAvgNs), RTTMax: time.Duration(m.RttMaxNs),
	}
	for _, e := range m.Errors {
		from, ok := netip.AddrFromSlice(e.From)
		if !ok && len(e.From) != 0 || e.Mtu > 1<<16 || e.Count > 1<<16 {
			return probeAnswer{}, fmt.Errorf("probe: error from %x, MTU %d, %d times", e.From, e.Mtu, e.Count)
		}
		r.Errors = append(r.Errors, probe.Error{From: from, Reason: bounded(e.Reason), What: bounded(e.What), MTU: int(e.Mtu), Count: int(e.Count)})
	}
	for _, p := range m.Paths {
		local, ok := netip.AddrFromSlice(p.TunnelIp)
		remote, also := netip.AddrFromSlice(p.Vtep)
		if !ok || !also || p.Mtu > 1<<16 {
			return probeAnswer{}, fmt.Errorf("probe: path from %x to %x, MTU %d", p.TunnelIp, p.Vtep, p.Mtu)
		}
		r.Paths = append(r.Paths, probe.PathState{TunnelIP: local, VTEP: remote, MTU: int(p.Mtu), State: bounded(p.State), By: bounded(p.By), Why: bounded(p.Why), Problem: bounded(p.Problem)})
	}
	if m.Port != nil {
		r.Port = decodePortState(m.Port)
	}
	rows, err := decodeRows(m)
	return probeAnswer{result: r, rows: rows}, err
}

func encodePortState(s probe.PortState) *pb.PortState {
	m := &pb.PortState{
		Known: s.Known, There: s.There, WantedRevision: s.WantedRevision, AppliedRevision: s.AppliedRevision,
		RxPackets: s.RxPackets, RxBytes: s.RxBytes, TxPackets: s.TxPackets, TxBytes: s.TxBytes,
		TrafficUncounted: s.TrafficUncounted, DropsUncounted: s.DropsUncounted,
	}
	for why, n := range s.Drops {
		m.Drops = append(m.Drops, &pb.PortDrops{Reason: why, Packets: n})
	}
	return m
}

func decodePortState(m *pb.PortState) *probe.PortState {
	s := &probe.PortState{
		Known: m.Known, There: m.There, WantedRevision: m.WantedRevision, AppliedRevision: m.AppliedRevision,
		RxPackets: m.RxPackets, RxBytes: m.RxBytes, TxPackets: m.TxPackets, TxBytes: m.TxBytes, Drops: map[string]uint64{},
		TrafficUncounted: m.TrafficUncounted, DropsUncounted: m.DropsUncounted,
	}
	for _, d := range m.Drops {
		s.Drops[bounded(d.Reason)] += d.Packets
	}
	return s
}

// bounded is a text that an agent says, as far as it is taken.
func bounded(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxProbeWords)], "?") }
