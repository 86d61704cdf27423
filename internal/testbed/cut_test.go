package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestSeveralControllers: a site's controllers and etcd members are processes of namespaces of their own, on
// one network with the hosts, of which ways are cut and mended one by one.
func TestSeveralControllers(t *testing.T) {
	testutil.RequireRoot(t)
	name := fmt.Sprintf("tb-%d-ctl", os.Getpid())
	l, err := Up(t.Context(), exampleFile(t, "controllers.yaml", name), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(name); err != nil && !errors.Is(err, ErrNoLab) {
			t.Error(err)
		}
	})
	reach := func(from string, to netip.Addr) bool {
		t.Helper()
		ns, err := l.NetNS(from)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		res, err := probe.Ping(t.Context(), ns, to, probe.PingOptions{Count: 1, Timeout: 500 * time.Millisecond})
		return err == nil && res.OK()
	}
	core, c1, c2 := netip.MustParseAddr("172.16.11.1"), l.controlIP("a-c1"), l.controlIP("a-c2")
	want := func(when string, what map[string]bool) {
		t.Helper()
		for words, want := range what {
			from, to, _ := strings.Cut(words, " ")
			if got := reach(from, netip.MustParseAddr(to)); got != want {
				t.Errorf("%s: %s reaches %s: %v, want %v", when, from, to, got, want)
			}
		}
	}
	between := func(c1c2, a1c1, a1core bool) map[string]bool {
		return map[string]bool{"a-c1 " + c2.String(): c1c2, "a-c2 " + c1.String(): c1c2, "a1 " + c1.String(): a1c1, "a1 " + core.String(): a1core, "a-e1 " + c2.String(): true}
	}
	status := func(when string, ok bool, cuts int) {
		t.Helper()
		st, err := l.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.OK != ok || len(st.Cuts) != cuts || len(st.Sites[0].Controllers) != 3 || len(st.Sites[0].Etcd) != 3 {
			b, _ := json.MarshalIndent(st, "", " ")
			t.Errorf("%s: %s", when, b)
		}
	}
	change := func(do func() ([]Cut, error), n int) {
		t.Helper()
		if got, err := do(); err != nil || len(got) != n {
			t.Errorf("cut or mended %v, %v; want %d", got, err, n)
		}
	}
	want("at first", between(true, true, true))
	status("at first", true, 0)
	change(func() ([]Cut, error) { return l.Cut(t.Context(), "a-c1", "a-c2") }, 1)
	change(func() ([]Cut, error) { return l.Cut(t.Context(), "a-c2", "a-c1") }, 0)
	change(func() ([]Cut, error) { return l.Cut(t.Context(), "core", "a1") }, 1)
	want("two ways cut", between(false, true, false))
	status("two ways cut", false, 2)
	change(func() ([]Cut, error) { return l.Cut(t.Context(), "a-c1", "") }, 7) // all but what is cut: two controllers, three members, three hosts
	want("a controller cut off", between(false, false, false))
	if _, err := l.Client(t.Context(), "a-c1"); err != nil {
		t.Errorf("the API of a controller that is cut off: %v", err)
	}
	change(func() ([]Cut, error) { return l.Heal(t.Context(), "a-c1", "a1") }, 1)
	want("one way mended", between(false, true, false))
	change(func() ([]Cut, error) { return l.Heal(t.Context(), "", "") }, 8)
	want("all mended", between(true, true, true))
	status("all mended", true, 0)
	if _, err := l.Cut(t.Context(), "a1", "nobody"); err == nil || !strings.Contains(err.Error(), "a-e3") {
		t.Errorf("a node that is not there: %v", err)
	}
	if _, err := l.Cut(t.Context(), "core", "a-c1"); err == nil || !strings.Contains(err.Error(), "no link of core and a-c1") {
		t.Errorf("two that have no way: %v", err)
	}
	for _, s := range []struct {
		kind Kind
		name string
	}{{KindEtcd, "a-e2"}, {KindController, "a-c2"}} {
		if err := l.KillServer(t.Context(), s.kind, s.name); err != nil {
			t.Error(err)
		}
		status(s.name+" killed", false, 0)
		if err := l.RestartServer(t.Context(), s.kind, s.name); err != nil {
			t.Error(err)
		}
		status(s.name+" again", true, 0)
	}
	if err := l.KillServer(t.Context(), KindAgent, "a-c1"); err == nil || !strings.Contains(err.Error(), `no agent "a-c1"; it has a1, a2`) {
		t.Errorf("kill what is no agent: %v", err)
	}
	if err := Down(name); err != nil {
		t.Error(err)
	}
	wantGone(t, name)
}
