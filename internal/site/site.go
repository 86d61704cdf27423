package site

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// DefaultUnderlayMTU is the underlay's IP MTU where none is configured.
const DefaultUnderlayMTU = 1500

// Options configure a Site. The zero value is usable.
type Options struct {
	// UnderlayMTU is the largest IP packet the underlay carries, in bytes; 0
	// means DefaultUnderlayMTU.
	UnderlayMTU int
	// Quotas are the limits of projects that have none of their own, by resource
	// (QuotaNetwork …); what is not named is unlimited.
	Quotas map[string]int64
	// Limits bound single resources.
	Limits Limits
	// Logger takes warnings about accepted but suspicious requests; nil means
	// slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Site runs operations against one store. Any number of Sites, in any number of
// processes, may share a store.
type Site struct {
	st  store.Store
	mtu int
	// quotas are the default limits.
	quotas map[string]int64
	limits Limits
	now    func() time.Time
	warn   warnings
	freed  tombstones
}

// New makes a Site. It keeps st but does not close it.
func New(st store.Store, opts Options) *Site {
	s := &Site{st: st, mtu: opts.UnderlayMTU, quotas: opts.Quotas, limits: opts.Limits.withDefaults(), now: opts.Now, warn: warnings{opts.Logger},
		freed: tombstones{pending: map[string]int64{}}}
	if s.mtu == 0 {
		s.mtu = DefaultUnderlayMTU
	}
	if s.warn.log == nil {
		s.warn.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// View is the store's View: a snapshot with every write acknowledged before.
func (s *Site) View(ctx context.Context) (store.Snapshot, error) { return s.st.View(ctx) }

// warnings logs what is accepted but deserves a second look.
type warnings struct{ log *slog.Logger }

func (w warnings) groupMAC(what string, id string, mac model.NamedMAC) {
	if mac.IsGroup() {
		w.log.Warn("MAC address has the group bit set; other network stacks may flood or drop its frames",
			"resource", what, "id", id, "mac_address", mac.String())
	}
}

// tx is a transaction with what the rules need besides.
type tx struct {
	store.Tx
	s     *Site
	now   time.Time
	sees  func(store.Reader, store.Kind, store.Object) bool // nil: everything
	owns  func(model.ProjectID) bool                        // nil: every project's
	freed []string                                          // names of keys whose resources go
}

func (s *Site) update(ctx context.Context, fn func(*tx) error) error {
	var last *tx
	access := accessOf(ctx)
	done, err := s.st.Update(ctx, func(t store.Tx) error {
		last = &tx{Tx: t, s: s, now: s.now().UTC().Truncate(time.Second), sees: access.Sees, owns: access.Owns}
		if access.Check != nil {
			if err := access.Check(t); err != nil {
				return err
			}
		}
		return fn(last)
	})
	if err == nil {
		s.freed.add(last.freed, done.Revision)
	}
	if err == nil && access.Done != nil {
		access.Done(done.Snapshot)
	}
	return err
}

// find reads an object that must exist. One that the request names is looked for in
// the tx, where it must be visible to whoever asks; one that the site's own objects
// refer to, in tx.Tx.
func find[M any](r store.Reader, table store.Table[M], id string, notFound func(string) *model.Error) (*M, error) {
	o := store.Get(r, table, id)
	if o == nil {
		return nil, notFound(id)
	}
	if t, ok := r.(*tx); ok && t.sees != nil && !t.sees(t.Tx, table.Kind(), o) {
		return nil, notFound(id)
	}
	return o, nil
}

// stamp fills what every new resource has.
func (t *tx) stamp(st *model.Standard, revision int64) {
	st.Revision = revision
	st.CreatedAt, st.UpdatedAt = t.now, t.now
}

// touch marks a changed resource.
func (t *tx) touch(st *model.Standard) {
	st.Revision++
	st.UpdatedAt = t.now
}

// first returns the first key part after prefix in an index, "" if there is none.
func first(t store.Reader, ix store.Index, prefix string) string {
	for k := range t.Scan(ix, prefix) {
		return k[len(prefix):]
	}
	return ""
}

// suffixes collects what follows prefix in the keys of an index.
func suffixes(t store.Reader, ix store.Index, prefix string) []string {
	var out []string
	for k := range t.Scan(ix, prefix) {
		out = append(out, k[len(prefix):])
	}
	return out
}

// join makes a key of ids and of what writes itself.
func join(parts ...any) string {
	var few [8]string
	texts := few[:0]
	for _, p := range parts {
		texts = append(texts, text(p))
	}
	return strings.Join(texts, "/")
}

func text(p any) string {
	if _, ok := p.(fmt.Stringer); !ok {
		if v := reflect.ValueOf(p); v.Kind() == reflect.String {
			return v.String() // as fmt writes it, but in much less time
		}
	}
	return fmt.Sprint(p)
}
