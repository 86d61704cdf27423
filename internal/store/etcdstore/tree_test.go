package etcdstore

import (
	"net/netip"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// TestFamilies: keys are kept by family, and what was given out stays as it was.
func TestFamilies(t *testing.T) {
	for rel, want := range map[string][2]string{
		"network/a": {"network/", "a"}, "ix/mac/n/x": {"ix/mac/", "n/x"}, "ix/mac/": {"ix/mac/", ""}, "meta/gone/ix/mac": {"meta/", "gone/ix/mac"}, "odd": {"", "odd"},
	} {
		if name, key := familyOf(rel); name != want[0] || key != want[1] {
			t.Errorf("%s: %q, %q", rel, name, key)
		}
	}
	var m master
	m.write("network/").Set("a", &item{rev: 1})
	before := m.copy()
	m.write("network/").Set("a", &item{rev: 2})
	m.write("ix/mac/").Set("x", &item{rev: 2, what: "a"})
	after := m.copy()
	if it, _ := before.Get("network/a"); it == nil || it.rev != 1 {
		t.Errorf("what was given out has %+v", it)
	}
	if _, ok := before.Get("ix/mac/x"); ok {
		t.Error("what was given out has got a family")
	}
	if it, _ := after.Get("ix/mac/x"); it == nil || it.text() != "a" {
		t.Errorf("the copy has %+v", it)
	}
	if now := m.copy(); now.families[0] != after.families[0] {
		t.Error("a family was copied that nobody has written to")
	}
}

// TestSharedTexts: ports have one copy of the texts that are the same for many, and what
// the port before had stays untouched.
func TestSharedTexts(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	// What ports share that come one by one is known until memory is collected.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	copyOf := func(s string) string { return string([]byte(s)) }
	ips := []model.AddrPair{{SubnetID: model.SubnetID(copyOf("subnet")), IP: netip.MustParseAddr("10.0.0.1")}}
	was := unsafe.StringData(string(ips[0].SubnetID))
	for _, id := range []string{"a", "b"} {
		p := &model.Port{ID: model.PortID(copyOf(id)), NetworkID: model.NetworkID(copyOf("network")), FixedIPs: ips}
		if _, err := s.Update(t.Context(), func(tx store.Tx) error {
			store.Put(tx, store.Ports, id, p)
			tx.SetIndex("port", id, id)
			tx.SetIndex("also", id, id)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if unsafe.StringData(string(ips[0].SubnetID)) != was {
		t.Error("a list was written to that the store was not given alone")
	}
	same := func() {
		t.Helper()
		v, err := s.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, b := store.Get(v, store.Ports, "a"), store.Get(v, store.Ports, "b")
		if unsafe.StringData(string(a.NetworkID)) != unsafe.StringData(string(b.NetworkID)) || unsafe.StringData(string(a.FixedIPs[0].SubnetID)) != unsafe.StringData(string(b.FixedIPs[0].SubnetID)) {
			t.Error("two ports have two copies of a network's or subnet's id")
		}
		for id, o := range v.List(store.Ports.Kind()) {
			if unsafe.StringData(id) != unsafe.StringData(string(o.(*model.Port).ID)) {
				t.Errorf("the key of port %s has a copy of its id", id)
			}
		}
	}
	same()
	if err := s.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	same()
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, _ := v.Lookup("port", "a")
	second, _ := v.Lookup("also", "a")
	if id := string(store.Get(v, store.Ports, "a").ID); first != "a" || unsafe.StringData(first) != unsafe.StringData(id) || unsafe.StringData(second) != unsafe.StringData(id) {
		t.Error("entries that name a port have copies of its id")
	}
}
