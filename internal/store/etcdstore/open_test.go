package etcdstore

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

func TestSmoke(t *testing.T) {
	start := time.Now()
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(context.Background(), Options{DataDir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	t.Log("open", time.Since(start))
	ctx := context.Background()
	_, ch, err := s.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	rev, err := s.Update(ctx, func(tx store.Tx) error {
		tx.Put(store.Networks, "n1", &model.Network{ID: "n1", MTU: 1400})
		tx.SetIndex("name", "x", "n1")
		return nil
	})
	t.Log("update", time.Since(start), rev, err)
	b := <-ch
	t.Logf("%+v", b)
	start = time.Now()
	v, err := s.View(ctx)
	t.Log("view", time.Since(start), err)
	t.Log(store.Get[model.Network](v, store.Networks, "n1"))
	start = time.Now()
	t.Log(s.Close(), time.Since(start))
	start = time.Now()
	s = open()
	t.Log("open", time.Since(start))
	v, err = s.View(ctx)
	t.Log(store.Get[model.Network](v, store.Networks, "n1"), err)
	s.Close()
}
