package hostsync

import (
	"context"
	"sync"

	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/probe"
)

// Prober sends a router's probes. A Sink that is one too gets those that the controller
// asks for, each in a goroutine of its own.
type Prober interface {
	// Probe returns when it is done or ctx has ended.
	Probe(ctx context.Context, r probe.Request) (probe.Result, error)
}

// probing is what one stream's agent is asked to probe.
type probing struct {
	ctx     context.Context // of the stream
	prober  Prober          // nil: it does not
	teller  RowTeller       // nil: it does not say what rows it has
	out     *sender
	workers *sync.WaitGroup

	mu  sync.Mutex
	ids map[uint64]context.CancelFunc
}

func newProbing(ctx context.Context, sink Sink, out *sender, workers *sync.WaitGroup) *probing {
	p := &probing{ctx: ctx, out: out, workers: workers, ids: map[uint64]context.CancelFunc{}}
	p.prober, _ = sink.(Prober)
	p.teller, _ = sink.(RowTeller)
	return p
}

// take serves m if it is about a probe. It does not block.
func (p *probing) take(m *pb.FromController) bool {
	if id, ok := m.Message.(*pb.FromController_CancelProbe); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		if cancel := p.ids[id.CancelProbe]; cancel != nil {
			cancel()
		}
		return true
	}
	r := m.GetProbe()
	if r == nil || p.prober == nil {
		return false
	}
	ctx, cancel := context.WithCancel(p.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, twice := p.ids[r.Id]; twice || len(p.ids) >= maxProbes {
		cancel()
		p.workers.Go(func() { p.answer(r.Id, nil, probe.ErrBusy) })
		return true
	}
	p.ids[r.Id] = cancel
	p.workers.Go(func() {
		res, err := p.serve(ctx, r)
		cancelled := ctx.Err() != nil
		p.mu.Lock()
		delete(p.ids, r.Id)
		p.mu.Unlock()
		cancel()
		if !cancelled {
			p.answer(r.Id, res, err)
		}
	})
	return true
}

func (p *probing) serve(ctx context.Context, r *pb.Probe) (*pb.ProbeResult, error) {
	if r.Rows {
		return p.tellRows(ctx)
	}
	res, err := p.prober.Probe(ctx, decodeProbe(r))
	return encodeProbeResult(res), err
}

// answer's error is that the stream is over, and with it the question.
func (p *probing) answer(id uint64, m *pb.ProbeResult, err error) {
	if m == nil {
		m = &pb.ProbeResult{}
	}
	m.Id = id
	noteProbeError(m, err)
	_ = p.out.Send(&pb.FromAgent{Message: &pb.FromAgent_Probe{Probe: m}})
}
