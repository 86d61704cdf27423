package hostsync

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/probe"
)

// probingSink serves probes by a function.
type probingSink struct {
	*sink
	probe func(ctx context.Context, r probe.Request) (probe.Result, error)
}

func (s probingSink) Probe(ctx context.Context, r probe.Request) (probe.Result, error) {
	return s.probe(ctx, r)
}

func probeRequest() probe.Request {
	return probe.Request{
		Router: 7, Source: netip.MustParseAddr("192.168.0.1"), Target: netip.MustParseAddr("192.168.0.2"), Count: 3, Size: 100,
		Interval: 50 * time.Millisecond, Timeout: 300 * time.Millisecond, PathMTU: true, MaxMTU: 1450,
	}
}

func probingHost(t *testing.T, fn func(ctx context.Context, r probe.Request) (probe.Result, error)) (*Queue, func()) {
	t.Helper()
	hosts := newFakeHosts()
	target, _ := serve(t, hosts)
	s := probingSink{newSink(), fn}
	_, stop := connect(t, ClientOptions{Targets: []string{target}}, s)
	wait(t, s.updates, "first update")
	return hosts.queue, stop
}

func TestProbe(t *testing.T) {
	want := probe.Result{
		Sent: 3, Received: 2, RTTMin: time.Microsecond, RTTAvg: 2 * time.Microsecond, RTTMax: 3 * time.Microsecond, PathMTU: 1400,
		Errors: []probe.Error{
			{From: netip.MustParseAddr("192.168.0.2"), What: "host unreachable", Count: 1},
			{Reason: "fragmentation_needed", What: "fragmentation needed", MTU: 1400, Count: 2},
		},
		Paths: []probe.PathState{{
			TunnelIP: netip.MustParseAddr("200.200.0.1"), VTEP: netip.MustParseAddr("200.200.0.2"), MTU: 1450, State: "proven", By: "tunnel", Why: "an answer", Problem: "d",
		}},
		Port: &probe.PortState{Known: true, There: true, WantedRevision: 9, AppliedRevision: 8, RxPackets: 1, RxBytes: 2, TxPackets: 3, TxBytes: 4, TrafficUncounted: true, DropsUncounted: true,
			Drops: map[string]uint64{"spoof_ip": 5, "hairpin": 6}},
	}
	q, _ := probingHost(t, func(_ context.Context, r probe.Request) (probe.Result, error) {
		if r != probeRequest() {
			t.Errorf("asked for %+v", r)
		}
		return want, nil
	})
	got, err := q.Probe(t.Context(), probeRequest())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := q.Probe(t.Context(), probe.Request{}); !errors.Is(err, probe.ErrRequest) {
		t.Errorf("an empty request: %v", err)
	}
}

func TestProbeErrors(t *testing.T) {
	for name, e := range map[string]struct{ said, want error }{
		"refused": {probe.ErrRequest, probe.ErrRequest},
		"busy":    {probe.ErrBusy, probe.ErrBusy},
		"failed":  {errors.New("no tap"), errProbeFail},
	} {
		t.Run(name, func(t *testing.T) {
			q, _ := probingHost(t, func(context.Context, probe.Request) (probe.Result, error) { return probe.Result{}, e.said })
			if _, err := q.Probe(t.Context(), probeRequest()); !errors.Is(err, e.want) {
				t.Fatal(err)
			}
		})
	}
}

// An agent of an earlier release works as ever, and is not asked.
func TestProbeOfAnOlderAgent(t *testing.T) {
	hosts := newFakeHosts()
	target, _ := serve(t, hosts)
	s := newSink()
	connect(t, ClientOptions{Targets: []string{target}}, s)
	wait(t, s.updates, "first update")
	if _, err := hosts.queue.Probe(t.Context(), probeRequest()); !errors.Is(err, ErrNoProbes) {
		t.Fatal(err)
	}
}

func TestProbeIsCancelled(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	q, _ := probingHost(t, func(ctx context.Context, _ probe.Request) (probe.Result, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return probe.Result{}, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := q.Probe(ctx, probeRequest())
		done <- err
	}()
	wait(t, began, "probe")
	cancel()
	if err := wait(t, done, "end of the request"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wait(t, ended, "end at the agent")
}

// While an update is being applied, probes go on; when the agent leaves, who waits is told.
func TestProbeWhenTheAgentLeaves(t *testing.T) {
	began := make(chan struct{})
	q, stop := probingHost(t, func(ctx context.Context, _ probe.Request) (probe.Result, error) {
		close(began)
		<-ctx.Done()
		return probe.Result{}, ctx.Err()
	})
	done := make(chan error, 1)
	go func() {
		_, err := q.Probe(t.Context(), probeRequest())
		done <- err
	}()
	wait(t, began, "probe")
	stop()
	if err := wait(t, done, "end of the request"); !errors.Is(err, ErrHostLeft) {
		t.Fatal(err)
	}
	if _, err := q.Probe(t.Context(), probeRequest()); !errors.Is(err, ErrHostLeft) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestProbesAreBounded(t *testing.T) {
	q := NewQueue(nil, nil)
	q.open(true, true)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, maxProbes)
	for range maxProbes {
		go func() {
			_, err := q.Probe(ctx, probeRequest())
			results <- err
		}()
	}
	for n := 0; n < maxProbes; {
		_, m, err := q.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += len(m)
	}
	if _, err := q.Probe(t.Context(), probeRequest()); !errors.Is(err, probe.ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for range maxProbes {
		if err := wait(t, results, "end"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if n := len(q.probes.waiting); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

func TestBadProbeResults(t *testing.T) {
	for name, m := range map[string]*pb.ProbeResult{
		"more received than sent": {Sent: 1, Received: 2},
		"too many":                {Sent: probe.MaxCount + 1},
		"a huge MTU":              {Sent: 1, PathMtu: 1 << 20},
		"a huge time":             {Sent: 1, Received: 1, RttMaxNs: 1 << 62},
		"too many paths":          {Paths: make([]*pb.PathState, probe.MaxPaths+1)},
		"too many drops":          {Port: &pb.PortState{Drops: make([]*pb.PortDrops, probe.MaxDrops+1)}},
		"a path of a huge MTU":    {Paths: []*pb.PathState{{TunnelIp: []byte{1, 2, 3, 4}, Vtep: []byte{1, 2, 3, 5}, Mtu: 1 << 20}}},
		"a path to nowhere":       {Paths: []*pb.PathState{{TunnelIp: []byte{1, 2, 3, 4}}}},
		"an address of 5 bytes":   {Sent: 1, Errors: []*pb.ProbeError{{From: []byte{1, 2, 3, 4, 5}}}},
	} {
		if err := NewQueue(nil, nil).probed(m); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
