package hoststate

import (
	"slices"
	"sync"

	"github.com/causeway-net/causeway/internal/model"
)

// reach is how overlay networks and routers hang together by router interfaces, in small numbers: what a host wants is walked
// for each host, and goes by hundreds of them.
type reach struct {
	all      []vertex
	free     []int32
	networks map[model.NetworkID]int32
	routers  map[model.RouterID]int32
}

// vertex is a network or a router.
type vertex struct {
	there  bool           // the overlay network or the router is there, and not only an interface that names it
	group  uint64         // as Group.number has it
	router model.RouterID // "": it is a network
	next   []int32        // what an interface leads to, once for each interface
}

func newReach() reach {
	return reach{networks: map[model.NetworkID]int32{}, routers: map[model.RouterID]int32{}}
}

// numberOf is the number of a network or router, which gets one if it has none.
func numberOf[ID comparable](r *reach, numbers map[ID]int32, id ID) int32 {
	n, ok := numbers[id]
	switch {
	case ok:
	case len(r.free) > 0:
		n = r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
		numbers[id] = n
	default:
		n = int32(len(r.all))
		r.all = append(r.all, vertex{})
		numbers[id] = n
	}
	return n
}

// release gives a number back that nothing needs any more.
func release[ID comparable](r *reach, numbers map[ID]int32, id ID) {
	n := numbers[id]
	if v := &r.all[n]; !v.there && len(v.next) == 0 {
		*v = vertex{next: v.next[:0]}
		delete(numbers, id)
		r.free = append(r.free, n)
	}
}

// setNetwork takes a network as it is now; nil: it is gone.
func (r *reach) setNetwork(id model.NetworkID, n *model.Network) {
	at := numberOf(r, r.networks, id)
	v := &r.all[at]
	v.there = overlay(n)
	if v.there {
		v.group = networkGroup(n.Key).number()
	}
	release(r, r.networks, id)
}

// setRouter takes a router as it is now; nil: it is gone.
func (r *reach) setRouter(id model.RouterID, o *model.Router) {
	at := numberOf(r, r.routers, id)
	v := &r.all[at]
	v.there, v.router = o != nil, id
	if v.there {
		v.group = routerGroup(o.Key).number()
	}
	release(r, r.routers, id)
}

// link takes a router's interface in, unlink takes it out.
func (r *reach) link(network model.NetworkID, router model.RouterID) {
	a, b := numberOf(r, r.networks, network), numberOf(r, r.routers, router)
	r.all[a].next = append(r.all[a].next, b)
	r.all[b].next = append(r.all[b].next, a)
}

func (r *reach) unlink(network model.NetworkID, router model.RouterID) {
	a, b := r.networks[network], r.routers[router]
	drop := func(v *vertex, n int32) {
		if i := slices.Index(v.next, n); i >= 0 {
			v.next[i] = v.next[len(v.next)-1]
			v.next = v.next[:len(v.next)-1]
		}
	}
	drop(&r.all[a], b)
	drop(&r.all[b], a)
	release(r, r.networks, network)
	release(r, r.routers, router)
}

// walk is what Wants works with.
type walk struct {
	*reach
	most    int
	turn    uint32
	seen    []uint32 // by number: the turn that it was met in
	groups  []uint64 // taken so far
	named   []Group
	routers []model.RouterID // that were taken
	cut     bool
	lists   [2][]int32 // of layers
}

var walks = sync.Pool{New: func() any { return new(walk) }}

func newWalk(r *reach, most int) *walk {
	w := walks.Get().(*walk)
	if w.turn++; len(w.seen) < len(r.all) || w.turn == 0 {
		w.seen, w.turn = make([]uint32, len(r.all)+len(r.all)/4), 1
	}
	w.reach, w.most, w.cut = r, most, false
	w.groups, w.named, w.routers = w.groups[:0], w.named[:0], w.routers[:0]
	return w
}

// end gives what it worked with to the next.
func (w *walk) end() {
	w.reach = nil
	clear(w.named)
	clear(w.routers)
	walks.Put(w)
}

// meet adds to a layer what is there and was not met before.
func (w *walk) meet(n int32, layer []int32) []int32 {
	if w.seen[n] == w.turn || !w.all[n].there {
		return layer
	}
	w.seen[n] = w.turn
	return append(layer, n)
}

// around is the layer of all that an interface of those in another layer leads to.
func (w *walk) around(from, layer []int32) []int32 {
	layer = layer[:0]
	for _, n := range from {
		for _, next := range w.all[n].next {
			layer = w.meet(next, layer)
		}
	}
	return w.take(layer)
}

// take takes a layer, as far as there is room.
func (w *walk) take(layer []int32) []int32 {
	if room := max(0, w.most-len(w.groups)-len(w.named)); len(layer) > room {
		w.cut = true
		slices.SortFunc(layer, func(a, b int32) int { return numbered(w.all[a].group).Compare(numbered(w.all[b].group)) })
		layer = layer[:room]
	}
	for _, n := range layer {
		v := &w.all[n]
		w.groups = append(w.groups, v.group)
		if v.router != "" {
			w.routers = append(w.routers, v.router)
		}
	}
	return layer
}
