package hwvtep

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// Devices that are not the one that is driven: one that the site has deleted, and one
// of another site.
const gone, elsewhere = model.GatewayDeviceID("11111111-3b8f-4f0e-8f0c-1d2e3f405162"), model.GatewayDeviceID("22222222-3b8f-4f0e-8f0c-1d2e3f405162")

// drawWorld is a switch's database as anybody may have left it: rows of ours, whole
// and broken, and rows of others.
func drawWorld(t *rapid.T) *world {
	w := &world{h: newHave(rapid.Bool().Draw(t, "replicates"))}
	id := func() uuid {
		w.next++
		return uuid(fmt.Sprintf("%08d-0000-4000-8000-000000000000", w.next))
	}
	pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	var lss []uuid
	for i := range pick("logical switches", 6) {
		l := logicalSwitch{name: fmt.Sprintf("theirs%d", i), key: int64(pick("key", 6)), replicates: w.h.replicates}
		switch pick("ours", 5) {
		case 0, 1, 2:
			l.name = fmt.Sprintf("%s%d", ours(device), i+1)
		case 3: // of a deleted device, or of another site's
			l.name = fmt.Sprintf("%s%d", ours(rapid.SampledFrom([]model.GatewayDeviceID{gone, elsewhere}).Draw(t, "device")), i+1)
		}
		if pick("mode", 2) > 0 && w.h.replicates {
			l.replication = sourceNode
		}
		x := id()
		w.h.logical[x], lss = l, append(lss, x)
	}
	var locs []uuid
	for i := range pick("locators", 5) {
		x := id()
		w.h.locators[x], locs = locator{encapsulation: encapsulation, dst: addr(fmt.Sprintf("10.8.0.%d", i+2))}, append(locs, x)
	}
	if len(lss) > 0 && len(locs) > 0 {
		for range pick("unicast", 8) {
			w.h.ucastRemote[id()] = macRow{mac(pick("mac", 4)).String(), lss[pick("ls", len(lss))], locs[pick("locator", len(locs))]}
		}
		for range pick("flood", 4) {
			set := id()
			w.h.sets[set] = slices.Clone(locs[:1+pick("locators", len(locs))])
			w.h.mcastRemote[id()] = macRow{rapid.SampledFrom([]string{unknown, "01:00:5e:00:00:01"}).Draw(t, "group"), lss[pick("ls", len(lss))], set}
		}
		for range pick("local", 3) {
			w.h.ucastLocal[id()] = macRow{mac: mac(9).String(), ls: lss[pick("ls", len(lss))]}
		}
	}
	ps := physicalSwitch{name: "vt0", tunnelIPs: []string{"10.8.0.1"}}
	for i := range 3 {
		p := physicalPort{name: fmt.Sprint("p", i), bindings: map[uint16]uuid{}}
		for vlan := range uint16(3) {
			if len(lss) > 0 && pick("bound", 3) == 0 {
				p.bindings[vlan] = lss[pick("ls", len(lss))]
			}
		}
		x := id()
		w.h.ports[x] = p
		if i < 2 { // the third is another switch's
			ps.ports = append(ps.ports, x)
		}
	}
	w.h.switches[id()] = ps
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	return w
}

func drawWant(t *rapid.T) Want {
	pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	want := Want{Device: device, TunnelIP: tunnelIP(), Gone: []model.GatewayDeviceID{gone}}
	taken := map[Binding]bool{}
	for vni := range model.VNI(5) {
		if pick("wanted", 2) == 0 {
			continue
		}
		s := Segment{Connection: model.L2GatewayConnectionID(fmt.Sprint("c", vni)), Network: model.NetworkID(fmt.Sprint("n", pick("network", 3))), VNI: vni + 1}
		for range pick("bindings", 4) {
			b := Binding{fmt.Sprint("p", pick("port", 3)), uint16(pick("vlan", 3))}
			if !taken[b] {
				taken[b] = true
				s.Bindings = append(s.Bindings, b)
			}
		}
		for i := range 4 {
			if pick("mac", 2) == 0 {
				s.Remote = append(s.Remote, RemoteMAC{mac(i), addr(fmt.Sprintf("10.8.0.%d", 2+pick("vtep", 5)))})
			}
		}
		for i := range 4 {
			if pick("flood", 2) == 0 {
				s.VTEPs = append(s.VTEPs, addr(fmt.Sprintf("10.8.0.%d", 2+i)))
			}
		}
		want.Segments = append(want.Segments, s)
	}
	return want
}

// others is what of a database is not ours, in words.
func others(h *have) []string {
	mine := func(ls uuid) bool {
		name := h.logical[ls].name
		return strings.HasPrefix(name, ours(device)) || strings.HasPrefix(name, ours(gone))
	}
	var out []string
	for id, l := range h.logical {
		if !mine(id) {
			out = append(out, fmt.Sprintf("logical switch %s %+v", id, l))
		}
	}
	for _, rows := range []map[uuid]macRow{h.ucastRemote, h.mcastRemote, h.ucastLocal} {
		for id, r := range rows {
			if !mine(r.ls) {
				var to []string
				for _, l := range append(slices.Clone(h.sets[r.into]), r.into) {
					to = append(to, h.locators[l].dst.String())
				}
				out = append(out, fmt.Sprintf("MAC %s %+v %v", id, r, to))
			}
		}
	}
	for id, p := range h.ports {
		for vlan, ls := range p.bindings {
			if !mine(ls) {
				out = append(out, fmt.Sprintf("VLAN %d of %s leads to %s", vlan, id, ls))
			}
		}
	}
	slices.Sort(out)
	return out
}

// exact says how what is ours differs from what is wanted; problems excuse what
// they name.
func exact(w *Want, h *have) []string {
	var out []string
	for id, l := range h.logical {
		if w.leftOver(l.name) {
			out = append(out, "left over: "+string(id))
		}
	}
	for i := range w.Segments {
		s := &w.Segments[i]
		id, ok := h.find(w.nameOf(s))
		if !ok {
			out = append(out, fmt.Sprintf("VNI %d is missing", s.VNI))
			continue
		}
		want, got := map[string]netip.Addr{}, map[string]netip.Addr{}
		for _, r := range s.Remote {
			want[r.MAC.String()] = r.VTEP
		}
		n := 0
		for _, r := range h.ucastRemote {
			if r.ls == id {
				got[r.mac] = h.locators[r.into].dst
				n++
			}
		}
		if !maps.Equal(want, got) || n != len(got) {
			out = append(out, fmt.Sprintf("VNI %d: MACs %v (%d rows), want %v", s.VNI, got, n, want))
		}
		var flood []netip.Addr
		for _, r := range h.mcastRemote {
			if r.ls == id {
				for _, l := range h.sets[r.into] {
					flood = append(flood, h.locators[l].dst)
				}
			}
		}
		slices.SortFunc(flood, netip.Addr.Compare)
		if !slices.Equal(flood, s.VTEPs) {
			out = append(out, fmt.Sprintf("VNI %d floods to %v, want %v", s.VNI, flood, s.VTEPs))
		}
		bound := 0
		for _, p := range h.ports {
			for vlan, ls := range p.bindings {
				if ls == id {
					bound++
					if !slices.Contains(s.Bindings, Binding{p.name, vlan}) {
						out = append(out, fmt.Sprintf("VNI %d is on VLAN %d of %s", s.VNI, vlan, p.name))
					}
				}
			}
		}
		if bound > len(s.Bindings) {
			out = append(out, fmt.Sprintf("VNI %d has %d bindings", s.VNI, bound))
		}
	}
	return out
}

// TestPlanConverges: from whatever a switch holds, each step is one that its
// database takes, a few lead to what is wanted, and what is another's is as it was.
func TestPlanConverges(t *testing.T) {
	seen := struct{ steps, problems, foreign, clean int }{}
	check := func(t *rapid.T) {
		w, want := drawWorld(t), drawWant(t)
		before := others(w.h)
		seen.foreign += len(before)
		var problems []string
		for n := 0; ; n++ {
			var steps []step
			steps, problems = plan(&want, w.h)
			if again, _ := plan(&want, w.h); !reflect.DeepEqual(names(steps), names(again)) {
				t.Fatalf("two plans: %v and %v", names(steps), names(again))
			}
			if len(steps) == 0 {
				break
			}
			if n > 30 {
				t.Fatalf("no end: %s", show(steps))
			}
			seen.steps++
			if err := w.transact(steps[0].ops); err != nil {
				t.Fatalf("%v: %s", err, show(steps[:1]))
			}
			if after := others(w.h); !slices.Equal(before, after) {
				t.Fatalf("what is another's was\n%s\nand is\n%s\nafter %s", strings.Join(before, "\n"), strings.Join(after, "\n"), show(steps[:1]))
			}
		}
		differs := exact(&want, w.h)
		seen.problems += len(problems)
		if len(problems) == 0 {
			seen.clean++
		}
		for _, d := range differs {
			if len(problems) == 0 || !strings.Contains(d, "missing") {
				t.Fatalf("%s (problems %q)", strings.Join(differs, "\n"), problems)
			}
		}
		missing := 0
		for i := range want.Segments {
			if _, ok := w.h.find(want.nameOf(&want.Segments[i])); ok {
				for _, b := range want.Segments[i].Bindings {
					if !slices.ContainsFunc(slices.Collect(maps.Values(w.h.ports)), func(p physicalPort) bool {
						id, _ := w.h.find(want.nameOf(&want.Segments[i]))
						return p.name == b.Port && p.bindings[b.VLAN] == id
					}) {
						missing++
					}
				}
			} else {
				missing++
			}
		}
		if missing != len(problems) {
			t.Fatalf("%d things are missing, and the problems are %q", missing, problems)
		}
	}
	testutil.UntilMet(t, func() { rapid.Check(t, check) }, func() bool {
		return seen.steps > 0 && seen.problems > 0 && seen.foreign > 0 && seen.clean > 0
	}, &seen)
}
func names(steps []step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.name)
	}
	return out
}

func show(steps []step) string {
	var all []any
	for _, s := range steps {
		all = append(all, s.ops)
	}
	b, _ := json.Marshal(all)
	return string(b)
}

// TestPlanWithoutSwitch: a database without the switch gets nothing, and loses what
// is ours and not wanted.
func TestPlanWithoutSwitch(t *testing.T) {
	h := newHave(true)
	h.logical["x"] = logicalSwitch{name: ours(device) + "5"}
	h.switches["y"] = physicalSwitch{name: "other", tunnelIPs: []string{"10.8.0.9", "nonsense"}}
	want := example()
	steps, problems := plan(&want, h)
	if want := []string{ours(device) + "5"}; !slices.Equal(names(steps), want) || len(problems) != 1 || !strings.Contains(problems[0], "no Physical_Switch with the tunnel IP 10.8.0.1") {
		t.Errorf("steps %v, problems %q", steps, problems)
	}
}

func TestLock(t *testing.T) {
	if got := lockOf("0b6ed1a6-3b8f"); got != "causeway_0b6ed1a6_3b8f" {
		t.Error(got)
	}
}
