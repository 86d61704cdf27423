package hwvtep

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// world is a small model of a switch's database: what RFC 7047 §5.2 says of the
// operations that a plan is made of, with the schema's indexes, references and
// the rows that go when nobody refers to them.
type world struct {
	h    *have
	next int
}

func (m *world) clone() *have {
	h := newHave(m.h.replicates)
	h.switches, h.logical, h.locators = maps.Clone(m.h.switches), maps.Clone(m.h.logical), maps.Clone(m.h.locators)
	h.sets, h.ucastRemote, h.mcastRemote, h.ucastLocal = maps.Clone(m.h.sets), maps.Clone(m.h.ucastRemote), maps.Clone(m.h.mcastRemote), maps.Clone(m.h.ucastLocal)
	for id, p := range m.h.ports {
		p.bindings = maps.Clone(p.bindings)
		h.ports[id] = p
	}
	return h
}

// transact does all of it or nothing.
func (m *world) transact(ops []ovsdb.Operation) error {
	before := m.clone()
	names := map[string]uuid{}
	err := func() error {
		for _, op := range ops { // named rows may be referred to before they are made
			if op.UUIDName != "" {
				m.next++
				names[op.UUIDName] = uuid(fmt.Sprintf("%08d-0000-4000-8000-000000000000", m.next))
			}
		}
		for _, op := range ops {
			if err := m.do(op, names); err != nil {
				return fmt.Errorf("%s %s: %w", op.Op, op.Table, err)
			}
		}
		return m.commit()
	}()
	if err != nil {
		m.h = before
	}
	return err
}

func (m *world) id(v any, names map[string]uuid) uuid {
	u := v.(ovsdb.UUID).GoUUID
	if id, ok := names[u]; ok {
		return id
	}
	return uuid(u)
}

func (m *world) do(op ovsdb.Operation, names map[string]uuid) error {
	switch op.Op {
	case ovsdb.OperationInsert:
		id, named := names[op.UUIDName]
		if !named {
			m.next++
			id = uuid(fmt.Sprintf("%08d-0000-4000-8000-000000000000", m.next))
		}
		return m.write(op.Table, id, op.Row, names, true)
	case ovsdb.OperationUpdate:
		return m.write(op.Table, m.id(op.Where[0].Value, names), op.Row, names, false)
	case ovsdb.OperationDelete:
		target := m.id(op.Where[0].Value, names)
		if op.Where[0].Column == "_uuid" {
			delete(m.h.logical, target)
			delete(m.h.ucastRemote, target)
			delete(m.h.mcastRemote, target)
			return nil
		}
		for table, rows := range map[string]map[uuid]macRow{tableUcastRemote: m.h.ucastRemote, tableMcastRemote: m.h.mcastRemote, tableUcastLocal: m.h.ucastLocal} {
			if table == op.Table {
				maps.DeleteFunc(rows, func(_ uuid, r macRow) bool { return r.ls == target })
			}
		}
		return nil
	case ovsdb.OperationMutate:
		p := m.h.ports[m.id(op.Where[0].Value, names)]
		for _, mut := range op.Mutations {
			for k, v := range mut.Value.(ovsdb.OvsMap).GoMap {
				vlan, ls := uint16(k.(int)), m.id(v, names)
				old, bound := p.bindings[vlan]
				switch {
				case mut.Mutator == ovsdb.MutateOperationInsert && !bound:
					p.bindings[vlan] = ls
				case mut.Mutator == ovsdb.MutateOperationDelete && old == ls:
					delete(p.bindings, vlan)
				}
			}
		}
		return nil
	}
	return fmt.Errorf("no such operation")
}

func (m *world) write(table string, id uuid, row ovsdb.Row, names map[string]uuid, fresh bool) error {
	text := func(c string, into *string) {
		if v, ok := row[c]; ok {
			*into = v.(string)
		}
	}
	switch table {
	case tableLogicalSwitch:
		l := m.h.logical[id]
		l.replicates = m.h.replicates
		text("name", &l.name)
		text("description", &l.description)
		text("replication_mode", &l.replication)
		if v, ok := row["tunnel_key"]; ok {
			l.key = int64(v.(int))
		}
		m.h.logical[id] = l
	case tableLocator:
		l := locator{encapsulation: row["encapsulation_type"].(string), dst: netip.MustParseAddr(row["dst_ip"].(string))}
		m.h.locators[id] = l
	case tableLocatorSet:
		var ids []uuid
		for _, v := range row["locators"].(ovsdb.OvsSet).GoSet {
			ids = append(ids, m.id(v, names))
		}
		m.h.sets[id] = ids
	case tableUcastRemote, tableMcastRemote:
		rows, column := m.h.ucastRemote, "locator"
		if table == tableMcastRemote {
			rows, column = m.h.mcastRemote, "locator_set"
		}
		r, known := rows[id]
		if known == fresh {
			return fmt.Errorf("row %s is there: %v", id, known)
		}
		text("MAC", &r.mac)
		if v, ok := row["logical_switch"]; ok {
			r.ls = m.id(v, names)
		}
		if v, ok := row[column]; ok {
			r.into = m.id(v, names)
		}
		rows[id] = r
	default:
		return fmt.Errorf("not a table that we write to")
	}
	return nil
}

// commit checks indexes and references, and drops what nobody refers to.
func (m *world) commit() error {
	for _, rows := range []map[uuid]macRow{m.h.ucastRemote, m.h.mcastRemote, m.h.ucastLocal} {
		for id, r := range rows {
			if _, ok := m.h.logical[r.ls]; !ok {
				return fmt.Errorf("row %s refers to no logical switch", id)
			}
		}
	}
	for _, p := range m.h.ports {
		for vlan, ls := range p.bindings {
			if _, ok := m.h.logical[ls]; !ok {
				return fmt.Errorf("VLAN %d of %s leads to no logical switch", vlan, p.name)
			}
		}
	}
	var names []string
	for _, l := range m.h.logical {
		names = append(names, l.name)
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		return fmt.Errorf("a name twice: %s", strings.Join(names, " "))
	}
	usedSets := map[uuid]bool{}
	for _, r := range m.h.mcastRemote {
		if _, ok := m.h.sets[r.into]; !ok {
			return fmt.Errorf("a flood row without its set")
		}
		usedSets[r.into] = true
	}
	maps.DeleteFunc(m.h.sets, func(id uuid, _ []uuid) bool { return !usedSets[id] })
	used := map[uuid]bool{}
	for _, s := range m.h.sets {
		for _, id := range s {
			used[id] = true
		}
	}
	for _, r := range m.h.ucastRemote {
		used[r.into] = true
	}
	seen := map[locator]bool{}
	for id := range used {
		l, ok := m.h.locators[id]
		if !ok {
			return fmt.Errorf("no locator %s", id)
		}
		if seen[l] {
			return fmt.Errorf("locator %s twice", l.dst)
		}
		seen[l] = true
	}
	maps.DeleteFunc(m.h.locators, func(id uuid, _ locator) bool { return !used[id] })
	return nil
}
