package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/store"
)

// What is asked of a host whose agent is at another controller goes by the store: the question is written there, the
// controller that has the host takes it, and writes the answer; who asked deletes it. Controllers need no way to
// each other for it.

const (
	// takeTimeout is how long a question may wait for a controller that has its host: the agent may be on its
	// way from one to another.
	takeTimeout = 3 * time.Second
	// leftPause is how long a question is kept whose host has left, before another controller, or this one, may take it.
	leftPause = 100 * time.Millisecond
	// questionLife is when a question is dropped whose asker has ended: longer than any is waited for.
	questionLife = 2 * time.Minute
	// dropTimeout bounds the end of a question whose caller has gone.
	dropTimeout = 5 * time.Second
)

// questions are those that this controller has put, and those that it answers.
type questions struct {
	mu     sync.Mutex
	put    map[string]chan *model.HostQuestion // capacity 1: the newest state
	stops  map[string]context.CancelFunc       // of those being answered
	seen   map[string]time.Time                // all that there are
	open   map[string]*model.HostQuestion      // those that no controller has taken
	come   chan struct{}                       // capacity 1: a host has connected, which some may be to
	wait   time.Duration                       // takeTimeout, or more in tests
	serves sync.WaitGroup
}

func newQuestions() *questions {
	return &questions{put: map[string]chan *model.HostQuestion{}, stops: map[string]context.CancelFunc{}, seen: map[string]time.Time{},
		open: map[string]*model.HostQuestion{}, come: make(chan struct{}, 1), wait: takeTimeout}
}

// hostRequest is a question as it is written down.
type hostRequest struct {
	probe.Request
	Rows bool `json:"rows,omitempty"` // send nothing, and compare the host's rows
}

// hostAnswer is an answer as it is written down.
type hostAnswer struct {
	Result probe.Result `json:"result"`
	Rows   *rowsReport  `json:"rows,omitempty"`
	Kind   string       `json:"kind,omitempty"` // of an error
	Error  string       `json:"error,omitempty"`
}

// answerKinds are the errors that the asker tells apart.
var answerKinds = map[string]error{"request": probe.ErrRequest, "none": hostsync.ErrNoProbes, "left": hostsync.ErrHostLeft, "busy": probe.ErrBusy, "no rows": hostsync.ErrNoRows}

func answerOf(res probe.Result, rows *rowsReport, err error) hostAnswer {
	if err == nil {
		return hostAnswer{Result: res, Rows: rows}
	}
	a := hostAnswer{Kind: "other", Error: err.Error()}
	for kind, e := range answerKinds {
		if errors.Is(err, e) {
			a.Kind = kind
		}
	}
	return a
}

func (a hostAnswer) outcome() (probe.Result, error) {
	switch known := answerKinds[a.Kind]; {
	case a.Kind == "":
		return a.Result, nil
	case known == nil:
		return probe.Result{}, errors.New(a.Error)
	case known.Error() == a.Error:
		return probe.Result{}, known
	default:
		return probe.Result{}, answerError{a.Error, known}
	}
}

// answerError is an error that another controller had, of a kind.
type answerError struct {
	words string
	kind  error
}

func (e answerError) Error() string { return e.words }
func (e answerError) Unwrap() error { return e.kind }

// askElsewhere has the controller that has a host put a request to it. The agent may be on its way from one to another, this one
// included: who has it next takes the question.
func (h *hub) askElsewhere(ctx context.Context, name model.HostName, r hostRequest) (hostAnswer, error) {
	snap, err := h.rules.View(ctx)
	if err != nil {
		return hostAnswer{}, err
	}
	x := store.Get(snap, store.Hosts, string(name))
	if x == nil || x.Gone || x.Controller == "" {
		return hostAnswer{}, hostsync.ErrHostLeft
	}
	request, err := json.Marshal(r)
	if err != nil {
		return hostAnswer{}, err
	}
	q := model.HostQuestion{ID: uuid.NewString(), Host: name, Revision: snap.Revision(), Request: request}
	news := make(chan *model.HostQuestion, 1)
	h.questions.mu.Lock()
	h.questions.put[q.ID] = news
	h.questions.mu.Unlock()
	defer func() {
		h.questions.mu.Lock()
		delete(h.questions.put, q.ID)
		h.questions.mu.Unlock()
		// It ends also where the caller has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
		defer cancel()
		if err := h.rules.DropQuestion(ctx, q.ID); err != nil {
			h.log.Warn("a question to a host of another controller stays for a while", "host", name, "error", err)
		}
	}()
	if err := h.rules.Ask(ctx, q); err != nil {
		return hostAnswer{}, err
	}
	untaken := time.NewTimer(h.questions.wait)
	defer untaken.Stop()
	for {
		select {
		case now := <-news:
			if untaken.Stop(); !now.Taken {
				untaken.Reset(h.questions.wait)
			}
			if len(now.Answer) == 0 {
				continue
			}
			var a hostAnswer
			if err := json.Unmarshal(now.Answer, &a); err != nil {
				return hostAnswer{}, fmt.Errorf("the answer of the host's controller: %w", err)
			}
			return a, nil
		case <-untaken.C:
			return hostAnswer{}, hostsync.ErrHostLeft
		case <-ctx.Done():
			return hostAnswer{}, ctx.Err()
		}
	}
}

// watchQuestions answers the questions to hosts of this controller until ctx ends.
func (h *hub) watchQuestions(ctx context.Context) error {
	defer h.questions.serves.Wait()
	h.questions.serves.Go(func() { h.dropStale(ctx) })
	for ctx.Err() == nil {
		snap, feed, err := h.st.Watch(ctx)
		if err == nil {
			h.questions.begin()
			for q := range store.All(snap, store.HostQuestions) {
				h.noteQuestion(ctx, q.ID, q)
			}
			h.followQuestions(ctx, feed)
		}
		_ = pause.For(ctx, 100*time.Millisecond)
	}
	return nil
}

// followQuestions takes in what becomes of questions, and looks at those that wait when a host connects, until the feed ends.
func (h *hub) followQuestions(ctx context.Context, feed <-chan store.Batch) {
	for {
		select {
		case b, ok := <-feed:
			if !ok {
				return
			}
			for _, c := range b.Changes {
				if c.Kind == store.HostQuestions.Kind() {
					q, _ := c.Object.(*model.HostQuestion)
					h.noteQuestion(ctx, c.ID, q)
				}
			}
		case <-h.questions.come:
			h.questions.mu.Lock()
			for _, q := range h.questions.open {
				h.serve(ctx, q)
			}
			h.questions.mu.Unlock()
		}
	}
}

// came says that a host has connected.
func (q *questions) came() {
	select {
	case q.come <- struct{}{}:
	default:
	}
}

func (q *questions) begin() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.seen, q.open = map[string]time.Time{}, map[string]*model.HostQuestion{}
}

// noteQuestion takes in what has become of a question; nil: it is no more.
func (h *hub) noteQuestion(ctx context.Context, id string, q *model.HostQuestion) {
	p := h.questions
	p.mu.Lock()
	defer p.mu.Unlock()
	if q == nil {
		delete(p.seen, id)
		delete(p.open, id)
		if stop := p.stops[id]; stop != nil {
			stop()
		}
		return
	}
	if p.seen[id].IsZero() {
		p.seen[id] = time.Now()
	}
	if news := p.put[id]; news != nil {
		select {
		case <-news: // an older state that nobody has read
		default:
		}
		news <- q
	}
	if q.Taken {
		delete(p.open, id)
		return
	}
	p.open[id] = q
	h.serve(ctx, q)
}

// serve begins to answer a question if its host is connected here. It needs questions.mu.
func (h *hub) serve(ctx context.Context, q *model.HostQuestion) {
	p, id := h.questions, q.ID
	if p.stops[id] != nil || !h.has(q.Host) {
		return
	}
	serving, stop := context.WithTimeout(ctx, settleTimeout+probe.MaxDuration)
	p.stops[id] = stop
	p.serves.Go(func() {
		defer func() {
			stop()
			p.mu.Lock()
			delete(p.stops, id)
			p.mu.Unlock()
			p.came() // the host may have, meanwhile
		}()
		h.answer(serving, q)
	})
}

func (h *hub) has(name model.HostName) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.hosts[name] != nil
}

// answer serves a question to a host of this controller.
func (h *hub) answer(ctx context.Context, q *model.HostQuestion) {
	err := h.rules.Answer(ctx, q.ID, func(q *model.HostQuestion) { q.Taken = true })
	var r hostRequest
	if err == nil {
		err = json.Unmarshal(q.Request, &r)
	}
	var res probe.Result
	var rows *rowsReport
	switch {
	case err != nil:
	case r.Rows:
		rows, err = h.hostRowsHere(ctx, q.Host)
	default:
		settle, stop := context.WithTimeout(ctx, settleTimeout)
		h.settled(settle, q.Host, q.Revision)
		stop()
		res, err = h.probeHere(ctx, q.Host, r.Request)
	}
	if ctx.Err() != nil {
		return // nobody waits any more
	}
	if errors.Is(err, hostsync.ErrHostLeft) && pause.For(ctx, leftPause) == nil {
		if err := h.rules.Answer(ctx, q.ID, func(q *model.HostQuestion) { q.Taken = false }); err == nil {
			return // another controller may have the host by now
		}
	}
	b, merr := json.Marshal(answerOf(res, rows, err))
	if merr == nil {
		merr = h.rules.Answer(ctx, q.ID, func(q *model.HostQuestion) { q.Answer = b })
	}
	if merr != nil && ctx.Err() == nil {
		h.log.Warn("another controller's question to a host was not answered", "host", q.Host, "error", merr)
	}
}

// dropStale drops questions whose askers have ended without a word.
func (h *hub) dropStale(ctx context.Context) {
	for pause.For(ctx, questionLife/4) == nil {
		var stale []string
		h.questions.mu.Lock()
		for id, since := range h.questions.seen {
			if time.Since(since) > questionLife {
				stale = append(stale, id)
			}
		}
		h.questions.mu.Unlock()
		for _, id := range stale {
			if err := h.rules.DropQuestion(ctx, id); err != nil && ctx.Err() == nil {
				h.log.Warn("a question that nobody waits for stays", "error", err)
			}
		}
	}
}
