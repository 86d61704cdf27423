package etcdstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// firstRelease makes a data directory with what the first release left of a site
// with one complete peering. testdata/format1.txt was made by that release, through
// its API, and never changes.
func firstRelease(t *testing.T) (dir string, entries map[string]string) {
	t.Helper()
	b, err := os.ReadFile("testdata/format1.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir, entries = t.TempDir(), map[string]string{}
	s := openAt(t, Options{DataDir: dir})
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if !ok {
			t.Fatalf("no key and value: %q", line)
		}
		entries[key] = value
		if _, err := s.client.Put(t.Context(), s.keys.prefix+key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, entries
}

// api calls the API over a store.
type api struct {
	t testing.TB
	h *neutronapi.API
}

func newAPI(t testing.TB, s *Store) *api {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &api{t, neutronapi.New(site.New(s, site.Options{Logger: log}), neutronapi.Options{Logger: log})}
}

// call wants success and returns the object inside.
func (a *api) call(method, path, body string) map[string]any {
	a.t.Helper()
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, httptest.NewRequest(method, "http://site/v2.0/"+path, strings.NewReader(body)))
	if w.Code >= 300 {
		a.t.Fatalf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
	}
	var out map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			a.t.Fatal(err)
		}
	}
	for _, v := range out {
		if m, ok := v.(map[string]any); ok && len(out) == 1 {
			return m
		}
	}
	return out
}

func (a *api) ids(path, key string) (out []string) {
	a.t.Helper()
	for _, x := range a.call("GET", path, "")[key].([]any) {
		out = append(out, x.(map[string]any)["id"].(string))
	}
	return out
}

func (a *api) id(path, key string) string {
	a.t.Helper()
	ids := a.ids(path, key)
	if len(ids) != 1 {
		a.t.Fatalf("%s: %v", path, ids)
	}
	return ids[0]
}

func sound(t testing.TB, s *Store) {
	t.Helper()
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range site.Check(v) {
		t.Error(p)
	}
}

// What the first release left is there, whole, and goes on working.
func TestFirstRelease(t *testing.T) {
	dir, old := firstRelease(t)
	s := openAt(t, Options{DataDir: dir, Migrations: site.Migrations()})
	sound(t, s)
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Every object says what it said.
	objects := 0
	for key, value := range old {
		kind, id := splitObjectKey(strings.TrimPrefix(key, "v1/"))
		empty, err := store.Kind(kind).New()
		if err != nil {
			continue
		}
		objects++
		if err := json.Unmarshal([]byte(value), empty); err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(empty)
		got, _ := json.Marshal(v.Get(store.Kind(kind), id))
		if !bytes.Equal(want, got) {
			t.Errorf("%s %s: %s, want %s", kind, id, got, want)
		}
		var had, has map[string]any
		_ = json.Unmarshal([]byte(value), &had)
		_ = json.Unmarshal(got, &has)
		for k, x := range had {
			if fmt.Sprint(has[k]) != fmt.Sprint(x) {
				t.Errorf("%s %s: %s is %v, was %v", kind, id, k, has[k], x)
			}
		}
	}
	if objects != 21 {
		t.Errorf("%d objects", objects)
	}

	a := newAPI(t, s)
	for path, n := range map[string]int{"networks": 3, "subnets": 3, "ports": 5, "routers": 2, "subnetpools": 0} {
		if ids := a.ids(path, path); len(ids) != n {
			t.Errorf("%d %s, want %d", len(ids), path, n)
		}
	}
	dev := a.id("gw/gateway_devices", "gateway_devices")
	lg := a.id("l2-gateways", "l2_gateways")
	conn := a.id("l2-gateway-connections", "l2_gateway_connections")
	net := a.id("networks?name=SiteATenantNetwork&tags=blue,red", "networks")
	vm := a.id("ports?name=vm", "ports")
	router := a.id("routers?name=SiteATenantRouter", "routers")
	if p := a.call("GET", "ports/"+vm, ""); p["status"] != "ACTIVE" || p["revision_number"] != 1.0 {
		t.Errorf("the workload's port: %v", p)
	}
	if p := a.call("GET", "ports/"+a.id("ports?device_owner=network:remote-site", "ports"), ""); p["mac_address"] != "6F:E4:5A:FA:8E:09" {
		t.Errorf("the remote-site port: %v", p)
	}
	// Quotas count what is there.
	if q := a.call("GET", "quotas/acme/details", ""); fmt.Sprint(q["port"]) != "map[limit:-1 reserved:0 used:4]" {
		t.Errorf("ports of acme: %v", q)
	}
	// It goes on: changes, additions, and everything taken down in order.
	a.call("PUT", "networks/"+net, `{"network":{"name":"renamed"}}`)
	a.call("PUT", "ports/"+vm, `{"port":{"fixed_ips":[{"ip_address":"10.0.0.33"}]}}`)
	a.call("POST", "ports", fmt.Sprintf(`{"port":{"network_id":%q,"tenant_id":"acme"}}`, net))
	a.call("PUT", "routers/"+router+"/add_extraroutes", `{"router":{"routes":[{"destination":"10.0.2.0/24","nexthop":"192.168.0.2"}]}}`)
	sound(t, s)
	a.call("PUT", "routers/"+router, `{"router":{"routes":null}}`)
	a.call("DELETE", "gw/gateway_devices/"+dev+"/remote_mac_entries/"+a.id("gw/gateway_devices/"+dev+"/remote_mac_entries", "remote_mac_entries"), "")
	a.call("DELETE", "l2-gateway-connections/"+conn, "")
	a.call("DELETE", "l2-gateways/"+lg, "")
	a.call("DELETE", "gw/gateway_devices/"+dev, "")
	for _, r := range a.ids("routers", "routers") {
		for _, p := range a.ids("ports?device_owner=network:router_interface&device_id="+r, "ports") {
			a.call("PUT", "routers/"+r+"/remove_router_interface", fmt.Sprintf(`{"port_id":%q}`, p))
		}
		a.call("DELETE", "routers/"+r, "")
	}
	for _, p := range a.ids("ports", "ports") {
		a.call("DELETE", "ports/"+p, "")
	}
	for _, n := range a.ids("networks", "networks") {
		a.call("DELETE", "networks/"+n, "")
	}
	sound(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The first release does not touch what it does not know.
	if _, err := Open(t.Context(), Options{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "written by a newer version; this one knows formats up to 1") {
		t.Errorf("the older version says: %v", err)
	}
}

// TestPortsOfNetworks: the entries that named a network's ports stay until no older
// controller writes any more, and its ports are found without them.
func TestPortsOfNetworks(t *testing.T) {
	dir, _ := firstRelease(t)
	all := site.Migrations()
	s := openAt(t, Options{DataDir: dir, Migrations: all[:3]})
	if !named(t, s) {
		t.Error("there are no such entries, but older controllers could write a moment ago")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, Options{DataDir: dir, Migrations: all})
	if named(t, s) {
		t.Error("there are such entries still")
	}
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[model.NetworkID][]string{}
	for p := range store.All(v, store.Ports) { // in order of id
		want[p.NetworkID] = append(want[p.NetworkID], string(p.ID))
	}
	if len(want) == 0 {
		t.Fatal("there are no ports")
	}
	for n := range store.All(v, store.Networks) {
		if have := site.PortsOf(v, n.ID); !slices.Equal(have, want[n.ID]) {
			t.Errorf("network %s has the ports %v, not %v", n.ID, have, want[n.ID])
		}
	}
}

// named tells whether some network's port has an entry of older formats.
func named(t *testing.T, s *Store) bool {
	t.Helper()
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range v.Scan("port-of-network", "") {
		return true
	}
	return false
}

// A migration that is killed anywhere comes to the same end when it runs again.
func TestMigrationKilled(t *testing.T) {
	dir, _ := firstRelease(t)
	all := site.Migrations()
	killed := errors.New("killed")
	for stop := range 6 {
		// The first part of the changes is written, then the process dies.
		half := func(old []store.Entry) ([]store.Entry, error) {
			changes, err := all[0](old)
			if err != nil {
				return nil, err
			}
			return changes[:len(changes)*stop/6], nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		dies := func([]store.Entry) ([]store.Entry, error) { cancel(); return nil, killed }
		s, err := Open(ctx, Options{DataDir: dir, Migrations: []store.Migration{half, dies}})
		cancel()
		if err == nil {
			_ = s.Close()
			t.Fatal("opened")
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		// The format went on with it: put it back, as if it had not come so far.
		s = openAt(t, Options{DataDir: dir, Migrations: []store.Migration{half}})
		if _, err := s.client.Put(t.Context(), s.keys.format(), "1"); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sound(t, openAt(t, Options{DataDir: dir, Migrations: all}))
}

// A migration begins again where somebody wrote meanwhile, and a store that runs
// while another one brings the state to a newer format writes nothing after.
func TestMigrationFence(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, Options{DataDir: dir})
	put(t, s, "a", "before")
	runs := 0
	s.opt.Migrations = []store.Migration{func(old []store.Entry) ([]store.Entry, error) {
		if runs++; runs == 1 {
			put(t, s, "b", "meanwhile")
		}
		seen := slices.ContainsFunc(old, func(e store.Entry) bool { return e.ID == "b" })
		if seen != (runs > 1) {
			t.Errorf("run %d: b seen %v", runs, seen)
		}
		return []store.Entry{{Index: "new", Key: "k", Value: "v"}, {Index: "name", Key: "before", Gone: true}}, nil
	}}
	was := s.formatRev
	if err := s.openFormat(t.Context()); err != nil || runs != 2 {
		t.Fatalf("%d runs: %v", runs, err)
	}
	put(t, s, "c", "after")
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if x, _ := v.Lookup("new", "k"); x != "v" {
		t.Errorf("the migration's entry: %q", x)
	}
	if _, ok := v.Lookup("name", "before"); ok {
		t.Error("an entry that the migration deleted is there")
	}
	// As a store that knows the old format only.
	s.formatRev = was
	_, err = s.Update(t.Context(), putNetwork("d", "never"))
	var e *model.Error
	if !errors.As(err, &e) || e.Kind != model.KindUnavailable || !strings.Contains(e.Message, "another format") {
		t.Errorf("a write in the old format: %v", err)
	}
}
