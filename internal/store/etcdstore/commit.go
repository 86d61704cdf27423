package etcdstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pause"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A transaction whose answer is lost may have been committed, or may be
// committed later. To find out, each runs in a slot: a key of this store that
// only one transaction at a time uses. The transaction compares the slot's
// ModRevision and writes its own mark into it. Where the answer is lost, another
// transaction with the same comparison writes to the slot: if that succeeds,
// the first was not and can no longer be committed; if it fails, the slot holds
// the mark of the one that was.

// slot is one key of the session. Its fields belong to whoever took it.
type slot struct {
	session *session
	key     string
	rev     int64 // ModRevision, 0: the key does not exist, -1: not known
}

// session owns slots. Beside a cluster it has a lease, so that the slots of a
// controller that died go; a data directory has one owner and fixed slots.
type session struct {
	id    string
	lease clientv3.LeaseID
}

type slots struct {
	store *Store

	mu      sync.Mutex
	session *session
	free    []*slot
	made    int
}

const (
	localSession = "local"
	leaseSeconds = 60
)

// take returns a slot of the present session. The number in use is bounded by
// Store.lanes.
func (p *slots) take(ctx context.Context) (*slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		ses, err := p.store.newSession(ctx)
		if err != nil {
			return nil, err
		}
		p.session, p.free, p.made = ses, nil, 0
	}
	if n := len(p.free); n > 0 {
		sl := p.free[n-1]
		p.free = p.free[:n-1]
		return sl, nil
	}
	sl := &slot{session: p.session, key: fmt.Sprintf("%s%d", p.store.keys.session(p.session.id), p.made)}
	if p.session.lease == clientv3.NoLease {
		sl.rev = -1 // a run before this one may have left it
	}
	p.made++
	return sl, nil
}

func (p *slots) give(sl *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sl.session == p.session {
		p.free = append(p.free, sl)
	}
}

// lost makes the next take begin a new session: the lease of ses is gone.
func (p *slots) lost(ses *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == ses {
		p.session = nil
	}
}

func (s *Store) newSession(ctx context.Context) (*session, error) {
	if s.server != nil {
		return &session{id: localSession}, nil
	}
	lease, err := s.client.Grant(ctx, leaseSeconds)
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	alive, err := s.client.KeepAlive(s.ctx, lease.ID)
	if err != nil {
		return nil, fmt.Errorf("keep the lease: %w", err)
	}
	ses := &session{id: newMark(), lease: lease.ID}
	if !s.spawn(func() {
		for range alive {
		}
		s.slots.lost(ses)
	}) {
		return nil, errClosed
	}
	return ses, nil
}

func newMark() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

const (
	opOverhead    = 32 // protobuf's framing of an operation, rounded up
	slotOps       = 2  // the slot and the head, put by every transaction
	slotCompares  = 2  // the slot, and the format
	slotAllowance = 1 << 10
)

// size is what a transaction takes in etcd, without what the slot adds.
type size struct {
	ops, compares, bytes int
	gone                 []string // the marks of its deletions, which are among ops
	puts                 bool     // some key other than marks is written
	frees                bool     // some resource is deleted: on a full store too
}

func (s *Store) size(t *tx) size {
	prefix := len(s.keys.data())
	n := size{compares: len(t.reads) + len(t.ranges)}
	for k := range t.reads {
		n.bytes += prefix + len(k) + opOverhead
	}
	for _, r := range t.ranges {
		n.bytes += 2*prefix + len(r.from) + len(r.end) + opOverhead
	}
	t.writes.Scan(func(k string, w *write) bool {
		n.ops++
		n.bytes += prefix + len(k) + len(w.value) + opOverhead
		if w.item != nil {
			n.puts = true
			return true
		}
		if key := goneKey(k); !slices.Contains(n.gone, key) {
			n.gone = append(n.gone, key)
		}
		if _, was := t.base.tree.Get(k); was && !isIndexKey(k) {
			n.frees = true
		}
		return true
	})
	for _, k := range n.gone {
		n.ops++
		n.bytes += prefix + len(k) + opOverhead
	}
	return n
}

// plus is at most what both take together.
func (n size) plus(o size) size {
	out := size{ops: n.ops + o.ops, compares: n.compares + o.compares, bytes: n.bytes + o.bytes, gone: slices.Clone(n.gone)}
	for _, k := range o.gone {
		if !slices.Contains(out.gone, k) {
			out.gone = append(out.gone, k)
		}
	}
	return out
}

// beyond is the error for what is too large for one transaction.
func (n size) beyond(opt Options) error {
	if most := max(n.ops+slotOps, n.compares+slotCompares); most > opt.MaxTxnOps {
		return model.Errf(model.KindTooLarge, "TransactionTooLarge",
			"the change needs a transaction of %d operations; the store's limit is %d in one transaction", most, opt.MaxTxnOps)
	}
	if bytes := n.bytes + slotAllowance; bytes > opt.MaxRequestBytes {
		return model.Errf(model.KindTooLarge, "TransactionTooLarge",
			"the change needs a transaction of %d bytes; the store's limit is %d bytes in one transaction", bytes, opt.MaxRequestBytes)
	}
	return nil
}

// request is a transaction as etcd gets it.
type request struct {
	compares []clientv3.Cmp
	ops      []clientv3.Op
	mark     string // tells this transaction from all others
}

// request makes the transaction of a group, in a slot.
func (s *Store) request(gr *group, sl *slot, mark string) *request {
	r := &request{mark: mark}
	r.compares = make([]clientv3.Cmp, 0, slotCompares+len(gr.reads)+len(gr.ranges))
	r.compares = append(r.compares, clientv3.Compare(clientv3.ModRevision(sl.key), "=", sl.rev), s.formatOK())
	for k, rev := range gr.reads {
		r.compares = append(r.compares, clientv3.Compare(clientv3.ModRevision(s.keys.abs(k)), "=", rev))
	}
	// Ranges come last: etcd reads all of one to compare it.
	for _, rg := range gr.ranges {
		r.compares = append(r.compares,
			clientv3.Compare(clientv3.ModRevision(s.keys.abs(rg.from)), "<", rg.rev+1).WithRange(s.keys.abs(rg.end)))
	}
	r.ops = make([]clientv3.Op, 0, slotOps+gr.size.ops)
	r.ops = append(r.ops, s.slotPut(sl, mark), clientv3.OpPut(s.keys.abs(headKey), mark))
	gr.writes.Scan(func(k string, w *write) bool {
		switch {
		case w == nil: // a mark, of size.gone
		case w.item == nil:
			r.ops = append(r.ops, clientv3.OpDelete(s.keys.abs(k)))
		default:
			r.ops = append(r.ops, clientv3.OpPut(s.keys.abs(k), w.value))
		}
		return true
	})
	for _, k := range gr.size.gone {
		r.ops = append(r.ops, clientv3.OpPut(s.keys.abs(k), ""))
	}
	return r
}

// errConflict: something that the transaction read has changed. The mirror has
// to reach rev before another attempt makes sense.
type errConflict struct{ rev int64 }

func (e *errConflict) Error() string { return fmt.Sprintf("changed at or before revision %d", e.rev) }

// errSlot: the slot turned out not to be as it was known; nothing was written.
var errSlot = errors.New("the commit slot was lost")

// send commits a group and returns its revision. It goes on after the caller has gone:
// what is once sent has to be known.
func (s *Store) send(ctx context.Context, gr *group) (int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.RequestTimeout)
	defer cancel()
	sl, err := s.slots.take(ctx)
	if err != nil {
		return 0, err
	}
	defer s.slots.give(sl)
	if sl.rev < 0 {
		if err := s.fence(ctx, sl); err != nil {
			return 0, err
		}
	}
	r := s.request(gr, sl, newMark())
	s.mirror.expect(r.mark, gr.writes)
	rev, err := s.transact(ctx, sl, r)
	if err != nil {
		s.mirror.never(r.mark)
		return 0, err
	}
	s.mirror.committed(r.mark, rev)
	return rev, nil
}

func (s *Store) transact(ctx context.Context, sl *slot, r *request) (int64, error) {
	head := s.keys.abs(headKey)
	resp, err := s.client.Txn(ctx).If(r.compares...).Then(r.ops...).
		Else(clientv3.OpGet(sl.key, clientv3.WithKeysOnly()), clientv3.OpGet(head, clientv3.WithKeysOnly()), clientv3.OpGet(s.keys.format())).
		Commit()
	switch {
	case err == nil && resp.Succeeded:
		sl.rev = resp.Header.Revision
		return sl.rev, nil
	case err == nil:
		return 0, s.notCommitted(sl, resp)
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		s.slots.lost(sl.session)
		return 0, errSlot
	case refused(err):
		return 0, err
	}
	s.log.Warn("the answer to a transaction was lost; finding out what became of it", "error", err)
	return s.resolve(ctx, sl, r.mark, err)
}

// notCommitted reads the other branch of a transaction.
func (s *Store) notCommitted(sl *slot, resp *clientv3.TxnResponse) error {
	slotKV, headKV := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	var slotRev, headRev int64
	if len(slotKV) > 0 {
		slotRev = slotKV[0].ModRevision
	}
	if len(headKV) > 0 {
		headRev = headKV[0].ModRevision
	}
	if slotRev != sl.rev {
		s.slots.lost(sl.session)
		return errSlot
	}
	if f := resp.Responses[2].GetResponseRange().Kvs; len(f) != 1 || f[0].ModRevision != s.formatRev {
		return unavailable("StoreUnavailable", "the state was taken to another format by another version: this one writes nothing more")
	}
	return &errConflict{rev: headRev}
}

func (s *Store) slotPut(sl *slot, mark string) clientv3.Op {
	return clientv3.OpPut(sl.key, mark, clientv3.WithLease(sl.session.lease))
}

// fence writes to a slot of which nothing is known; no transaction that was sent
// before can be committed in it after.
func (s *Store) fence(ctx context.Context, sl *slot) error {
	resp, err := s.client.Put(ctx, sl.key, "fence", clientv3.WithLease(sl.session.lease))
	if err != nil {
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			s.slots.lost(sl.session)
			return errSlot
		}
		return err
	}
	sl.rev = resp.Header.Revision
	return nil
}

// resolve finds out whether the transaction that left mark was committed, and
// sees to it that it is not later.
func (s *Store) resolve(ctx context.Context, sl *slot, mark string, cause error) (int64, error) {
	known := sl.rev
	sl.rev = -1
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.RequestTimeout)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		own := newMark()
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(sl.key), "=", known)).
			Then(s.slotPut(sl, own)).
			Else(clientv3.OpGet(sl.key)).
			Commit()
		switch {
		case err == nil && resp.Succeeded:
			sl.rev = resp.Header.Revision
			return 0, &notApplied{cause}
		case err == nil:
			kvs := resp.Responses[0].GetResponseRange().Kvs
			if len(kvs) == 1 && string(kvs[0].Value) == mark {
				sl.rev = kvs[0].ModRevision
				return sl.rev, nil
			}
			if len(kvs) == 1 && kvs[0].CreateRevision != 0 {
				// One of the tries of this loop got there, its answer lost.
				sl.rev = kvs[0].ModRevision
				return 0, &notApplied{cause}
			}
			s.slots.lost(sl.session)
			return 0, unknownOutcome(cause)
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			s.slots.lost(sl.session)
			return 0, unknownOutcome(cause)
		}
		_ = pause.For(ctx, wait)
		if ctx.Err() != nil {
			return 0, unknownOutcome(cause)
		}
	}
}

// notApplied: the transaction was sent, and is now known never to be committed.
type notApplied struct{ cause error }

func (e *notApplied) Error() string { return e.cause.Error() }
func (e *notApplied) Unwrap() error { return e.cause }

func unknownOutcome(cause error) error {
	return unavailable("OutcomeUnknown",
		"etcd did not answer (%s) and could not be asked whether the change was made: look before trying again", cause)
}
