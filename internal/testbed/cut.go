package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/hostnet"
)

// Cut is a way between two nodes that carries nothing now.
type Cut struct {
	A string `json:"a"`
	B string `json:"b"`
}

func (c Cut) same(o Cut) bool { return c == o || c.A == o.B && c.B == o.A }

// way is a link between two nodes, or the way between two of one control network.
type way struct{ a, b wayEnd }

type wayEnd struct {
	node, iface string
	addr        netip.Addr
}

// ways are all between the nodes of a lab. Links with an end that has no address carry what an agent puts there,
// and cannot be cut.
func (l *Lab) ways() (out []way) {
	for _, k := range l.st.File.Links {
		a, b := k.Ends[0], k.Ends[1]
		if a.Address.IsValid() && b.Address.IsValid() {
			out = append(out, way{wayEnd{a.Node, a.Interface, a.Address.Addr()}, wayEnd{b.Node, b.Interface, b.Address.Addr()}})
		}
	}
	for _, s := range l.st.File.Sites {
		all := s.onControl()
		for i, a := range all {
			for _, b := range all[i+1:] {
				out = append(out, way{wayEnd{a, controlLink, l.controlIP(a)}, wayEnd{b, controlLink, l.controlIP(b)}})
			}
		}
	}
	return out
}

// Cut cuts the ways between two nodes (hosts, underlay routers, controllers and etcd members of a site with several), or
// all ways of a where b is empty: what is sent there is lost without a word, both ways, until Heal. The API's clients
// still reach a controller. It returns what is cut now that was not.
func (l *Lab) Cut(ctx context.Context, a, b string) ([]Cut, error) {
	return l.changeCuts(ctx, a, b, func(c Cut, ws []way) (bool, error) {
		if slices.ContainsFunc(l.st.Cuts, c.same) {
			return false, nil
		}
		l.st.Cuts = append(l.st.Cuts, c)
		if err := l.st.save(); err != nil { // first: what was cut by half is healed too
			return false, err
		}
		return true, l.atEnds(ws, (*hostnet.NetNS).Cut)
	})
}

// Heal undoes Cut: between two nodes, of one where b is empty, of all where both are. It returns what is cut no
// more.
func (l *Lab) Heal(ctx context.Context, a, b string) ([]Cut, error) {
	return l.changeCuts(ctx, a, b, func(c Cut, ws []way) (bool, error) {
		if !slices.ContainsFunc(l.st.Cuts, c.same) {
			return false, nil
		}
		if err := l.atEnds(ws, (*hostnet.NetNS).Heal); err != nil {
			return false, err
		}
		l.st.Cuts = slices.DeleteFunc(l.st.Cuts, c.same)
		return true, l.st.save()
	})
}

// changeCuts does something with each two nodes that have ways between them and are a and b, under the lab's lock.
func (l *Lab) changeCuts(ctx context.Context, a, b string, change func(Cut, []way) (bool, error)) ([]Cut, error) {
	for _, name := range []string{a, b} {
		if name == "" {
			continue
		}
		if known := l.wayNodes(); !slices.Contains(known, name) {
			return nil, unknownf("lab %s has no way of a node %q; there are those of %s", l.Name(), name, strings.Join(known, ", "))
		}
	}
	unlock, err := l.lockAnew(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	of := func(w way, name string) bool { return name == "" || w.a.node == name || w.b.node == name }
	out := []Cut{}
	found := false
	for _, pair := range l.pairs() {
		if !of(pair[0], a) || !of(pair[0], b) {
			continue
		}
		found = true
		c := Cut{pair[0].a.node, pair[0].b.node}
		changed, err := change(c, pair)
		if err != nil {
			return out, err
		}
		if changed {
			out = append(out, c)
		}
	}
	if !found {
		return nil, unknownf("lab %s has no link of %s and %s, and they are not on one control network", l.Name(), a, b)
	}
	return out, nil
}

// wayNodes are the nodes that have a way.
func (l *Lab) wayNodes() (out []string) {
	for _, w := range l.ways() {
		for _, n := range []string{w.a.node, w.b.node} {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// pairs are the ways by the two nodes that they join.
func (l *Lab) pairs() (out [][]way) {
	for _, w := range l.ways() {
		i := slices.IndexFunc(out, func(ws []way) bool {
			return Cut{ws[0].a.node, ws[0].b.node}.same(Cut{w.a.node, w.b.node})
		})
		if i < 0 {
			out = append(out, nil)
			i = len(out) - 1
		}
		out[i] = append(out[i], w)
	}
	return out
}

// atEnds does something at both ends of ways.
func (l *Lab) atEnds(ws []way, do func(*hostnet.NetNS, string, netip.Addr) error) error {
	one := func(at, to wayEnd) error {
		ns, err := l.NetNS(at.node)
		if err != nil {
			return err
		}
		defer ns.Close()
		return do(ns, at.iface, to.addr)
	}
	for _, w := range ws {
		if err := errors.Join(one(w.a, w.b), one(w.b, w.a)); err != nil {
			return fmt.Errorf("between %s and %s: %w", w.a.node, w.b.node, err)
		}
	}
	return nil
}
