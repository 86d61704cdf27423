package controller

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/store"
)

// TestStateIsCarried exports the state of a site that has a host, imports it into another place, and starts
// a controller there: the resources are there, the state is sound, and what the host had
// applied of the old store says nothing in the new one.
func TestStateIsCarried(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := socketDir(t)
	l := startWith(t, dir, func(*config.Controller) {})
	l.network("carried")
	a := l.agent()
	a.waitFull(t, 1)
	a.stop()
	running := config.Controller{DataDir: filepath.Join(dir, "data")}
	var backup bytes.Buffer
	if sum, err := ExportState(t.Context(), running, &backup, "test", log); err != nil || sum.Networks != 1 || sum.Hosts != 1 {
		t.Errorf("exported while it runs: %v %v", sum, err)
	}
	restored := config.Controller{DataDir: filepath.Join(socketDir(t), "data")}
	if sum, err := ImportState(t.Context(), restored, &backup, log); err != nil || len(sum.Problems) != 0 || sum.Networks != 1 {
		t.Errorf("restored: %v %v", sum, err)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	from := config.Controller{DataDir: filepath.Join(dir, "data")}
	var file bytes.Buffer
	sum, err := ExportState(t.Context(), from, &file, "test", log)
	if err != nil || sum.Networks != 1 || sum.Hosts != 1 {
		t.Fatal(sum, err)
	}
	if !strings.Contains(file.String(), `"name":"carried"`) {
		t.Error("the network is not in the file")
	}
	if sum, err := VerifyState(t.Context(), from, log); err != nil || len(sum.Problems) != 0 || sum.Networks != 1 {
		t.Errorf("verified in its place: %v %v", sum, err)
	}

	other := socketDir(t)
	to := config.Controller{DataDir: filepath.Join(other, "data")}
	got, err := ImportState(t.Context(), to, bytes.NewReader(file.Bytes()), log)
	if err != nil || len(got.Problems) != 0 || got.Networks != 1 || got.Hosts != 1 || got.Format != sum.Format {
		t.Fatal(got, err)
	}
	if _, err := ImportState(t.Context(), to, bytes.NewReader(file.Bytes()), log); err == nil || !strings.Contains(err.Error(), "there is a state in it") {
		t.Errorf("imported twice: %v", err)
	}
	now := startWith(t, other, func(*config.Controller) {})
	if found := now.do("GET", "/v2.0/networks?name=carried", nil, 200)["networks"].([]any); len(found) != 1 {
		t.Errorf("after the import: %v", found)
	}
	snap, err := now.st.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h := store.Get(snap, store.Hosts, "h0"); h == nil || h.AckedRevision != 0 || h.Controller != "" {
		t.Errorf("the host: %+v", h)
	}
	for c := range store.All(snap, store.Controllers) {
		if c.AckedRevision != 0 || c.Sessions != 0 {
			t.Errorf("a controller of the old place vouches in the new one: %+v", c)
		}
	}
}
