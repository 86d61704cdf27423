package hoststate

import (
	"cmp"

	"github.com/causeway-net/causeway/internal/model"
)

// domain is routers and overlay networks that hang together by router interfaces. A router without any is
// one of its own, which has no name; a network without any is in none.
type domain struct {
	name     model.NetworkKey // the head's; 0: there is none
	head     model.NetworkID  // the network that goes before all others: see heads
	routers  map[model.RouterID]struct{}
	networks map[model.NetworkID]struct{}
}

// heads orders networks by which of them gives a domain its name: first those shared with everybody, then those shared with other
// projects by RBAC, then the rest; of each the oldest first. Domains of several tenants hang together by shared networks. Operators
// alone share with everybody: so nobody else can have a domain that hangs together by such a network renamed, which costs a row for each
// of its routers and hosts at each of its hosts, by joining it or leaving it. Who joins is younger than who is there, or less shared. It needs no memory: all controllers come to the same name.
func (t *Topology) heads(a, b *model.Network) int {
	return cmp.Or(cmp.Compare(t.sharing(b), t.sharing(a)), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
}

// sharing is how widely a network is shared: with its own project alone, with others, or with everybody.
func (t *Topology) sharing(n *model.Network) int {
	if n.Shared {
		return 2
	}
	with := t.sharedWith[n.ID]
	if _, own := with[n.ProjectID]; len(with) > 1 || len(with) == 1 && !own {
		return 1
	}
	return 0
}

// changePolicy takes in with which projects a network is shared.
func (t *Topology) changePolicy(old, p *model.RBACPolicy, d Touched) {
	for _, of := range []struct {
		p   *model.RBACPolicy
		now bool
	}{{old, false}, {p, true}} {
		if of.p == nil || of.p.ObjectType != "network" {
			continue
		}
		id := model.NetworkID(of.p.ObjectID)
		if of.now {
			t.sharedWith.add(id, of.p.Target, struct{}{})
		} else {
			t.sharedWith.remove(id, of.p.Target)
		}
		if overlay(t.networks[id]) {
			t.renameFor(id, d)
		}
	}
}

// domains are kept as interfaces come and go. A merge moves what is in the smaller domain; a split
// costs about what the smaller part has, and what leads around costs at most the domain.
type domains struct {
	ofRouter  map[model.RouterID]*domain
	ofNetwork map[model.NetworkID]*domain
	byName    map[model.NetworkKey]*domain
	// How many interfaces a router has on a network, both ways round.
	networksOf group[model.RouterID, model.NetworkID, int]
	routersOf  group[model.NetworkID, model.RouterID, struct{}]
}

func newDomains() domains {
	return domains{
		ofRouter: map[model.RouterID]*domain{}, ofNetwork: map[model.NetworkID]*domain{}, byName: map[model.NetworkKey]*domain{},
		networksOf: group[model.RouterID, model.NetworkID, int]{}, routersOf: group[model.NetworkID, model.RouterID, struct{}]{},
	}
}

// nameOf is the name of a router's domain; 0: it has none.
func (d *domains) nameOf(id model.RouterID) model.NetworkKey {
	if x := d.ofRouter[id]; x != nil {
		return x.name
	}
	return 0
}

// edge is what a router's interface joins.
type edge struct {
	router  model.RouterID
	network model.NetworkID
}

// edgeOf is what a port joins, if it does.
func (t *Topology) edgeOf(p *port) (edge, bool) {
	if p == nil {
		return edge{}, false
	}
	r, ok := p.router()
	return edge{r, p.NetworkID}, ok && t.routers[r] != nil && overlay(t.networks[p.NetworkID])
}

// rejoin takes in what a port joins in place of what another did.
func (t *Topology) rejoin(was edge, had bool, is edge, has bool, d Touched) {
	if had == has && was == is {
		return
	}
	if has {
		t.join(is, d)
	}
	if had {
		t.part(was, d)
	}
}

// joinNetwork and partNetwork do it for all interfaces on a network, joinRouter and partRouter for
// all of a router. The network or the router must be in the index.
func (t *Topology) joinNetwork(id model.NetworkID, d Touched) {
	for _, p := range t.ifacesOfNetwork[id] {
		if e, ok := t.edgeOf(p); ok {
			t.join(e, d)
		}
	}
}

func (t *Topology) partNetwork(id model.NetworkID, d Touched) {
	for _, p := range t.ifacesOfNetwork[id] {
		if e, ok := t.edgeOf(p); ok {
			t.part(e, d)
		}
	}
}

func (t *Topology) joinRouter(r *model.Router, d Touched) {
	t.domains.ofRouter[r.ID] = &domain{routers: map[model.RouterID]struct{}{r.ID: {}}, networks: map[model.NetworkID]struct{}{}}
	for _, p := range t.ifacesOfRouter[r.ID] {
		if e, ok := t.edgeOf(p); ok {
			t.join(e, d)
		}
	}
}

func (t *Topology) partRouter(r *model.Router, d Touched) {
	for _, p := range t.ifacesOfRouter[r.ID] {
		if e, ok := t.edgeOf(p); ok {
			t.part(e, d)
		}
	}
	delete(t.domains.ofRouter, r.ID)
}

func (t *Topology) join(e edge, d Touched) {
	ds := &t.domains
	n := ds.networksOf[e.router][e.network]
	ds.networksOf.add(e.router, e.network, n+1)
	ds.routersOf.add(e.network, e.router, struct{}{})
	if n > 0 {
		return
	}
	a, b := ds.ofRouter[e.router], ds.ofNetwork[e.network]
	switch {
	case b == nil:
		a.networks[e.network] = struct{}{}
		ds.ofNetwork[e.network] = a
		t.touchSpeakers(e.network, a.name, d)
		if a.head == "" || t.heads(t.networks[e.network], t.networks[a.head]) < 0 {
			t.rename(a, e.network, d)
		}
	case a != b:
		t.merge(a, b, d)
	}
}

// merge makes one domain of two, of which one has networks at least.
func (t *Topology) merge(a, b *domain, d Touched) {
	if a.head == "" || b.head != "" && t.heads(t.networks[b.head], t.networks[a.head]) < 0 {
		a, b = b, a
	}
	head := a.head
	t.rename(b, head, d)
	if len(a.routers)+len(a.networks) < len(b.routers)+len(b.networks) {
		a, b = b, a
	}
	t.domains.move(b.routers, b.networks, a)
	a.head, a.name = head, t.networks[head].Key
	t.domains.byName[a.name] = a
}

// rename gives a domain the name of a network; "": it has none any more.
func (t *Topology) rename(x *domain, head model.NetworkID, d Touched) {
	from, to := x.name, model.NetworkKey(0)
	if n := t.networks[head]; n != nil {
		to = n.Key
	}
	if t.domains.byName[from] == x {
		delete(t.domains.byName, from)
	}
	x.head, x.name = head, to
	if to != 0 {
		t.domains.byName[to] = x
	}
	if from != to {
		t.touchRenamed(x, from, to, d)
	}
}

// headOf is the network that goes before all others of a domain; "": it has none.
func (t *Topology) headOf(x *domain) (head model.NetworkID) {
	for id := range x.networks {
		if head == "" || t.heads(t.networks[id], t.networks[head]) < 0 {
			head = id
		}
	}
	return head
}

// renameFor gives a domain the name that it is to have after one of its networks has become another.
func (t *Topology) renameFor(id model.NetworkID, d Touched) {
	if x := t.domains.ofNetwork[id]; x != nil {
		t.rename(x, t.headOf(x), d)
	}
}

// move puts routers and networks into a domain.
func (ds *domains) move(routers map[model.RouterID]struct{}, networks map[model.NetworkID]struct{}, to *domain) {
	for id := range routers {
		to.routers[id], ds.ofRouter[id] = struct{}{}, to
	}
	for id := range networks {
		to.networks[id], ds.ofNetwork[id] = struct{}{}, to
	}
}

func (t *Topology) part(e edge, d Touched) {
	ds := &t.domains
	if n := ds.networksOf[e.router][e.network]; n > 1 {
		ds.networksOf.add(e.router, e.network, n-1)
		return
	}
	ds.networksOf.remove(e.router, e.network)
	ds.routersOf.remove(e.network, e.router)
	x := ds.ofRouter[e.router]
	if len(ds.routersOf[e.network]) == 0 {
		t.touchSpeakers(e.network, x.name, d)
		delete(x.networks, e.network)
		delete(ds.ofNetwork, e.network)
		if x.head == e.network {
			t.rename(x, t.headOf(x), d)
		}
		return
	}
	if off := ds.cutOff(e); off != nil {
		t.split(x, off, d)
	}
}

// split makes what is cut off from a domain one of its own. The part that has the head keeps the name.
func (t *Topology) split(x *domain, off *reached, d Touched) {
	y := &domain{routers: map[model.RouterID]struct{}{}, networks: map[model.NetworkID]struct{}{}}
	for id := range off.routers {
		delete(x.routers, id)
	}
	for id := range off.networks {
		delete(x.networks, id)
	}
	t.domains.move(off.routers, off.networks, y)
	y.head, y.name = x.head, x.name
	if _, cut := off.networks[x.head]; cut {
		t.domains.byName[y.name] = y
		t.rename(x, t.headOf(x), d)
	} else {
		t.rename(y, t.headOf(y), d)
	}
}

// reached is what is found from one end.
type reached struct {
	routers  map[model.RouterID]struct{}
	networks map[model.NetworkID]struct{}
	// What is still to be looked at.
	nextRouters  []model.RouterID
	nextNetworks []model.NetworkID
	work         int // done for it: routers and networks looked at from others
}

// cutOff looks from both ends of an edge that is gone, always from the one that has cost less, until they meet or one end
// has no more: that is cut off. nil: something leads around.
func (ds *domains) cutOff(e edge) *reached {
	a := &reached{routers: map[model.RouterID]struct{}{e.router: {}}, networks: map[model.NetworkID]struct{}{}, nextRouters: []model.RouterID{e.router}}
	b := &reached{routers: map[model.RouterID]struct{}{}, networks: map[model.NetworkID]struct{}{e.network: {}}, nextNetworks: []model.NetworkID{e.network}}
	for {
		switch {
		case a.done():
			return a
		case b.done():
			return b
		}
		if b.work+ds.cost(b) < a.work+ds.cost(a) {
			a, b = b, a
		}
		a.work += ds.cost(a)
		if ds.step(a, b) {
			return nil
		}
	}
}

// cost is that of the next step.
func (ds *domains) cost(r *reached) int {
	if n := len(r.nextRouters); n > 0 {
		return len(ds.networksOf[r.nextRouters[n-1]])
	}
	return len(ds.routersOf[r.nextNetworks[len(r.nextNetworks)-1]])
}

func (r *reached) done() bool { return len(r.nextRouters)+len(r.nextNetworks) == 0 }

// step looks at one more router or network, and tells whether it has met what the other end has found.
func (ds *domains) step(r, other *reached) (met bool) {
	if n := len(r.nextRouters); n > 0 {
		id := r.nextRouters[n-1]
		r.nextRouters = r.nextRouters[:n-1]
		for net := range ds.networksOf[id] {
			if _, there := other.networks[net]; there {
				return true
			}
			if _, seen := r.networks[net]; !seen {
				r.networks[net] = struct{}{}
				r.nextNetworks = append(r.nextNetworks, net)
			}
		}
		return false
	}
	id := r.nextNetworks[len(r.nextNetworks)-1]
	r.nextNetworks = r.nextNetworks[:len(r.nextNetworks)-1]
	for router := range ds.routersOf[id] {
		if _, there := other.routers[router]; there {
			return true
		}
		if _, seen := r.routers[router]; !seen {
			r.routers[router] = struct{}{}
			r.nextRouters = append(r.nextRouters, router)
		}
	}
	return false
}

// touchRenamed touches what says the name of a domain: the MACs of its routers, who has those routers, and
// who may speak for them.
func (t *Topology) touchRenamed(x *domain, from, to model.NetworkKey, d Touched) {
	for id := range x.routers {
		if r := t.routers[id]; r != nil {
			d.around.add(routerGroup(r.Key))
		}
		for _, p := range t.ifacesOfRouter[id] {
			if n := t.networks[p.NetworkID]; n != nil {
				d.fdb.add(inGroup(FDBKey{n.Key, p.MAC.MAC}))
			}
		}
	}
	for id := range x.networks {
		t.touchSpeakers(id, from, d)
		t.touchSpeakers(id, to, d)
	}
}

// touchSpeakers touches those of a domain who are on a network.
func (t *Topology) touchSpeakers(id model.NetworkID, name model.NetworkKey, d Touched) {
	if name == 0 {
		return
	}
	for h := range t.hostsOn(id) {
		d.speakers.add(inGroup(SpeakerKey{name, h}))
	}
}

// hostsOn are the hosts that may be on a network: by a port, a VLAN or a gateway device.
func (t *Topology) hostsOn(id model.NetworkID) func(yield func(model.HostName) bool) {
	return func(yield func(model.HostName) bool) {
		for h := range t.hostsOfNetwork[id] {
			if !yield(h) {
				return
			}
		}
		for _, c := range t.connsOfNetwork[id] {
			seg, ok := t.segmentOf(c)
			if !ok {
				continue
			}
			if dev := t.vlanDevices[seg.device]; dev != nil {
				for h := range t.hostsOfNetwork[dev.UplinkID()] {
					if !yield(h) {
						return
					}
				}
			}
			if p := t.placements[seg.device]; p != nil {
				for h := range p.Hosts {
					if !yield(h) {
						return
					}
				}
			}
		}
	}
}
