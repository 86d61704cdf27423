package hoststate

import (
	"maps"
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
	Groups map[Group]struct{}
	// Cut tells that there would be more: what is nearest to the host's ports is there.
	Cut bool
}

// Wants works out what a host wants: what is its own, the gateway devices placed on it, and
// the networks and routers that a packet may come by which comes in here. Those are first the networks
// of its ports, devices and VLANs, then the routers that are on them, and so on for as many
// routers as a packet may pass. Of more than most groups, those that are nearest are there. Of the fabric it
// gets the hosts, and the domains of its routers.
func Wants(t *Topology, host model.HostName, most int) Wanted {
	w := &walk{t: t, most: most, Wanted: Wanted{Groups: map[Group]struct{}{hostGroup(host): {}}}}
	w.begin(host)
	for turn := 0; len(w.networks) > 0 && turn < MaxRouters; turn++ {
		routers := map[Group]model.RouterID{}
		for _, id := range w.networks {
			for _, p := range t.ifacesOfNetwork[id] {
				if id, _ := p.router(); t.routers[id] != nil {
					routers[routerGroup(t.routers[id].Key)] = id
				}
			}
		}
		next := map[Group]model.NetworkID{}
		for _, id := range layer(w, routers) {
			for _, p := range t.ifacesOfRouter[id] {
				w.reach(p.NetworkID, next)
			}
		}
		w.networks = layer(w, next)
	}
	for _, g := range w.leaves {
		w.Groups[g] = struct{}{}
	}
	w.Groups[siteGroup] = struct{}{}
	for g := range w.Groups {
		if r := t.routerByKey[model.RouterKey(g.Key)]; g.Kind == GroupRouter && r != nil {
			if name := t.domains.nameOf(r.ID); name != 0 {
				w.Groups[domainGroup(name)] = struct{}{}
			}
		}
	}
	return w.Wanted
}

// WithoutFabric is what of it an agent from before the fabric gets. It changes w.
func (w Wanted) WithoutFabric() Wanted {
	maps.DeleteFunc(w.Groups, func(g Group, _ struct{}) bool { return g.OfFabric() })
	return w
}

type walk struct {
	t    *Topology
	most int
	Wanted
	networks []model.NetworkID // reached last
	leaves   []Group           // routers that are named only
}

// begin takes what is the host's own.
func (w *walk) begin(host model.HostName) {
	t := w.t
	first := map[Group]model.NetworkID{}
	for id := range t.nearNetworks(host) {
		w.reach(id, first)
	}
	for id := range t.placedOnHost[host] {
		if dev := t.devices[id]; dev != nil && t.placements[id].Has(host) {
			w.Groups[deviceGroup(id)] = struct{}{}
			if r := t.routers[dev.RouterID()]; r != nil {
				w.leaves = append(w.leaves, routerGroup(r.Key))
			}
		}
	}
	w.networks = layer(w, first)
}

func (w *walk) reach(id model.NetworkID, into map[Group]model.NetworkID) {
	if n := w.t.networks[id]; overlay(n) {
		into[networkGroup(n.Key)] = id
	}
}

// layer adds those groups that are new, as far as there is room, and returns whose they are.
func layer[ID any](w *walk, groups map[Group]ID) []ID {
	maps.DeleteFunc(groups, func(g Group, _ ID) bool { _, has := w.Groups[g]; return has })
	keys := slices.Collect(maps.Keys(groups))
	if room := max(0, w.most-len(w.Groups)); len(keys) > room {
		w.Cut = true
		slices.SortFunc(keys, Group.Compare)
		keys = keys[:room]
	}
	ids := make([]ID, 0, len(keys))
	for _, g := range keys {
		w.Groups[g] = struct{}{}
		ids = append(ids, groups[g])
	}
	return ids
}

// Interest knows what some hosts want, and who wants a group. It costs what a change concerns:
// the hosts that have what has changed, and each of them what it wants. It is for one goroutine, as the
// Topology is.
type Interest struct {
	t     *Topology
	most  int
	hosts map[model.HostName]*wanting
	of    map[Group]map[*wanting]struct{}
}

type wanting struct {
	host  model.HostName
	older bool // its agent is from before the fabric
	Wanted
}

// Move is how what a host wants has changed.
type Move struct {
	Gained, Lost []Group
	Cut          bool // as Wanted has it, afterwards
}

// NewInterest knows no host yet.
func NewInterest(t *Topology, most int) *Interest {
	return &Interest{t: t, most: most, hosts: map[model.HostName]*wanting{}, of: map[Group]map[*wanting]struct{}{}}
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
		w = &wanting{host: host}
		i.hosts[host] = w
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
	for g := range w.Groups {
		i.leave(w, g)
	}
	delete(i.hosts, host)
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
		for w := range i.of[g] {
			if !yield(w.host) {
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
		maps.Copy(look, i.of[g])
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
	for g := range before.Groups {
		if _, still := w.Groups[g]; !still {
			m.Lost = append(m.Lost, g)
			i.leave(w, g)
		}
	}
	for g := range w.Groups {
		if _, had := before.Groups[g]; !had {
			m.Gained = append(m.Gained, g)
			if i.of[g] == nil {
				i.of[g] = map[*wanting]struct{}{}
			}
			i.of[g][w] = struct{}{}
		}
	}
	return m
}

func (i *Interest) leave(w *wanting, g Group) {
	delete(i.of[g], w)
	if len(i.of[g]) == 0 {
		delete(i.of, g)
	}
}
