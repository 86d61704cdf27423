package hoststate

import (
	"math/bits"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
)

const (
	// MaxRouters is how many routers of one site a packet may pass.
	MaxRouters = 8
	// MaxGroups is how many groups a host gets; those of the fabric are not counted.
	MaxGroups = 4096
)

// Wanted are the groups that a host has rows of.
type Wanted struct {
	Groups GroupSet
	// Cut tells that there would be more: what is nearest to the host's ports is there.
	Cut bool
}

// Wants works out what a host wants: what is its own, the gateway devices placed on it, and
// the networks and routers that a packet may come by which comes in here. Those are first the networks
// of its ports, devices and VLANs, then the routers that are on them, and so on for as many
// routers as a packet may pass. Of more than most groups, those that are nearest are there. Of the fabric it
// gets the hosts, and the domains of its routers.
func Wants(t *Topology, host model.HostName, most int) Wanted {
	w := newWalk(&t.reach, most)
	defer w.end()
	w.named = append(w.named, hostGroup(host))
	var leaves []*model.Router // that are named only
	for id := range t.placedOnHost[host] {
		if dev := t.devices[id]; dev != nil && t.placements[id].Has(host) {
			w.named = append(w.named, deviceGroup(id))
			if r := t.routers[dev.RouterID()]; r != nil {
				leaves = append(leaves, r)
			}
		}
	}
	networks, routers := w.lists[0][:0], w.lists[1]
	for id := range t.nearNetworks(host) {
		if n, ok := t.reach.networks[id]; ok {
			networks = w.meet(n, networks)
		}
	}
	networks = w.take(networks)
	for turn := 0; len(networks) > 0 && turn < MaxRouters; turn++ {
		routers = w.around(networks, routers)
		networks = w.around(routers, networks)
	}
	w.lists = [2][]int32{networks, routers}
	for _, r := range leaves {
		w.groups, w.routers = append(w.groups, routerGroup(r.Key).number()), append(w.routers, r.ID)
	}
	w.groups = append(w.groups, siteGroup.number())
	last := model.NetworkKey(0)
	for _, id := range w.routers {
		if name := t.domains.nameOf(id); name != last && name != 0 {
			w.groups, last = append(w.groups, domainGroup(name).number()), name
		}
	}
	slices.Sort(w.groups)
	slices.SortFunc(w.named, Group.Compare)
	return Wanted{Groups: GroupSet{slices.Clone(slices.Compact(w.groups)), slices.Clone(w.named)}, Cut: w.cut}
}

// WithoutFabric is what of it an agent from before the fabric gets.
func (w Wanted) WithoutFabric() Wanted {
	w.Groups = w.Groups.Without(Group.OfFabric)
	return w
}

// Interest knows what some hosts want, and who wants a group. It costs what a change concerns:
// the hosts that have what has changed, and each of them what it wants. It is for one goroutine, as the
// Topology is.
type Interest struct {
	t     *Topology
	most  int
	hosts map[model.HostName]*wanting
	all   []*wanting // by number; nil: the number is free
	of    map[Group]hostSet
}

// hostSet has a bit for the number of each host that is in it.
type hostSet []uint64

func (s *hostSet) add(n int) {
	for len(*s) <= n/64 {
		*s = append(*s, 0)
	}
	(*s)[n/64] |= 1 << (n % 64)
}

func (s hostSet) remove(n int) {
	if n/64 < len(s) {
		s[n/64] &^= 1 << (n % 64)
	}
}

func (s hostSet) empty() bool {
	return !slices.ContainsFunc(s, func(w uint64) bool { return w != 0 })
}

// all are the numbers.
func (s hostSet) all(yield func(int) bool) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			if !yield(i*64 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}

type wanting struct {
	number int
	host   model.HostName
	older  bool // its agent is from before the fabric
	Wanted
}

// Move is how what a host wants has changed.
type Move struct {
	Gained, Lost []Group
	Cut          bool // as Wanted has it, afterwards
}

// NewInterest knows no host yet.
func NewInterest(t *Topology, most int) *Interest {
	return &Interest{t: t, most: most, hosts: map[model.HostName]*wanting{}, of: map[Group]hostSet{}}
}

// Add looks at a host from now on, and returns what it wants.
func (i *Interest) Add(host model.HostName) Wanted { return i.add(host, false) }

// AddOlder is Add for a host whose agent is from before the fabric.
func (i *Interest) AddOlder(host model.HostName) Wanted { return i.add(host, true) }

func (i *Interest) add(host model.HostName, older bool) Wanted {
	if w := i.hosts[host]; w != nil && w.older == older {
		return w.Wanted
	}
	return i.AddAs(host, older, i.Look(host, older))
}

// Look works out what a host wants, without looking at it from now on. Several may call it at once while the
// Topology does not change.
func (i *Interest) Look(host model.HostName, older bool) Wanted {
	w := Wants(i.t, host, i.most)
	if older {
		w = w.WithoutFabric()
	}
	return w
}

// AddAs is Add for a host of which Look has said what it wants, since when Touched.Reach has told of no change.
func (i *Interest) AddAs(host model.HostName, older bool, now Wanted) Wanted {
	w := i.hosts[host]
	if w == nil {
		n := slices.Index(i.all, nil)
		if n < 0 {
			n = len(i.all)
			i.all = append(i.all, nil)
		}
		w = &wanting{host: host, number: n}
		i.hosts[host], i.all[n] = w, w
	}
	w.older = older
	i.put(w, now)
	return w.Wanted
}

// Remove looks at a host no longer.
func (i *Interest) Remove(host model.HostName) {
	w := i.hosts[host]
	if w == nil {
		return
	}
	for g := range w.Groups.All() {
		i.leave(w, g)
	}
	delete(i.hosts, host)
	i.all[w.number] = nil
}

// Of is what a host wants. It is not to be changed, and Update makes it another.
func (i *Interest) Of(host model.HostName) Wanted {
	if w := i.hosts[host]; w != nil {
		return w.Wanted
	}
	return Wanted{}
}

// Hosts are those that want a group.
func (i *Interest) Hosts(g Group) func(yield func(model.HostName) bool) {
	return func(yield func(model.HostName) bool) {
		for n := range i.of[g].all {
			if !yield(i.all[n].host) {
				return
			}
		}
	}
}

// Reach tells whether a change may concern what hosts want.
func (d Touched) Reach() bool { return len(d.hosts)+len(d.around) > 0 }

// Update works out anew what those hosts want that a change of the Topology may concern.
func (i *Interest) Update(touched Touched) map[model.HostName]Move {
	look := map[*wanting]struct{}{}
	for h := range touched.hosts {
		if w := i.hosts[h]; w != nil {
			look[w] = struct{}{}
		}
	}
	for g := range touched.around {
		for n := range i.of[g].all {
			look[i.all[n]] = struct{}{}
		}
	}
	moves := map[model.HostName]Move{}
	for w := range look {
		if m := i.renew(w); len(m.Gained)+len(m.Lost) > 0 {
			moves[w.host] = m
		}
	}
	return moves
}

func (i *Interest) renew(w *wanting) Move { return i.put(w, i.Look(w.host, w.older)) }

func (i *Interest) put(w *wanting, now Wanted) Move {
	before := w.Wanted
	w.Wanted = now
	m := Move{Cut: w.Cut}
	before.Groups.differ(now.Groups, func(g Group) {
		m.Lost = append(m.Lost, g)
		i.leave(w, g)
	}, func(g Group) {
		m.Gained = append(m.Gained, g)
		hosts := i.of[g]
		hosts.add(w.number)
		i.of[g] = hosts
	})
	return m
}

func (i *Interest) leave(w *wanting, g Group) {
	hosts := i.of[g]
	if hosts.remove(w.number); hosts.empty() {
		delete(i.of, g)
	}
}
