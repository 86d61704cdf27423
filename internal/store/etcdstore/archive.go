package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/causeway-net/causeway/internal/store"
)

// importing begins the format of a state that is being imported, before the mark of who
// imports: no store opens it.
const importing = "importing "

var errImporting = errors.New("an import into it did not come to its end: import again, the same file or another")

var errNoState = errors.New("there is no state in it")

// raw is an etcd with a state, without the store's mirror and goroutines.
type raw struct{ *Store }

func openRaw(ctx context.Context, opt Options) (_ raw, err error) {
	opt, err = opt.withDefaults()
	if err != nil {
		return raw{}, err
	}
	s := &Store{opt: opt, log: opt.Logger, keys: keys{opt.Prefix}}
	if opt.DataDir != "" {
		if err := checkOwner(opt.DataDir); err != nil {
			return raw{}, fmt.Errorf("open store: %w", err)
		}
		if s.server, err = startServer(ctx, opt); err != nil {
			return raw{}, fmt.Errorf("open store at %s: %w", opt.DataDir, err)
		}
		s.client = s.server.client
	} else if s.client, err = connect(opt); err != nil {
		return raw{}, fmt.Errorf("open store at %s: %w", opt.Endpoints, err)
	}
	return raw{s}, nil
}

// format is what the key of the format says; "": there is no state.
func (r raw) format(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.RequestTimeout)
	defer cancel()
	resp, err := r.client.Get(ctx, r.keys.format())
	if err != nil {
		return "", fmt.Errorf("read the format: %w", silence(err))
	}
	if len(resp.Kvs) == 0 {
		return "", nil
	}
	return string(resp.Kvs[0].Value), nil
}

// openRunning reads what another process has of a data directory.
func openRunning(ctx context.Context, opt Options) (raw, error) {
	path := readSocket(opt.DataDir)
	c, err := net.Dial("unix", path)
	if err != nil {
		return raw{}, err
	}
	_ = c.Close()
	opt.DataDir, opt.Endpoints = "", []string{"unix://" + path}
	return openRaw(ctx, opt)
}

// ownerError is a data directory of another user: what this process writes there (etcd writes
// when it starts, too) that user could not read.
type ownerError struct {
	dir     string
	of, own int
}

func (e *ownerError) Error() string {
	return fmt.Sprintf("%s belongs to the user of id %d, who could not read what the user of id %d writes there: run this as that user", e.dir, e.of, e.own)
}

func checkOwner(dir string) error {
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return &ownerError{dir, int(sys.Uid), os.Geteuid()}
	}
	return nil
}

// Exporter is a state to be read as it is, whatever its format. Nothing of it is changed.
type Exporter struct {
	raw
	Format int
}

// OpenExporter opens a state: that of a cluster, or of a data directory, also of one that another
// process has which answers reads there (see Options.ReadSocket).
func OpenExporter(ctx context.Context, opt Options) (*Exporter, error) {
	if opt.DataDir != "" {
		if _, err := os.Stat(etcdDir(opt.DataDir)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open store at %s: %w", opt.DataDir, errNoState)
		}
	}
	r, err := openRaw(ctx, opt)
	var held error // by another process, or another user's
	if errors.As(err, new(*heldError)) || errors.As(err, new(*ownerError)) {
		held = err
		if r, err = openRunning(ctx, opt); err != nil {
			err = held
		}
	}
	if err != nil {
		return nil, err
	}
	text, err := r.format(ctx)
	if err != nil && held != nil {
		err = errors.Join(held, err)
	}
	if err == nil && text == "" {
		err = errNoState
	}
	e := &Exporter{raw: r}
	if err == nil {
		e.Format, err = formatKnown(text, 1+len(opt.Migrations))
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close ends it.
func (e *Exporter) Close() error { return e.disconnect() }

// Entries goes through all entries of one revision, which begin is told first, in order of their
// keys.
func (r *Exporter) Entries(ctx context.Context, begin func(rev int64) error, add func(store.Entry) error) error {
	rev := int64(0)
	from, end := r.keys.data(), prefixEnd(r.keys.data())
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(listPage)}
		if rev != 0 {
			opts = append(opts, clientv3.WithRev(rev)) // as in Store.list
		}
		pageCtx, cancel := context.WithTimeout(ctx, r.opt.RequestTimeout)
		resp, err := r.client.Get(pageCtx, from, opts...)
		cancel()
		if err != nil {
			return fmt.Errorf("list %s: %w", r.keys.data(), silence(err))
		}
		if rev == 0 {
			rev = resp.Header.Revision
			if err := begin(rev); err != nil {
				return err
			}
		}
		for _, kv := range resp.Kvs {
			rel := r.keys.rel(string(kv.Key))
			if isMetaKey(rel) {
				continue
			}
			if err := add(entryOf(rel, kv)); err != nil {
				return err
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// Import writes entries of a format into a place that has no state: a data directory that is
// made, or a prefix of a cluster. Until all are written, no store opens what there is; where it
// does not come to its end, it is done again. It returns how many were written.
func Import(ctx context.Context, opt Options, format int, entries iter.Seq2[store.Entry, error]) (n int, err error) {
	if newest := 1 + len(opt.Migrations); format > newest {
		return 0, fmt.Errorf("the state has format %d, written by a newer version; this one knows formats up to %d", format, newest)
	}
	r, err := openRaw(ctx, opt)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.disconnect()) }()
	in, err := r.beginImport(ctx)
	if err != nil {
		return 0, err
	}
	for e, err := range entries {
		if err == nil {
			err = in.add(ctx, e)
		}
		if err != nil {
			return in.n, err
		}
	}
	return in.n, in.finish(ctx, format)
}

// importer fills a place that it has marked.
type importer struct {
	raw
	mark  string
	ops   []clientv3.Op
	bytes int
	n     int
}

func (r raw) beginImport(ctx context.Context) (*importer, error) {
	in := &importer{raw: r, mark: importing + newMark()}
	was, err := r.format(ctx)
	if err != nil {
		return nil, err
	}
	if was != "" && !strings.HasPrefix(was, importing) {
		return nil, errors.New("there is a state in it: import into an empty place")
	}
	key := r.keys.format()
	same := clientv3.Compare(clientv3.Value(key), "=", was)
	if was == "" {
		same = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	err = in.commit(ctx, []clientv3.Cmp{same}, clientv3.OpPut(key, in.mark))
	if err != nil || was == "" {
		return in, err
	}
	// What the import before has written goes.
	return in, in.commit(ctx, in.mine(), clientv3.OpDelete(r.keys.data(), clientv3.WithRange(prefixEnd(r.keys.data()))))
}

func (in *importer) mine() []clientv3.Cmp {
	return []clientv3.Cmp{clientv3.Compare(clientv3.Value(in.keys.format()), "=", in.mark)}
}

func (in *importer) commit(ctx context.Context, when []clientv3.Cmp, then ...clientv3.Op) error {
	ctx, cancel := context.WithTimeout(ctx, in.opt.RequestTimeout)
	defer cancel()
	resp, err := in.client.Txn(ctx).If(when...).Then(then...).Commit()
	if err != nil {
		return fmt.Errorf("write: %w", silence(err))
	}
	if !resp.Succeeded {
		return errors.New("another process has begun to use the same place")
	}
	return nil
}

func (in *importer) add(ctx context.Context, e store.Entry) error {
	key := in.keys.abs(keyOf(e))
	size := len(key) + len(e.Value) + opOverhead
	if len(in.ops) > 0 && (len(in.ops)+1 > in.opt.MaxTxnOps || in.bytes+size+slotAllowance > in.opt.MaxRequestBytes) {
		if err := in.flush(ctx); err != nil {
			return err
		}
	}
	in.bytes += size
	in.ops = append(in.ops, clientv3.OpPut(key, e.Value))
	in.n++
	return nil
}

func (in *importer) flush(ctx context.Context) error {
	ops := in.ops
	in.ops, in.bytes = nil, 0
	if len(ops) == 0 {
		return nil
	}
	return in.commit(ctx, in.mine(), ops...)
}

// finish makes a state of what was written.
func (in *importer) finish(ctx context.Context, format int) error {
	if err := in.flush(ctx); err != nil {
		return err
	}
	return in.commit(ctx, in.mine(), clientv3.OpPut(in.keys.format(), strconv.Itoa(format)))
}
