package hwvtep

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pause"
)

const (
	echoEvery  = 5 * time.Second
	aliveEvery = 10 * time.Second
	// aliveMisses in a row, and the session ends, so that a controller that
	// reaches the store can take the switch.
	aliveMisses = 3
	// settle is how long changes are collected before they are looked at.
	settle = 20 * time.Millisecond
	// learnEvery bounds how often learned MACs are stored.
	learnEvery = time.Second
	// refusedAgain is when a step that the switch refused is tried again where
	// nothing has changed.
	refusedAgain = 15 * time.Second
	// ownUpdate is how long the update that shows a transaction is waited for.
	ownUpdate = time.Second
	// mostSteps bounds the steps of a pass about one logical switch: each may change
	// maxRows MACs, and one that never shows must end.
	mostSteps = 200
	// maxQueued bounds updates that are not yet taken in, in bytes.
	maxQueued = 2 * maxMessage
)

// session is one connection to a switch. What the switch sends is queued by the
// reading goroutine; all else is done by the driver's.
type session struct {
	d     *driver
	conn  *conn
	epoch uint64
	// cleaned: the switch is retired, has nothing of ours, and the site knows.
	cleaned bool

	changed chan struct{} // capacity 1: there are updates
	lock    chan bool     // the switch gave (true) or took (false) the lock

	mu     sync.Mutex
	queue  []json.RawMessage
	queued int // bytes

	have      *have
	learned   map[model.L2GatewayConnectionID][]model.MAC // as the site knows it
	learnedAt time.Time
}

// notify takes a notification of the switch. It must not wait.
func (s *session) notify(method string, params json.RawMessage) error {
	switch method {
	case "update":
		var p []json.RawMessage
		if err := json.Unmarshal(params, &p); err != nil || len(p) != 2 {
			return fmt.Errorf("an update that is none: %.100s", params)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.queued += len(p[1]); s.queued > maxQueued {
			return errors.New("the switch sends updates faster than they can be looked at")
		}
		s.queue = append(s.queue, p[1])
		select {
		case s.changed <- struct{}{}:
		default:
		}
	case "locked", "stolen":
		select {
		case s.lock <- method == "locked":
		default:
			return errors.New("the switch gives and takes the lock without end")
		}
	}
	return nil
}

// takeIn applies the queued updates.
func (s *session) takeIn() error {
	s.mu.Lock()
	queue := s.queue
	s.queue, s.queued = nil, 0
	s.mu.Unlock()
	for _, u := range queue {
		if err := s.have.apply(u); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) run(ctx context.Context) error {
	columns, err := s.schema(ctx)
	if err != nil {
		return err
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	take, cancel := context.WithTimeout(ctx, callTimeout)
	s.epoch, err = s.d.opts.Site.TakeSwitch(take, s.d.device, s.d.opts.Driver)
	cancel()
	if err != nil {
		return fmt.Errorf("take the switch: %w", err)
	}
	s.d.said = false
	requests := map[string]any{}
	for table, c := range columns {
		requests[table] = map[string]any{"columns": c}
	}
	var initial json.RawMessage
	if err := s.conn.call(ctx, &initial, "monitor", database, "causeway", requests); err != nil {
		return err
	}
	if err := s.have.apply(initial); err != nil {
		return err
	}
	return s.follow(ctx)
}

// schema asks for the columns that the switch has, and wants those that are needed.
func (s *session) schema(ctx context.Context) (map[string][]string, error) {
	var schema struct {
		Tables map[string]struct {
			Columns map[string]json.RawMessage `json:"columns"`
		} `json:"tables"`
	}
	if err := s.conn.call(ctx, &schema, "get_schema", database); err != nil {
		return nil, err
	}
	columns := monitored()
	for table, needed := range columns {
		for _, c := range needed {
			if schema.Tables[table].Columns[c] == nil {
				return nil, fmt.Errorf("the switch's database %s has no column %s in %s", database, c, table)
			}
		}
	}
	for table, extra := range optional() {
		for _, c := range extra {
			if schema.Tables[table].Columns[c] != nil {
				columns[table] = append(columns[table], c)
			}
		}
	}
	s.have = newHave(slices.Contains(columns[tableLogicalSwitch], "replication_mode"))
	return columns, nil
}

// acquire waits for the switch's lock, which another controller may have.
func (s *session) acquire(ctx context.Context) error {
	var got struct {
		Locked bool `json:"locked"`
	}
	if err := s.conn.call(ctx, &got, "lock", lockOf(s.d.device)); err != nil {
		return err
	}
	if got.Locked {
		return nil
	}
	s.d.log.Info("another controller drives the switch; waiting for its lock")
	echo := time.NewTicker(echoEvery)
	defer echo.Stop()
	for {
		select {
		case locked := <-s.lock:
			if locked {
				return nil
			}
		case <-echo.C:
			if err := s.conn.call(ctx, nil, "echo"); err != nil {
				return err
			}
		case <-s.conn.ended():
			return s.conn.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow keeps the switch as it is to be until the session ends, or a retired one
// is clean: then it returns nil.
func (s *session) follow(ctx context.Context) error {
	echo, alive := time.NewTicker(echoEvery), time.NewTicker(cmp.Or(s.d.opts.aliveEvery, aliveEvery))
	defer echo.Stop()
	defer alive.Stop()
	again := time.NewTimer(0) // also the first pass
	defer again.Stop()
	misses := 0
	for {
		select {
		case <-s.changed:
			_ = pause.For(ctx, settle)
		case <-s.d.wake:
			_ = pause.For(ctx, settle)
		case <-again.C:
		case <-echo.C:
			if err := s.conn.call(ctx, nil, "echo"); err != nil {
				return err
			}
			continue
		case <-alive.C:
			if err := s.alive(ctx); err == nil {
				misses = 0
			} else if misses++; misses == aliveMisses {
				return fmt.Errorf("the site's store is away: %w", err)
			}
			continue
		case locked := <-s.lock:
			if !locked {
				return errors.New("the switch gave our lock to another")
			}
			continue
		case <-s.conn.ended():
			return s.conn.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
		next, err := s.pass(ctx)
		if err != nil || s.cleaned {
			return err
		}
		if next > 0 {
			again.Reset(next)
		}
	}
}

func (s *session) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.d.opts.Alive(ctx)
}

// pass takes in what the switch sent, makes the switch what it is to be, and tells
// the site how it went. It returns when to look again although nothing changes, 0
// for not at all.
func (s *session) pass(ctx context.Context) (again time.Duration, err error) {
	if err := s.takeIn(); err != nil {
		return 0, err
	}
	target := s.d.wanted()
	w := target.Want
	refused, made := map[string]string{}, map[string]int{}
	var problems []string
	for {
		var steps []step
		steps, problems = plan(&w, s.have)
		i := slices.IndexFunc(steps, func(st step) bool { return refused[st.name] == "" })
		if i < 0 {
			break
		}
		var no *errRefused
		switch err := s.conn.transact(ctx, lockOf(s.d.device), steps[i].ops); {
		case errors.As(err, &no):
			s.d.opts.Counts.SwitchTransaction(string(s.d.device), true)
			refused[steps[i].name] = no.Error()
		case err != nil:
			return 0, err
		default:
			s.d.opts.Counts.SwitchTransaction(string(s.d.device), false)
			if made[steps[i].name]++; made[steps[i].name] == mostSteps {
				refused[steps[i].name] = "the switch takes what is asked of it and shows no change"
			}
		}
		if err := s.awaitUpdate(ctx); err != nil {
			return 0, err
		}
	}
	st := model.SwitchStatus{Connected: true, InSync: len(refused) == 0 && len(problems) == 0, Problems: problems}
	if len(refused) > 0 {
		var l []string
		for name, text := range refused {
			if vni, own := strings.CutPrefix(name, ours(w.Device)); own {
				name = "VNI " + vni
			}
			l = append(l, name+": "+text)
		}
		slices.Sort(l)
		st.Error = strings.Join(l, "; ")
		again = refusedAgain
	}
	wait, taken := s.learn(ctx, &w)
	if taken || s.d.tell(ctx, s.epoch, st) {
		return 0, errors.New("another controller has taken the switch")
	}
	if wait > 0 && (again == 0 || wait < again) {
		again = wait
	}
	if target.Retired && st.InSync {
		return s.cleanedUp(ctx)
	}
	if !s.d.said && again == 0 {
		again = learnEvery // the site was not told
	}
	return again, nil
}

// cleanedUp tells the site that a retired switch has nothing of ours any more.
func (s *session) cleanedUp(ctx context.Context) (again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = s.d.opts.Site.SwitchCleaned(ctx, s.d.device, s.epoch)
	switch {
	case err == nil || model.KindOf(err) == model.KindNotFound: // somebody has it forgotten
		s.d.log.Info("the switch has nothing of the deleted gateway device any more")
		s.cleaned = true
		return 0, nil
	case model.KindOf(err) == model.KindConflict:
		return 0, err
	}
	s.d.log.Warn("the site does not know yet that the switch is clean; it is tried again", "error", err)
	return learnEvery, nil
}

// awaitUpdate waits for what a transaction changed, as the switch's updates show it.
// A server may send them after its answer.
func (s *session) awaitUpdate(ctx context.Context) error {
	t := time.NewTimer(ownUpdate)
	defer t.Stop()
	select {
	case <-s.changed:
	case <-t.C:
	case <-s.conn.ended():
		return s.conn.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.takeIn()
}

// learn tells the site the MACs that the switch has learned, not too often. It
// returns when to come again, and whether another controller has the switch.
func (s *session) learn(ctx context.Context, w *Want) (again time.Duration, taken bool) {
	found := s.have.learned()
	byName := map[string]map[model.MAC]bool{}
	for id, macs := range found {
		byName[s.have.logical[id].name] = macs
	}
	total := 0
	var changed []*Segment
	now := map[model.L2GatewayConnectionID][]model.MAC{}
	for i := range w.Segments {
		seg := &w.Segments[i]
		macs := make([]model.MAC, 0, len(byName[w.nameOf(seg)]))
		for m := range byName[w.nameOf(seg)] {
			macs = append(macs, m)
		}
		slices.SortFunc(macs, func(a, b model.MAC) int { return slices.Compare(a[:], b[:]) })
		macs = macs[:min(len(macs), model.MaxLearned)]
		total += len(macs)
		now[seg.Connection] = macs
		if old, known := s.learned[seg.Connection]; !known || !slices.Equal(old, macs) {
			changed = append(changed, seg)
		}
	}
	s.d.opts.Counts.SwitchLearned(string(s.d.device), total)
	if len(changed) == 0 {
		return 0, false
	}
	if wait := learnEvery - time.Since(s.learnedAt); wait > 0 {
		return wait, false
	}
	s.learnedAt = time.Now()
	if s.learned == nil {
		s.learned = map[model.L2GatewayConnectionID][]model.MAC{}
	}
	for conn := range s.learned {
		if _, still := now[conn]; !still {
			delete(s.learned, conn)
		}
	}
	for _, seg := range changed {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := s.d.opts.Site.SetLearnedMACs(call, s.d.device, s.epoch, seg.Connection, now[seg.Connection])
		cancel()
		switch {
		case model.KindOf(err) == model.KindConflict:
			return 0, true
		case err != nil:
			s.d.log.Warn("learned MACs were not stored; it is tried again", "error", err)
			return learnEvery, false
		}
		s.learned[seg.Connection] = now[seg.Connection]
	}
	return 0, false
}
