package orchestrator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator"
)

// faults is what goes wrong in one run.
type faults struct {
	mu sync.Mutex
	// rate is how many of a hundred requests go wrong for once.
	rate int
	// killAt is the request at which the run is killed; refuseAt the change that the
	// site refuses for good; 0 is never.
	killAt, refuseAt int
	// crashAt are the requests at which the site that is asked is killed.
	crashAt []int

	kill             context.CancelFunc
	requests, writes int
	dead             bool
	down             map[int]int // how many requests find a site down before it is started again
	rnd              *rand.Rand
	wrong            []string // what must never be
	underWay         underWay
}

// underWay counts requests that a site has begun to serve. Unlike a WaitGroup it takes
// one that comes while others are waited for: what a killed run has sent may arrive at
// any time.
type underWay struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when there is none; nil if nobody waits
}

func (u *underWay) add(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n += n; u.n == 0 && u.none != nil {
		close(u.none)
		u.none = nil
	}
}

// wait waits until there is none.
func (u *underWay) wait(t testing.TB) {
	t.Helper()
	u.mu.Lock()
	none := make(chan struct{})
	if u.n == 0 {
		close(none)
	} else {
		u.none = none
	}
	u.mu.Unlock()
	select {
	case <-none:
	case <-time.After(patience):
		t.Fatalf("requests of a run that has ended are under way still after %v", patience)
	}
}

// patience is far beyond what anything here takes.
const patience = 2 * time.Minute

// interpose puts the faults between the run and the sites.
func (w *world) interpose(f *faults) {
	for i, c := range w.clouds {
		c.interpose(func(rw http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
			f.underWay.add(1)
			defer f.underWay.add(-1)
			f.mu.Lock()
			defer f.mu.Unlock() // one at a time: the state between two is looked at
			f.requests++
			if f.requests == f.killAt {
				f.dead = true
				f.kill()
				if f.rnd.IntN(2) == 0 {
					next(httptest.NewRecorder()) // it is done, and nobody hears of it
				}
			}
			if f.dead {
				drop(rw)
				return
			}
			if slices.Contains(f.crashAt, f.requests) && f.down[i] == 0 {
				w.crash(f, i, next)
				drop(rw)
				return
			}
			if !w.up(f, i) {
				drop(rw)
				return
			}
			change := r.Method != http.MethodGet
			if change = change && !strings.Contains(r.URL.Path, "causeway:lease:"); change {
				f.writes++
			}
			if change && f.writes == f.refuseAt {
				refuse(rw, http.StatusForbidden)
				return
			}
			if f.rnd.IntN(100) < f.rate {
				f.goWrong(rw, r, next)
			} else {
				next(rw)
			}
			if change && f.down[i] == 0 {
				f.wrong = append(f.wrong, foreign(w.before[i], c.state(), w.cidr)...)
			}
		})
	}
}

// goWrong does something else with a request than to answer it.
func (f *faults) goWrong(rw http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
	nobody := httptest.NewRecorder()
	switch f.rnd.IntN(14) {
	case 0, 1:
		// No answer in time, and nobody knows whether it was done, or will be: it may
		// arrive when nobody waits for it any more.
		when := f.rnd.IntN(3)
		if when == 0 {
			next(nobody)
		}
		f.mu.Unlock()
		select {
		case <-r.Context().Done():
		case <-time.After(patience): // who asks has no limit
		}
		f.mu.Lock()
		if when == 1 {
			next(nobody)
		}
		drop(rw)
	case 2, 3, 4:
		refuse(rw, http.StatusServiceUnavailable)
	case 5:
		drop(rw)
	case 6:
		reset(rw)
	case 7, 8:
		next(nobody)
		drop(rw)
	case 9:
		next(nobody)
		reset(rw)
	case 10:
		next(nobody)
		cutShort(rw, nobody)
	default:
		next(nobody)
		refuse(rw, http.StatusInternalServerError)
	}
}

// crash kills a site before a request comes, while it is served, or when it is done
// and the answer has not left. It starts again at once, or after some requests more.
func (w *world) crash(f *faults, i int, next func(http.ResponseWriter)) {
	var served sync.WaitGroup
	switch f.rnd.IntN(4) {
	case 0:
	case 1:
		next(httptest.NewRecorder())
	default:
		served.Go(func() { next(httptest.NewRecorder()) })
		<-time.After(time.Duration(f.rnd.IntN(2000)) * time.Microsecond)
	}
	w.servers[i].kill()
	served.Wait()
	f.down[i] = 1 + f.rnd.IntN(20)
	if f.rnd.IntN(2) == 0 {
		f.down[i] = 1
	}
}

// up tells whether a site can be asked. One that has been down long enough is started.
func (w *world) up(f *faults, i int) bool {
	if f.down[i] == 0 {
		return true
	}
	if f.down[i]--; f.down[i] > 0 {
		return false
	}
	if err := w.servers[i].start(); err != nil {
		f.wrong = append(f.wrong, err.Error())
		f.down[i] = 1 // once more
		return false
	}
	return true
}

func drop(w http.ResponseWriter) { hangUp(w, func(net.Conn) {}) }

// reset ends the connection without what TCP has for it.
func reset(w http.ResponseWriter) {
	hangUp(w, func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) })
}

// cutShort sends a part of an answer.
func cutShort(w http.ResponseWriter, whole *httptest.ResponseRecorder) {
	hangUp(w, func(conn net.Conn) {
		body := whole.Body.Bytes()
		fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", whole.Code, len(body)+1, body[:len(body)/2])
	})
}

func hangUp(w http.ResponseWriter, last func(net.Conn)) {
	h, ok := w.(http.Hijacker)
	if !ok { // nobody is there to hear
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if conn, _, err := h.Hijack(); err == nil {
		last(conn)
		conn.Close()
	}
}

func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"NeutronError": object{"type": "Injected", "message": "refused", "detail": ""}})
}

// run does one run with faults.
func (w *world) run(planner orchestrator.Planner, f *faults) (orchestrator.Outcome, error) {
	w.t.Helper()
	w.runs++
	holder := fmt.Sprintf("run-%d", w.runs)
	o := options(holder)
	o.Sites.Attempts = 6
	if f.rate > 0 {
		o.Sites.Timeout = 200 * time.Millisecond
	}
	if f.rate == 0 && f.killAt == 0 && len(f.crashAt) == 0 {
		o.Sites.Backoff = 50 * time.Millisecond // what goes wrong for once is the machine's
	}
	// Who is dead is known, so that no run waits for a term; one that a busy machine
	// cannot miss loses no run its lease.
	o.Lease.Dead, o.Lease.Term = func(h string) bool { return w.dead[h] }, 10*time.Minute
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	f.kill, f.rnd, f.down = cancel, rand.New(rand.NewPCG(w.rnd.Uint64(), 1)), map[int]int{}
	w.interpose(f)
	out, err := orchestrator.New(o).Run(ctx, w.p, planner, orchestrator.RunOptions{})
	w.dead[holder] = true // its process has ended
	f.underWay.wait(w.t)  // what was on its way has arrived
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range maps.Keys(f.down) {
		f.down[i] = min(f.down[i], 1)
		w.up(f, i)
	}
	for i, c := range w.clouds {
		f.wrong = append(f.wrong, foreign(w.before[i], c.state(), w.cidr)...)
	}
	if len(f.wrong) > 0 {
		w.t.Fatalf("run %d touched what is not the peering's: %s", w.runs, f.wrong[0])
	}
	return out, err
}
