package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/slowpath"
)

// slowService runs a slowpath.Server on the tap device and begins anew when the device
// does.
type slowService struct {
	host   *hostnet.Host
	log    *slog.Logger
	prober *probe.Prober
	paths  *pathmtu.Paths

	mu     sync.Mutex
	server *slowpath.Server
	before slowpath.Counters // of servers that have ended
	cancel context.CancelFunc
	done   chan struct{} // closed when the present server has ended
}

func newSlowService(host *hostnet.Host, dp *dataplane.Dataplane, log *slog.Logger) *slowService {
	s := &slowService{host: host, log: log}
	s.prober = probe.NewProber(s.originate, dp.ProbesLimited)
	return s
}

var errNoSlowPath = errors.New("the slow path's device is not there just now")

// originate lets a router send a packet of its own.
func (s *slowService) originate(router model.RouterKey, ip []byte) error {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server == nil {
		return errNoSlowPath
	}
	return server.Originate(router, ip)
}

// bridge sends a frame in a network.
func (s *slowService) bridge(network model.NetworkKey, frame []byte) error {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server == nil {
		return errNoSlowPath
	}
	return server.Bridge(network, frame)
}

// answers takes what comes back for probes of both kinds.
type answers struct {
	*probe.Prober
	*pathmtu.Paths
}

// Probe implements hostsync.Prober.
func (a *Agent) Probe(ctx context.Context, r probe.Request) (probe.Result, error) {
	if r.Paths {
		return probe.Result{Paths: a.pathStates()}, nil
	}
	if r.Port != 0 {
		s, err := a.portState(r.Port)
		return probe.Result{Port: &s}, err
	}
	res, err := a.slow.prober.Run(ctx, r)
	if k, s, ok := a.pathMTU.Toward(r.Router, func(t pathmtu.Target) bool { return t.Remote == r.Target }); ok {
		res.Paths = []probe.PathState{a.pathState(k, s, res.Received == 0)}
	}
	return res, err
}

// portState is what the maps have of a port.
func (a *Agent) portState(k model.PortKey) (probe.PortState, error) {
	port, known, err := a.dp.Port(k)
	if err != nil {
		return probe.PortState{}, fmt.Errorf("read what is counted of a port: %w", err)
	}
	t := port.Traffic
	s := probe.PortState{
		Known: known, There: port.There, RxPackets: t.RxPackets, RxBytes: t.RxBytes, TxPackets: t.TxPackets, TxBytes: t.TxBytes,
		Drops: map[string]uint64{}, TrafficUncounted: known && !port.TrafficCounted, DropsUncounted: known && !port.DropsCounted,
	}
	s.WantedRevision, s.AppliedRevision = a.stats.revisions()
	for why, n := range port.Drops {
		if n > 0 {
			s.Drops[reason.Reason(why).String()] = n
		}
	}
	return s, nil
}

func (s *slowService) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// restart ends the present server and starts one on the tap as it is now.
func (s *slowService) restart() error {
	s.stop()
	tap, err := s.host.OpenTap()
	if err != nil {
		return fmt.Errorf("slow path: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server, done := slowpath.NewServer(tap, answers{s.prober, s.paths}, s.log), make(chan struct{})
	s.mu.Lock()
	s.server, s.cancel, s.done = server, cancel, done
	s.mu.Unlock()
	go func() {
		defer close(done)
		// The device going away is an event of its own, which makes it anew.
		if err := server.Run(ctx); err != nil {
			s.log.Warn("slow path", "err", err)
		}
	}()
	return nil
}

func (s *slowService) stop() {
	s.mu.Lock()
	cancel, done := s.cancel, s.done
	s.mu.Unlock()
	if done == nil {
		return
	}
	cancel()
	<-done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = s.before.Plus(s.server.Counters())
	s.server, s.cancel, s.done = nil, nil, nil
}

func (s *slowService) counters() slowpath.Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return s.before
	}
	return s.before.Plus(s.server.Counters())
}
