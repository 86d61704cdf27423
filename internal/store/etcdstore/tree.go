package etcdstore

import (
	"maps"
	"slices"
	"strings"
	"unique"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/tidwall/btree"
)

// item is a key's decoded value. Items never change once they are in a tree. There are
// five for each port, so they are as small as can be.
type item struct {
	rev  int64 // ModRevision
	what any   // a resource's store.Object, or an index entry's string
}

// text is the value of an index entry.
func (it *item) text() string {
	s, _ := it.what.(string)
	return s
}

// family is what begins alike: the resources of a kind, or the entries of an index. Its
// keys are what follows.
type family = btree.Map[string, *item]

// degree is that of the families: what is copied for a write grows with it.
const degree = 12

// familyOf splits a key, or the begin of one that has the whole name of a family.
func familyOf(rel string) (name, rest string) {
	skip := 0
	if isIndexKey(rel) {
		skip = len(indexFamily)
	}
	i := strings.IndexByte(rel[skip:], '/') + skip + 1
	return rel[:i], rel[i:]
}

// tree is a state by families, which nobody writes.
type tree struct {
	numbers  map[string]int // of the families; never changed, but replaced
	families []*family
}

func (t *tree) family(name string) *family {
	if i, ok := t.numbers[name]; ok {
		return t.families[i]
	}
	return nil
}

func (t *tree) Get(rel string) (*item, bool) {
	name, key := familyOf(rel)
	if f := t.family(name); f != nil {
		return f.Get(key)
	}
	return nil, false
}

// newer tells whether the first keys of a range, so many at most, have something newer than rev,
// and how many it looked at.
func (t *tree) newer(r keyRange, rev int64, most int) (found bool, walked int) {
	name, from := familyOf(r.from)
	f := t.family(name)
	if f == nil || most <= 0 {
		return false, 0
	}
	end, within := strings.CutPrefix(r.end, name)
	f.Ascend(from, func(key string, it *item) bool {
		in := !within || key < end
		found = in && it.rev > rev
		walked++
		return in && !found && walked < most
	})
	return found, walked
}

// master is the tree that changes. One goroutine uses it.
type master struct {
	now     tree
	given   tree // of copies: what was given out last
	changed []int
}

// write returns the family to be written to.
func (m *master) write(name string) *family {
	i, ok := m.now.numbers[name]
	if !ok {
		i = len(m.now.families)
		m.now.numbers = maps.Clone(m.now.numbers)
		if m.now.numbers == nil {
			m.now.numbers = map[string]int{}
		}
		m.now.numbers[name] = i
		m.now.families = append(m.now.families, btree.NewMap[string, *item](degree))
	}
	if !slices.Contains(m.changed, i) {
		m.changed = append(m.changed, i)
	}
	return m.now.families[i]
}

// copy is the tree as it is now.
func (m *master) copy() *tree {
	families := make([]*family, len(m.now.families))
	copy(families, m.given.families)
	for _, i := range m.changed {
		families[i] = m.now.families[i].Copy()
	}
	m.changed = m.changed[:0]
	m.given = tree{m.now.numbers, families}
	out := m.given
	return &out
}

// share gives an object one copy of each text that many objects have.
func share(o store.Object, same func(string) string) {
	p, ok := o.(*model.Port)
	if !ok {
		return
	}
	p.NetworkID = model.NetworkID(same(string(p.NetworkID)))
	p.ProjectID = model.ProjectID(same(string(p.ProjectID)))
	p.HostID = model.HostName(same(string(p.HostID)))
	p.DeviceOwner, p.VNICType = same(p.DeviceOwner), same(p.VNICType)
	p.FixedIPs = slices.Clone(p.FixedIPs) // which the port before it may have too
	for i := range p.FixedIPs {
		a := &p.FixedIPs[i]
		a.SubnetID = model.SubnetID(same(string(a.SubnetID)))
	}
}

// ownID is the id of an object, or the key of an index entry, to be kept: the text of a port
// itself, and of others a copy. What is given may be a part of a whole request.
func ownID(o any, id string) string {
	if p, ok := o.(*model.Port); ok && string(p.ID) == id {
		return string(p.ID)
	}
	return strings.Clone(id)
}

// canonical is the copy of a text that others got since memory was last collected.
func canonical(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}

// texts gives one copy of each text for as long as it is there.
type texts map[string]any

// ids gives a port's id and the entries that name the port one text.
func (t texts) ids(it *item) {
	switch x := it.what.(type) {
	case string:
		it.what = t.boxed(x)
	case *model.Port:
		x.ID = model.PortID(t.same(string(x.ID)))
	}
}

func (t texts) same(s string) string { return t.boxed(s).(string) }

// boxed is the text as an index entry has it.
func (t texts) boxed(s string) any {
	have, ok := t[s]
	if !ok {
		have = s
		t[s] = have
	}
	return have
}
