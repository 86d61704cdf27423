package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/archive"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
)

// StateSummary is what there is in a site's state.
type StateSummary struct {
	Objects, Networks, Routers, Ports, Hosts int
	Format                                   int
	// Problems is what is not sound; see site.Check.
	Problems []string
}

// String is one line for people.
func (s StateSummary) String() string {
	return fmt.Sprintf("%d networks, %d routers, %d ports, %d hosts; %d objects of all kinds, format %d", s.Networks, s.Routers, s.Ports, s.Hosts, s.Objects, s.Format)
}

func (s *StateSummary) count(e store.Entry) {
	if e.Kind == "" {
		return
	}
	s.Objects++
	switch e.Kind {
	case store.Networks.Kind():
		s.Networks++
	case store.Routers.Kind():
		s.Routers++
	case store.Ports.Kind():
		s.Ports++
	case store.Hosts.Kind():
		s.Hosts++
	}
}

// ExportState writes the state that the settings name, as it is. by is the program's version.
func ExportState(ctx context.Context, c config.Controller, w io.Writer, by string, log *slog.Logger) (sum StateSummary, err error) {
	opts, err := storeOptions(c, log)
	if err != nil {
		return sum, err
	}
	from, err := etcdstore.OpenExporter(ctx, opts)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	sum.Format = from.Format
	var out *archive.Writer
	begin := func(rev int64) (err error) {
		out, err = archive.NewWriter(w, archive.Header{StateFormat: from.Format, Revision: rev, Made: time.Now().UTC().Truncate(time.Second), By: by})
		return err
	}
	err = from.Entries(ctx, begin, func(e store.Entry) error {
		sum.count(e)
		return out.Add(e)
	})
	if err != nil {
		return sum, err
	}
	_, err = out.Close()
	return sum, err
}

// ImportState reads a state into the empty place that the settings name, and verifies it.
func ImportState(ctx context.Context, c config.Controller, r io.Reader, log *slog.Logger) (sum StateSummary, err error) {
	opts, err := storeOptions(c, log)
	if err != nil {
		return sum, err
	}
	in, err := archive.NewReader(r)
	if err != nil {
		return sum, err
	}
	if _, err := etcdstore.Import(ctx, opts, in.Header.StateFormat, moved(in.Entries())); err != nil {
		return sum, err
	}
	return verify(ctx, opts)
}

// moved are the entries as another store is to have them.
func moved(in iter.Seq2[store.Entry, error]) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for e, err := range in {
			ok := err == nil
			if ok {
				e, ok, err = site.Moved(e)
			}
			if (ok || err != nil) && !yield(e, err) {
				return
			}
		}
	}
}

// VerifyState looks at the state that the settings name. One of an older format is refused, since
// opening it would bring it to this version's.
func VerifyState(ctx context.Context, c config.Controller, log *slog.Logger) (sum StateSummary, err error) {
	opts, err := storeOptions(c, log)
	if err != nil {
		return sum, err
	}
	from, err := etcdstore.OpenExporter(ctx, opts)
	if err != nil {
		return sum, err
	}
	if err := from.Close(); err != nil {
		return sum, err
	}
	if newest := 1 + len(opts.Migrations); from.Format != newest {
		return sum, fmt.Errorf("the state has format %d, and verifying it in its place would bring it to %d: export it, and verify the file", from.Format, newest)
	}
	return verify(ctx, opts)
}

func verify(ctx context.Context, opts etcdstore.Options) (sum StateSummary, err error) {
	st, err := etcdstore.Open(ctx, opts)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	snap, err := st.View(ctx)
	if err != nil {
		return sum, err
	}
	sum.Format = 1 + len(opts.Migrations)
	for _, kind := range store.Kinds() {
		for id := range snap.List(kind) {
			sum.count(store.Entry{Kind: kind, ID: id})
		}
	}
	sum.Problems = site.Check(snap)
	return sum, nil
}
