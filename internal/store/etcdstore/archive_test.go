package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// exported is a state as it is.
func exported(t *testing.T, opt Options) (format int, entries []store.Entry) {
	t.Helper()
	e, err := OpenExporter(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	err = e.Entries(t.Context(), func(rev int64) error {
		if rev <= 0 {
			t.Errorf("revision %d", rev)
		}
		return nil
	}, func(e store.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
	return e.Format, entries
}

func without(err error, entries []store.Entry) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(store.Entry{}, err)
		}
	}
}

func byPath(entries []store.Entry) map[string]string {
	out := map[string]string{}
	for _, e := range entries {
		out[keyOf(e)] = e.Value
	}
	return out
}

// TestStateMoves takes a state of the first release to a cluster, which brings it to the newest
// format, and from there to an embedded store: nothing is lost, and it is sound at each place.
func TestStateMoves(t *testing.T) {
	dir, first := firstRelease(t)
	format, entries := exported(t, Options{DataDir: dir, Migrations: site.Migrations()})
	if format != 1 {
		t.Fatalf("exported in format %d: the state was changed for it", format)
	}
	_, cluster := startCluster(t, 3)
	cluster.Prefix, cluster.Migrations = "/moved/", site.Migrations()
	if n, err := Import(t.Context(), cluster, format, without(nil, entries)); n != len(entries) || err != nil {
		t.Fatal(n, err)
	}
	s := openAt(t, cluster)
	sound(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	newest, there := exported(t, cluster)
	if newest != 1+len(site.Migrations()) {
		t.Errorf("format %d after an opening", newest)
	}
	now := byPath(there)
	// What was imported came to where its own place comes to.
	in := Options{DataDir: dir, Migrations: site.Migrations()}
	if err := openAt(t, in).Close(); err != nil {
		t.Fatal(err)
	}
	if f, want := exported(t, in); len(first) == 0 || f != newest || !maps.Equal(byPath(want), now) {
		t.Errorf("%d keys of %d became %d there", len(want), len(entries), len(now))
	}
	back := Options{DataDir: t.TempDir(), Migrations: site.Migrations()}
	if _, err := Import(t.Context(), back, newest, without(nil, there)); err != nil {
		t.Fatal(err)
	}
	if _, again := exported(t, back); !maps.Equal(byPath(again), now) {
		t.Error("back in an embedded store, the state is another")
	}
	sound(t, openAt(t, back))
}

// TestImportThatFails: what an import has written that did not come to its end is no state, until
// another has come to its own; and that has none of the first one's entries.
func TestImportThatFails(t *testing.T) {
	dir, _ := firstRelease(t)
	format, entries := exported(t, Options{DataDir: dir, Migrations: site.Migrations()})
	opt := Options{DataDir: t.TempDir(), Migrations: site.Migrations(), MaxTxnOps: 7}
	failure := errors.New("the file is cut off")
	if _, err := Import(t.Context(), opt, format, without(failure, entries)); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), opt); !errors.Is(err, errImporting) {
		t.Errorf("opened: %v, %v", s, err)
	}
	if _, err := OpenExporter(t.Context(), opt); !errors.Is(err, errImporting) {
		t.Errorf("exported: %v", err)
	}
	some := entries[len(entries)/2:]
	if _, err := Import(t.Context(), opt, format, without(nil, some)); err != nil {
		t.Fatal(err)
	}
	if f, got := exported(t, opt); f != format || !maps.Equal(byPath(got), byPath(some)) {
		t.Errorf("format %d, %d entries; want %d", f, len(got), len(some))
	}
}

// TestImportTakesNothingAway: a place with a state, also one of this very moment, and a format of
// a later version are refused.
func TestImportTakesNothingAway(t *testing.T) {
	dir, _ := firstRelease(t)
	opt := Options{DataDir: dir, Migrations: site.Migrations()}
	_, before := exported(t, opt)
	if _, err := Import(t.Context(), opt, 1, without(nil, before[:1])); err == nil || !strings.Contains(err.Error(), "there is a state in it") {
		t.Errorf("into a state: %v", err)
	}
	if _, after := exported(t, opt); !maps.Equal(byPath(before), byPath(after)) {
		t.Error("the refused import has changed the state")
	}
	if _, err := Import(t.Context(), Options{DataDir: t.TempDir()}, 2, without(nil, nil)); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("a later format: %v", err)
	}
	if _, err := OpenExporter(t.Context(), Options{DataDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "there is no state in it") {
		t.Errorf("exported from nothing: %v", err)
	}

	// Somebody else begins meanwhile: the first one writes nothing more.
	_, cluster := startCluster(t, 1)
	during := func(yield func(store.Entry, error) bool) {
		if !yield(before[0], nil) {
			return
		}
		if _, err := Import(t.Context(), cluster, 1, without(nil, before[1:2])); err != nil {
			t.Error(err)
		}
		yield(before[2], nil)
	}
	if _, err := Import(t.Context(), cluster, 1, during); err == nil || !strings.Contains(err.Error(), "another process has begun") {
		t.Errorf("two at once: %v", err)
	}
	if _, got := exported(t, cluster); !maps.Equal(byPath(got), byPath(before[1:2])) {
		t.Errorf("two at once left %v", byPath(got))
	}
}

// TestReadSocket: what another process has is exported while it writes, and of one moment; at the
// socket nothing can be written, watched or changed of the members.
func TestReadSocket(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "cw") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	opt := Options{DataDir: dir, ReadSocket: true}
	s := openAt(t, opt)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // two objects at a time, so that half a transaction would show
		for i := 0; ; i++ {
			_, err := s.Update(ctx, func(tx store.Tx) error {
				id := fmt.Sprint(i)
				store.Put(tx, store.Networks, id, &model.Network{ID: model.NetworkID(id)})
				store.Put(tx, store.Subnets, id, &model.Subnet{ID: model.SubnetID(id)})
				return nil
			})
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for range 20 {
		_, entries := exported(t, opt)
		kinds := map[store.Kind]int{}
		for _, e := range entries {
			kinds[e.Kind]++
		}
		if kinds[store.Networks.Kind()] != kinds[store.Subnets.Kind()] {
			t.Errorf("half a transaction: %v", kinds)
		}
	}
	stop()
	if err := <-done; ctx.Err() == nil {
		t.Error(err)
	}
	other, err := connect(Options{Endpoints: []string{"unix://" + readSocket(dir)}, RequestTimeout: s.opt.RequestTimeout, Logger: s.log})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	short, cancel := context.WithTimeout(t.Context(), s.opt.RequestTimeout)
	defer cancel()
	if _, err := other.Put(short, s.keys.format(), "9"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a write: %v", err)
	}
	if _, err := other.Grant(short, 10); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a lease: %v", err)
	}
	if _, err := other.MemberList(short); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the members: %v", err)
	}
	stream, err := pb.NewWatchClient(other.ActiveConnection()).Watch(short)
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a watch: %v", err)
	}
}
