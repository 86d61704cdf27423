package site_test

import (
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// TestOtherPortsOfAHost: what a host says of ports that are not bound, by network and MAC:
// a router's port that lacks rows is in status ERROR until it does not, or the host's agent
// connects anew.
func TestOtherPortsOfAHost(t *testing.T) {
	f := newSite(t)
	ctx := t.Context()
	if err := f.RegisterHost(ctx, site.Session{Host: "host1", Controller: "c1", Number: 1}); err != nil {
		t.Fatal(err)
	}
	net := f.network(model.NetworkOverlay)
	sub := f.subnet(net.ID, "10.0.0.0/24")
	r := f.router()
	i, err := f.AddInterface(ctx, string(r.ID), string(sub.ID), "")
	if err != nil {
		t.Fatal(err)
	}
	status := func() (model.PortStatus, string, *model.Port) {
		t.Helper()
		snap, err := f.View(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p := store.Get(snap, store.Ports, string(i.PortID))
		return site.PortStatus(snap, p), site.PortReason(snap, p), p
	}
	_, _, p := status()
	say := func(st model.PortStatus, why string, mac model.MAC) {
		t.Helper()
		if err := f.SetPortStates(ctx, "host1", []model.PortState{{PortID: model.PortID(string(net.ID) + "/" + mac.String()), Status: st, Reason: why}}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(st model.PortStatus, why string) {
		t.Helper()
		if got, words, _ := status(); got != st || words != why {
			t.Errorf("%s %q, want %s %q", got, words, st, why)
		}
	}
	want(model.PortActive, "")
	say(model.PortError, "map routes is full", p.MAC.MAC)
	want(model.PortError, "map routes is full")
	say(model.PortError, "nobody's", model.MAC{2, 3, 4, 5, 6, 7})
	say(model.PortActive, "", p.MAC.MAC)
	want(model.PortActive, "")
	say(model.PortError, "map routes is full", p.MAC.MAC)
	if err := f.ForgetOthers(ctx, []model.PortID{p.ID}, "host0", "host2"); err != nil {
		t.Fatal(err)
	}
	want(model.PortError, "map routes is full")
	if err := f.ForgetOthers(ctx, []model.PortID{p.ID}, "host0", "host1"); err != nil {
		t.Fatal(err)
	}
	want(model.PortActive, "")
	say(model.PortError, "map routes is full", p.MAC.MAC)
	if _, err := f.RemoveInterface(ctx, string(r.ID), string(sub.ID), ""); err != nil {
		t.Fatal(err)
	}
}

// TestPortReason: what a host says of a bound port, as long as the port itself is up.
func TestPortReason(t *testing.T) {
	f := newSite(t)
	net := f.network(model.NetworkOverlay)
	p := f.port(net.ID, func(in *site.PortInput) { in.HostID = "host1" })
	session := site.Session{Host: "host1", Controller: "c1", Number: 1}
	say := func(st model.PortStatus, why string) {
		t.Helper()
		f.ok(f.SetPortStates(f.Context(), "host1", []model.PortState{{PortID: p.ID, Status: st, Reason: why}}))
	}
	want := func(why string) {
		t.Helper()
		snap, err := f.View(f.Context())
		f.ok(err)
		if got := site.PortReason(snap, store.Get(snap, store.Ports, string(p.ID))); got != why {
			t.Errorf("%q, want %q", got, why)
		}
	}
	want("no agent of host host1 has connected yet")
	f.ok(f.RegisterHost(f.Context(), session))
	want("")
	say(model.PortDown, "interface tap1 does not exist on host host1")
	want("interface tap1 does not exist on host host1")
	say(model.PortActive, "")
	want("")
	news, err := f.HostGone(f.Context(), site.Signs{Host: "host1", Controller: "c1", Session: 1})
	f.ok(err)
	gone := site.PortReason(f.view(), store.Get(f.view(), store.Ports, string(p.ID)))
	if st := site.PortStatus(f.view(), store.Get(f.view(), store.Ports, string(p.ID))); !news || st != model.PortDown || !strings.HasPrefix(gone, "the agent of host host1 is away") {
		t.Errorf("%v: %s, %q", news, st, gone)
	}
	_, err = f.HostBack(f.Context(), session)
	f.ok(err)
	want("")
	say(model.PortDown, "interface tap1 does not exist on host host1")
	_, err = f.UpdatePort(f.Context(), string(p.ID), func(in *site.PortInput) error { in.AdminStateUp = false; return nil })
	f.ok(err)
	want("")
}
