package liveness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/health"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/systemd"
)

// Config says how the process runs.
type Config struct {
	StateDir string // the agent's
	// Rules reads the settings; it is asked at the start, where an error ends the process, and at each hangup.
	Rules         func() (Rules, error)
	Hangups       <-chan struct{}
	MetricsListen string // TCP address, or unix:PATH; empty: none
	Log           *slog.Logger
	Service       *systemd.Service
}

// heap is how much garbage there may be before it is collected: the loop makes none, and who asks for the state little.
const heap = 64 << 20

// Run is the process's life.
func Run(ctx context.Context, cfg Config) error {
	rules, err := cfg.Rules()
	if err != nil {
		return err
	}
	dir := Dir(cfg.StateDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	socket, err := listenHere(filepath.Join(dir, socketFile))
	if err != nil {
		return err
	}
	defer socket.Close()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(heap)
	p := &process{cfg: cfg, dir: dir, realTime: realTime(), memory: lockMemory()}
	if p.w, err = NewWatcher(cfg.Log); err != nil {
		return err
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changed, err := watchDir(inner, dir)
	if err != nil {
		return err
	}
	p.rules = rules
	p.reread()
	serve, err := p.listeners(socket)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.w.Run(inner) })
	wg.Go(p.w.Log)
	wg.Go(func() { cfg.Service.Watch(inner, p.w.Alive) })
	for _, f := range serve {
		wg.Go(func() {
			if err := f(inner); err != nil && inner.Err() == nil {
				cancel(err)
			}
		})
	}
	cfg.Service.Ready()
	cfg.Log.Info("health is running", "state_dir", cfg.StateDir, "real_time", p.realTime, "memory", p.memory)
	for inner.Err() == nil {
		select {
		case <-inner.Done():
		case <-changed:
			p.reread()
		case <-cfg.Hangups:
			cfg.Service.Reloading()
			if r, err := cfg.Rules(); err != nil {
				cfg.Log.Error("the settings stay as they were", "err", err)
			} else {
				p.rules = r
			}
			p.reread()
			cfg.Service.Ready()
		}
	}
	wg.Wait()
	if ctx.Err() == nil {
		return context.Cause(inner)
	}
	return nil
}

type process struct {
	cfg              Config
	dir              string
	w                *Watcher
	rules            Rules
	realTime, memory string
}

// reread takes what the agent says. What cannot be read changes nothing.
func (p *process) reread() {
	remotes, err := told(p.dir)
	if err != nil {
		p.cfg.Log.Error("what is watched stays as it was", "err", err)
	}
	p.w.Watch(remotes, p.rules, err)
}

func (p *process) status() Status {
	s := p.w.Status()
	s.RealTime, s.Memory = p.realTime, p.memory
	return s
}

func (p *process) listeners(socket net.Listener) (serve []func(context.Context) error, err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.status()) // the client has gone if this fails
	})
	mux.Handle("GET /metrics", metrics.HealthHandler(p.metrics))
	loop := health.Check{Name: "loop", Of: "whether the watching loop comes round", Look: p.w.Alive}
	health.Serve(mux, []health.Check{loop}, []health.Check{loop})
	on := func(l net.Listener) {
		serve = append(serve, func(ctx context.Context) error {
			return apiserver.ServeMetrics(ctx, l, mux, apiserver.Options{Logger: p.cfg.Log})
		})
	}
	on(socket)
	if p.cfg.MetricsListen == "" {
		return serve, nil
	}
	var l net.Listener
	if path, ok := strings.CutPrefix(p.cfg.MetricsListen, "unix:"); ok {
		l, err = listenHere(path)
	} else {
		l, err = net.Listen("tcp", p.cfg.MetricsListen)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if apiserver.Exposed(l.Addr()) {
		p.cfg.Log.Warn("the metrics are open to whoever reaches their address: they name the addresses of sites", "metrics", l.Addr().String())
	}
	on(l)
	return serve, nil
}

func (p *process) metrics() metrics.Health {
	s := p.status()
	m := metrics.Health{Refused: s.Refused, Reflected: s.Reflected, Latest: s.LatestMS / 1000}
	for _, r := range s.Remotes {
		v := metrics.RemoteVTEP{TunnelIP: r.TunnelIP.String(), VTEP: r.VTEP.String(), Means: string(r.Means), State: string(r.State), Flaps: r.Flaps, Sent: r.Sent, Answered: r.Answered}
		if r.RTTMicros != nil {
			v.Measured, v.RTT, v.Loss = true, *r.RTTMicros/1e6, *r.Loss
		}
		m.Remotes = append(m.Remotes, v)
	}
	return m
}

// listenHere listens on a unix socket. One that a killed process left is taken away; where one answers, another
// process runs.
func listenHere(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s: another \"causeway health\" runs here", path)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", path)
}

// watchDir says when a file of dir has been put in place.
func watchDir(ctx context.Context, dir string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO); err != nil {
		f.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	changed := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed, nil
}

// priority is that among real-time processes: above those of none, below the kernel's own threads.
const priority = 10

// realTime has all threads of the process, those of later included, scheduled in real time, and says what came of it.
func realTime() string {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return "no: " + err.Error()
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: priority}
		if err := unix.SchedSetAttr(tid, &a, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Sprintf("no: SCHED_FIFO is refused: %v", err)
		}
	}
	return fmt.Sprintf("SCHED_FIFO, priority %d", priority)
}

// mclOnFault locks pages once they are used (mlockall(2)): all that Go reserves would be too much.
const mclOnFault = 4

func lockMemory() string {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | mclOnFault); err != nil {
		return fmt.Sprintf("not locked: %v", err)
	}
	return "locked"
}

// askPatience bounds the wait for an answer, and maxAnswer its size.
const (
	askPatience = 5 * time.Second
	maxAnswer   = 4 << 20
)

// ErrNotRunning says that no "causeway health" runs for a state directory.
var ErrNotRunning = errors.New("causeway health does not run on this host")

// Ask asks the process of a state directory.
func Ask(ctx context.Context, stateDir string) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	path := filepath.Join(Dir(stateDir), socketFile)
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://health/status", nil)
	if err != nil {
		return s, err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
		return s, ErrNotRunning
	}
	if err != nil {
		return s, fmt.Errorf("ask causeway health: %w", err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&s); err != nil {
		return s, fmt.Errorf("read the answer of causeway health: %w", err)
	}
	return s, nil
}
