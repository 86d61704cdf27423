package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/internal/store"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The state's format is a number at a key of its own: 1 is that of the first
// release, and each migration makes one more. Who opens a state of an older format
// takes it through the migrations, one after another, before anything is read of it.
// A migration's changes are written in several transactions, each of which holds
// only while the format is the old one and nobody else has written anything; the
// last one writes the new format. Killed in between, or where somebody else was
// faster, it begins again. Once the format is newer than what a running store knows,
// that store writes nothing more (see Store.formatOK).

// dirFormat is the version of a data directory, apart from the keys in it.
const dirFormat = 1

// migrateTries bounds how often a migration begins again because others write.
const migrateTries = 10

// errFormat: somebody has changed the format, or the state in the old one.
var errFormat = errors.New("others changed the state at the same time")

// format is the newest format that this store knows.
func (s *Store) format() int { return 1 + len(s.opt.Migrations) }

// openFormat brings the state to the format that this store knows. It refuses newer
// ones, and marks an empty state.
func (s *Store) openFormat(ctx context.Context) error {
	for try := 0; ; try++ {
		have, rev, err := s.readFormat(ctx)
		if err != nil {
			return fmt.Errorf("read the format: %w", silence(err))
		}
		if have == s.format() {
			s.formatRev = rev
			return nil
		}
		err = s.migrate(ctx, have, rev)
		if err != nil && (!errors.Is(err, errFormat) || try == migrateTries) {
			return fmt.Errorf("bring the state from format %d to %d: %w", have, have+1, silence(err))
		}
		if err == nil {
			try = 0
			s.log.Info("the state was brought to a newer format", "from", have, "to", have+1)
		}
	}
}

// readFormat reads the format and its ModRevision. An empty state gets ours.
func (s *Store) readFormat(ctx context.Context) (format int, rev int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
	defer cancel()
	key := s.keys.format()
	resp, err := s.client.Get(ctx, key)
	if err == nil && len(resp.Kvs) == 0 {
		var txn *clientv3.TxnResponse
		txn, err = s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, strconv.Itoa(s.format())), clientv3.OpGet(key)).
			Else(clientv3.OpGet(key), clientv3.OpGet(key)).
			Commit()
		if err == nil {
			resp = (*clientv3.GetResponse)(txn.Responses[1].GetResponseRange())
		}
	}
	if err != nil {
		return 0, 0, err
	}
	format, err = formatKnown(string(resp.Kvs[0].Value), s.format())
	return format, resp.Kvs[0].ModRevision, err
}

func formatKnown(text string, newest int) (int, error) {
	n, err := strconv.Atoi(text)
	switch {
	case strings.HasPrefix(text, importing):
		return 0, errImporting
	case err != nil || n < 1:
		return 0, fmt.Errorf("the state's format %q is not a number: is this Causeway's data?", text)
	case n > newest:
		return 0, fmt.Errorf("the state has format %d, written by a newer version; this one knows formats up to %d", n, newest)
	}
	return n, nil
}

// migrate takes the state from one format to the next. formatRev is the ModRevision
// of the format's key.
func (s *Store) migrate(ctx context.Context, from int, formatRev int64) error {
	kvs, _, err := s.list(ctx)
	if err != nil {
		return err
	}
	head := int64(0)
	old := make([]store.Entry, 0, len(kvs))
	for _, kv := range kvs {
		rel := s.keys.rel(string(kv.Key))
		if rel == headKey {
			head = kv.ModRevision
		}
		if !isMetaKey(rel) {
			old = append(old, entryOf(rel, kv))
		}
	}
	changes, err := s.opt.Migrations[from-1](old)
	if err != nil {
		return err
	}
	// Every transaction of a store writes the head.
	guard := []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(s.keys.format()), "=", formatRev),
		clientv3.Compare(clientv3.ModRevision(s.keys.abs(headKey)), "=", head),
	}
	var ops []clientv3.Op
	bytes := 0
	flush := func() error {
		ctx, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
		defer cancel()
		resp, err := s.client.Txn(ctx).If(guard...).Then(ops...).Commit()
		if err == nil && !resp.Succeeded {
			err = errFormat
		}
		ops, bytes = nil, 0
		return err
	}
	for _, c := range changes {
		key, value := s.keys.abs(keyOf(c)), c.Value
		if len(ops) > 0 && (len(ops)+1 > s.opt.MaxTxnOps || bytes+len(key)+len(value)+opOverhead+slotAllowance > s.opt.MaxRequestBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		bytes += len(key) + len(value) + opOverhead
		if c.Gone {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, value))
		}
	}
	if len(ops) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	ops = []clientv3.Op{clientv3.OpPut(s.keys.format(), strconv.Itoa(from+1))}
	return flush()
}

func entryOf(rel string, kv *mvccpb.KeyValue) store.Entry {
	if ix, key, ok := splitIndexKey(rel); ok {
		return store.Entry{Index: store.Index(ix), Key: key, Value: string(kv.Value)}
	}
	kind, id := splitObjectKey(rel)
	return store.Entry{Kind: store.Kind(kind), ID: id, Value: string(kv.Value)}
}

func keyOf(e store.Entry) string {
	if e.Index != "" {
		return indexKey(e.Index, e.Key)
	}
	return objectKey(e.Kind, e.ID)
}

// formatOK is what every transaction compares: that the format is still ours.
func (s *Store) formatOK() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(s.keys.format()), "=", s.formatRev)
}
