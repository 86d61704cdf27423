package sites

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// Resolver gives the id that a reference of an action means by now.
type Resolver func(plan.Ref) string

// Did is what became of an action.
type Did struct {
	ID string // of the resource
	// Sure tells that no request for it is still on its way.
	Sure bool
	// Found tells that the API said at once that it was there before: somebody else has made it.
	Found bool
}

// Do does one action, once if all goes well. Where an answer does not come, it looks
// for what the action would have made before it makes it again. What it returns holds with an error too.
func (s *Conn) Do(ctx context.Context, a *plan.Action, id Resolver) (Did, error) {
	lost := false
	out := Did{Sure: true}
	err := s.retry(ctx, s.opts.Attempts, func(ctx context.Context) error {
		if lost {
			found, err := s.Find(ctx, a, id)
			if err != nil || found != "" {
				out.ID = found
				return err
			}
		}
		got, err := s.step(ctx, a, id)
		if err == nil {
			out.ID = got
			return nil
		}
		// A conflict may be with what an earlier attempt made after all, in this run
		// or in one that was killed.
		if client.Status(err) == http.StatusConflict || client.Status(err) == http.StatusBadRequest && a.Op == plan.Attach {
			if found, ferr := s.Find(ctx, a, id); ferr == nil && found != "" {
				out.ID, out.Found = found, !lost
				return nil
			}
		}
		out.Sure = out.Sure && !client.IsUnanswered(err)
		// A site that is busy has not done it; after any other error nobody knows.
		_, busy := client.Busy(err)
		lost = lost || client.IsTemporary(err) && !busy
		return err
	})
	return out, err
}

func collection(k plan.Kind, parent string) client.Collection {
	switch k {
	case plan.Network:
		return client.Networks
	case plan.Subnet:
		return client.Subnets
	case plan.Port:
		return client.Ports
	case plan.Router:
		return client.Routers
	case plan.Device:
		return client.GatewayDevices
	case plan.L2Gateway:
		return client.L2Gateways
	case plan.Connection:
		return client.L2GatewayConnections
	}
	return client.RemoteMACEntries(parent)
}

// step makes the one request of an action.
func (s *Conn) step(ctx context.Context, a *plan.Action, id Resolver) (string, error) {
	k, target := collection(a.Kind, id(a.Parent)), id(a.Target)
	switch a.Op {
	case plan.Create:
		made, err := s.api.Create(ctx, k, resolve(map[string]any(a.Attrs), id).(map[string]any))
		return client.ID(made), err
	case plan.Update:
		_, err := s.api.Update(ctx, k, target, resolve(map[string]any(a.Attrs), id).(map[string]any))
		return target, err
	case plan.Delete:
		return target, gone(s.api.Delete(ctx, k, target))
	case plan.AddTag:
		return target, s.api.AddTag(ctx, k, target, a.Tag)
	case plan.RemoveTag:
		return target, gone(s.api.RemoveTag(ctx, k, target, a.Tag))
	case plan.Attach:
		_, err := s.api.AddInterface(ctx, id(a.Parent), "port_id", target)
		return target, err
	case plan.Detach:
		return target, gone(s.api.RemoveInterface(ctx, id(a.Parent), target))
	case plan.AddRoutes, plan.RemoveRoutes:
		return target, s.changeRoutes(ctx, target, a)
	}
	return "", fmt.Errorf("no action is called %q", a.Op)
}

// gone: what is to be taken away and is not there is away.
func gone(err error) error {
	if client.IsNotFound(err) {
		return nil
	}
	return err
}

// resolve puts ids in the place of references.
func resolve(v any, id Resolver) any {
	switch v := v.(type) {
	case plan.Ref:
		return id(v)
	case plan.Attrs:
		return resolve(map[string]any(v), id)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = resolve(e, id)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = resolve(e, id)
		}
		return out
	}
	return v
}

func routeAttrs(routes []observed.Route) []client.Attrs {
	out := make([]client.Attrs, len(routes))
	for i, r := range routes {
		out[i] = client.Attrs{"destination": r.Destination.String(), "nexthop": r.NextHop.String()}
	}
	return out
}

// changeRoutes adds or removes extra routes: in one step where the API has it. Where
// it has not, the list is read, changed and written, under the condition that nobody
// else changed the router in between; an API without revisions cannot be asked that.
func (s *Conn) changeRoutes(ctx context.Context, router string, a *plan.Action) error {
	ext, err := s.extensionsNow(ctx)
	if err != nil {
		return err
	}
	if ext["extraroute-atomic"] {
		if a.Op == plan.AddRoutes {
			return s.api.AddRoutes(ctx, router, routeAttrs(a.Routes))
		}
		return gone(s.api.RemoveRoutes(ctx, router, routeAttrs(a.Routes)))
	}
	s.routes.Lock()
	defer s.routes.Unlock()
	const tries = 20 // each lost to somebody who changed the router meanwhile
	for range tries {
		err = s.rewriteRoutes(ctx, router, a, ext["standard-attr-revisions"])
		if client.Status(err) != http.StatusPreconditionFailed {
			return err
		}
	}
	return err
}

// extensionsNow is Extensions for who holds a slot already.
func (s *Conn) extensionsNow(ctx context.Context) (map[string]bool, error) {
	s.mu.Lock()
	have := s.extensions
	s.mu.Unlock()
	if have != nil {
		return have, nil
	}
	ext, err := s.api.Extensions(ctx)
	if client.IsNotFound(err) {
		return nil, nil
	}
	return ext, err
}

func (s *Conn) rewriteRoutes(ctx context.Context, id string, a *plan.Action, conditional bool) error {
	attrs, err := s.api.Get(ctx, client.Routers, id)
	if err != nil {
		if a.Op == plan.RemoveRoutes {
			return gone(err)
		}
		return err
	}
	have, _ := attrs["routes"].([]any)
	var want []any
	change := slices.Clone(a.Routes)
	for _, x := range have {
		d, _ := x.(map[string]any)
		r, err := routeOf(d)
		if i := slices.Index(change, r); err == nil && i >= 0 {
			change = slices.Delete(change, i, i+1)
			if a.Op == plan.RemoveRoutes {
				continue
			}
		}
		want = append(want, x)
	}
	if a.Op == plan.AddRoutes {
		for _, r := range routeAttrs(change) {
			want = append(want, map[string]any(r))
		}
	}
	if len(want) == len(have) {
		return nil
	}
	revision := int64(0)
	if conditional {
		r, err := router(attrs)
		if err != nil {
			return err
		}
		revision = r.Revision
	}
	if want == nil {
		want = []any{}
	}
	_, err = s.api.UpdateIf(ctx, client.Routers, id, client.Attrs{"routes": want}, revision)
	return err
}

// Find looks for what a create or an attach would have made. "" is nothing.
func (s *Conn) Find(ctx context.Context, a *plan.Action, id Resolver) (string, error) {
	if a.Op == plan.Attach {
		p, err := s.api.Get(ctx, client.Ports, id(a.Target))
		if err != nil || client.Str(p, "device_id") != id(a.Parent) {
			return "", gone(err)
		}
		return id(a.Target), nil
	}
	if a.Op != plan.Create {
		return "", nil
	}
	want, _ := resolve(map[string]any(a.Attrs), id).(map[string]any)
	k := collection(a.Kind, id(a.Parent))
	q := url.Values{}
	for _, key := range filters[a.Kind] {
		if v, ok := want[key].(string); ok {
			q.Set(key, v)
		}
	}
	all, err := s.api.List(ctx, k, q)
	if err != nil {
		return "", err
	}
	for _, got := range all {
		if same(a.Kind, want, got) {
			return client.ID(got), nil
		}
	}
	return "", nil
}

// filters keep the list short in which Find looks.
var filters = map[plan.Kind][]string{
	plan.Network: {"name"}, plan.Subnet: {"network_id"}, plan.Port: {"network_id"}, plan.Router: {"name"},
	plan.Device: {"name"}, plan.L2Gateway: {"name"}, plan.Connection: {"network_id"},
}

// same tells whether got is what a create with want made. Marks and the values that
// are unique decide.
func same(k plan.Kind, want, got client.Attrs) bool {
	eq := func(keys ...string) bool {
		for _, key := range keys {
			if client.Str(want, key) != client.Str(got, key) {
				return false
			}
		}
		return true
	}
	switch k {
	case plan.Network, plan.Router:
		return eq("name", "description")
	case plan.Subnet:
		return eq("network_id", "cidr", "description")
	case plan.Port:
		w, err1 := port(want)
		g, err2 := port(got)
		return err1 == nil && err2 == nil && eq("network_id", "description") && w.MAC.MAC == g.MAC.MAC && w.Addr() == g.Addr()
	case plan.Device:
		return eq("name", "resource_id")
	case plan.L2Gateway:
		w, err1 := l2Gateway(want)
		g, err2 := l2Gateway(got)
		return err1 == nil && err2 == nil && eq("name") && w.DeviceID == g.DeviceID && w.VNI == g.VNI
	case plan.Connection:
		return eq("l2_gateway_id", "network_id")
	}
	w, err1 := remoteMAC(want, "")
	g, err2 := remoteMAC(got, "")
	return err1 == nil && err2 == nil && w.MAC.MAC == g.MAC.MAC && w.VTEP == g.VTEP && w.VNI == g.VNI
}
