package hwvtep

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/causeway-net/causeway/internal/model"
)

// A step is one transaction. Steps stand on their own: one that the switch refuses
// keeps no other from being made.
type step struct {
	name string // of the logical switch that it is about
	ops  []ovsdb.Operation
}

// maxRows bounds the rows of MACs that one step changes; the rest follows in
// further steps, when the first one shows in the switch's database.
const maxRows = 400

// unknown is the MAC, in Mcast_Macs_Remote, of frames whose destination the switch
// does not know, broadcasts among them.
const unknown = "unknown-dst"

// plan compares what a switch is to have with what it has. It gives the steps that
// lead from one to the other, in order, none where there is nothing to do; and what
// of it cannot be, in words.
func plan(w *Want, h *have) (steps []step, problems []string) {
	// What goes first makes room: VLANs of ports and tunnel keys.
	for _, id := range sortedBy(h.logical, func(l logicalSwitch) string { return l.name }) {
		l := h.logical[id]
		if w.leftOver(l.name) {
			steps = append(steps, step{l.name, h.removal(id)})
		}
	}
	if !w.TunnelIP.IsValid() {
		return steps, nil
	}
	ps := h.physical(w.TunnelIP)
	if ps == nil {
		return steps, []string{fmt.Sprintf("the switch has no Physical_Switch with the tunnel IP %s", w.TunnelIP)}
	}
	for i := range w.Segments {
		b := segmentPlan{w: w, s: &w.Segments[i], h: h, ps: ps, locators: map[netip.Addr]ovsdb.UUID{}}
		b.build()
		problems = append(problems, b.problems...)
		if len(b.ops) > 0 {
			steps = append(steps, step{w.nameOf(b.s), b.ops})
		}
	}
	slices.Sort(problems)
	return steps, problems
}

// physical is the switch of the database that has the tunnel IP; of several, the
// first by name.
func (h *have) physical(tunnel netip.Addr) *physicalSwitch {
	for _, id := range sortedBy(h.switches, func(s physicalSwitch) string { return s.name }) {
		s := h.switches[id]
		if slices.ContainsFunc(s.tunnelIPs, func(text string) bool {
			ip, err := netip.ParseAddr(text)
			return err == nil && ip == tunnel
		}) {
			return &s
		}
	}
	return nil
}

// sortedBy orders the rows of a table, so that a plan is the same each time.
func sortedBy[T any](m map[uuid]T, key func(T) string) []uuid {
	ids := make([]uuid, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b uuid) int { return cmp.Or(cmp.Compare(key(m[a]), key(m[b])), cmp.Compare(a, b)) })
	return ids
}

func ref(id uuid) ovsdb.UUID { return ovsdb.UUID{GoUUID: string(id)} }

func is(column string, value any) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition(column, ovsdb.ConditionEqual, value)}
}

// removal deletes a logical switch with all that refers to it; the switch's own
// rows too, which would hold it.
func (h *have) removal(ls uuid) []ovsdb.Operation {
	var ops []ovsdb.Operation
	for _, p := range sortedBy(h.ports, func(p physicalPort) string { return p.name }) {
		ops = append(ops, h.unbind(p, func(_ uint16, to uuid) bool { return to == ls })...)
	}
	for _, table := range []string{tableUcastRemote, tableMcastRemote, tableUcastLocal, tableMcastLocal} {
		ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationDelete, Table: table, Where: is("logical_switch", ref(ls))})
	}
	return append(ops, ovsdb.Operation{Op: ovsdb.OperationDelete, Table: tableLogicalSwitch, Where: is("_uuid", ref(ls))})
}

// unbind takes VLANs off a port, each only while it leads where it was seen to.
func (h *have) unbind(port uuid, which func(vlan uint16, ls uuid) bool) []ovsdb.Operation {
	gone := map[any]any{}
	for vlan, ls := range h.ports[port].bindings {
		if which(vlan, ls) {
			gone[int(vlan)] = ref(ls)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return []ovsdb.Operation{mutateBindings(port, ovsdb.MutateOperationDelete, gone)}
}

func mutateBindings(port uuid, how ovsdb.Mutator, bindings map[any]any) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationMutate, Table: tablePhysicalPort, Where: is("_uuid", ref(port)),
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("vlan_bindings", how, ovsdb.OvsMap{GoMap: bindings})}}
}

// segmentPlan works out one segment's step.
type segmentPlan struct {
	w        *Want
	s        *Segment
	h        *have
	ps       *physicalSwitch
	ops      []ovsdb.Operation
	problems []string
	locators map[netip.Addr]ovsdb.UUID // known or made in this step
	rows     int                       // of MACs changed
	id       uuid                      // of the logical switch, "" while there is none
	ref      ovsdb.UUID                // of it, or of the one to be made
}

func (b *segmentPlan) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf("VNI %d: ", b.s.VNI)+fmt.Sprintf(format, args...))
}

func (b *segmentPlan) add(op ovsdb.Operation) { b.ops = append(b.ops, op) }

func (b *segmentPlan) build() {
	if !b.logicalSwitch() {
		return
	}
	b.bindings()
	b.unicast()
	b.flood()
}

// logicalSwitch finds, makes or mends the segment's row.
func (b *segmentPlan) logicalSwitch() bool {
	name := b.w.nameOf(b.s)
	for _, id := range sortedBy(b.h.logical, func(l logicalSwitch) string { return l.name }) {
		l := b.h.logical[id]
		switch {
		case l.name == name:
			b.id, b.ref = id, ref(id)
			if l.key != int64(b.s.VNI) || l.description != b.s.description() || l.replicates && l.replication != sourceNode {
				b.add(ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: tableLogicalSwitch, Where: is("_uuid", b.ref), Row: b.row(l.replicates)})
			}
			return true
		case l.key == int64(b.s.VNI) && !strings.HasPrefix(l.name, ours(b.w.Device)):
			b.problem("the switch has it already, in its logical switch %q, which is not ours", clip(l.name))
			return false
		}
	}
	b.ref = ovsdb.UUID{GoUUID: "ls"}
	row := b.row(b.h.replicates)
	row["name"] = name
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: tableLogicalSwitch, UUIDName: b.ref.GoUUID, Row: row})
	return true
}

func (b *segmentPlan) row(replicates bool) ovsdb.Row {
	row := ovsdb.Row{"description": b.s.description(), "tunnel_key": int(b.s.VNI)}
	if replicates {
		row["replication_mode"] = sourceNode
	}
	return row
}

// clip keeps what a switch says short.
func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

func (b *segmentPlan) bindings() {
	want := map[uuid]map[uint16]bool{}
	for _, x := range b.s.Bindings {
		port, ok := b.port(x.Port)
		if !ok {
			b.problem("the switch has no port %q", x.Port)
			continue
		}
		if want[port] == nil {
			want[port] = map[uint16]bool{}
		}
		want[port][x.VLAN] = true
	}
	for _, port := range sortedBy(b.h.ports, func(p physicalPort) string { return p.name }) {
		b.ops = append(b.ops, b.h.unbind(port, func(vlan uint16, ls uuid) bool { return ls == b.id && b.id != "" && !want[port][vlan] })...)
		missing := map[any]any{}
		for vlan := range want[port] {
			ls, bound := b.h.ports[port].bindings[vlan]
			switch {
			case !bound:
				missing[int(vlan)] = b.ref
			case ls != b.id && !strings.HasPrefix(b.h.logical[ls].name, ours(b.w.Device)):
				b.problem("VLAN %d of port %q is taken by logical switch %q, which is not ours", vlan, b.h.ports[port].name, clip(b.h.logical[ls].name))
			}
			// One of ours that is to go makes room in a step of its own.
		}
		if len(missing) > 0 {
			b.add(mutateBindings(port, ovsdb.MutateOperationInsert, missing))
		}
	}
}

// port finds a port of the switch by name.
func (b *segmentPlan) port(name string) (uuid, bool) {
	for _, id := range b.ps.ports {
		if p, ok := b.h.ports[id]; ok && p.name == name {
			return id, true
		}
	}
	return "", false
}

// locator is the row of a VTEP, made in this step where there is none.
func (b *segmentPlan) locator(vtep netip.Addr) ovsdb.UUID {
	if id, ok := b.locators[vtep]; ok {
		return id
	}
	for id, l := range b.h.locators {
		if l.dst == vtep && l.encapsulation == encapsulation && !l.keyed {
			b.locators[vtep] = ref(id)
			return ref(id)
		}
	}
	id := ovsdb.UUID{GoUUID: fmt.Sprintf("locator%d", len(b.locators))}
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: tableLocator, UUIDName: id.GoUUID,
		Row: ovsdb.Row{"encapsulation_type": encapsulation, "dst_ip": vtep.String()}})
	b.locators[vtep] = id
	return id
}

// full tells whether the step has no room for another row of a MAC.
func (b *segmentPlan) full() bool {
	b.rows++
	return b.rows > maxRows
}

func (b *segmentPlan) unicast() {
	want := make(map[model.MAC]netip.Addr, len(b.s.Remote))
	for _, r := range b.s.Remote {
		want[r.MAC] = r.VTEP
	}
	found := make(map[model.MAC]bool, len(want))
	for _, id := range b.of(b.h.ucastRemote) {
		r := b.h.ucastRemote[id]
		mac, err := model.ParseMAC(r.mac)
		vtep, wanted := want[mac]
		switch {
		case err != nil || !wanted || found[mac]: // not ours to have, or twice
			if b.full() {
				return
			}
			b.add(ovsdb.Operation{Op: ovsdb.OperationDelete, Table: tableUcastRemote, Where: is("_uuid", ref(id))})
			continue
		case !b.h.leadsTo(r.into, vtep):
			if b.full() {
				return
			}
			b.add(ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: tableUcastRemote, Where: is("_uuid", ref(id)), Row: ovsdb.Row{"locator": b.locator(vtep)}})
		}
		found[mac] = true
	}
	for _, r := range b.s.Remote {
		if found[r.MAC] {
			continue
		}
		if b.full() {
			return
		}
		l := b.locator(r.VTEP)
		b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: tableUcastRemote,
			Row: ovsdb.Row{"MAC": r.MAC.String(), "logical_switch": b.ref, "locator": l, "ipaddr": ""}})
	}
}

// of are the rows of a table of MACs that belong to the segment.
func (b *segmentPlan) of(table map[uuid]macRow) []uuid {
	if b.id == "" {
		return nil
	}
	var ids []uuid
	for id, r := range table {
		if r.ls == b.id {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y uuid) int { return cmp.Or(cmp.Compare(table[x].mac, table[y].mac), cmp.Compare(x, y)) })
	return ids
}

func (h *have) leadsTo(id uuid, vtep netip.Addr) bool {
	l, ok := h.locators[id]
	return ok && l.dst == vtep && l.encapsulation == encapsulation && !l.keyed
}

// flood keeps one row for unknown-dst, which leads to all VTEPs. A set of locators
// cannot be changed: another takes its place.
func (b *segmentPlan) flood() {
	var keep uuid
	for _, id := range b.of(b.h.mcastRemote) {
		if keep == "" && b.h.mcastRemote[id].mac == unknown && len(b.s.VTEPs) > 0 {
			keep = id
			continue
		}
		b.add(ovsdb.Operation{Op: ovsdb.OperationDelete, Table: tableMcastRemote, Where: is("_uuid", ref(id))})
	}
	if len(b.s.VTEPs) == 0 || keep != "" && b.leadsToAll(b.h.mcastRemote[keep].into) {
		return
	}
	locators := make([]any, 0, len(b.s.VTEPs))
	for _, vtep := range b.s.VTEPs {
		locators = append(locators, b.locator(vtep))
	}
	set := ovsdb.UUID{GoUUID: "flood"}
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: tableLocatorSet, UUIDName: set.GoUUID, Row: ovsdb.Row{"locators": ovsdb.OvsSet{GoSet: locators}}})
	if keep != "" {
		b.add(ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: tableMcastRemote, Where: is("_uuid", ref(keep)), Row: ovsdb.Row{"locator_set": set}})
		return
	}
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: tableMcastRemote,
		Row: ovsdb.Row{"MAC": unknown, "logical_switch": b.ref, "locator_set": set, "ipaddr": ""}})
}

func (b *segmentPlan) leadsToAll(set uuid) bool {
	members, ok := b.h.sets[set]
	if !ok || len(members) != len(b.s.VTEPs) {
		return false
	}
	seen := map[netip.Addr]bool{}
	for _, m := range members {
		seen[b.h.locators[m].dst] = b.h.leadsTo(m, b.h.locators[m].dst)
	}
	for _, vtep := range b.s.VTEPs {
		if !seen[vtep] {
			return false
		}
	}
	return true
}
