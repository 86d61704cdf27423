package neutronapi

import (
	"context"
	"net/http"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

func routers(a *API) *resource[site.RouterInput, model.Router] {
	type in = site.RouterInput
	type router = model.Router
	std := func(r *router) *model.Standard { return &r.Standard }
	stdIn := func(i *in) *model.Standard { return &i.Standard }
	return &resource[in, router]{
		name: "router", plural: "routers", path: "/v2.0/routers", table: store.Routers,
		attrs: append(standardAttrs(stdIn, std),
			idAttr[in](func(r *router) model.RouterID { return r.ID }),
			readOnly[in]("status", enum("ACTIVE"), func(store.Snapshot, *router) any { return "ACTIVE" }),
			attribute[in, router]{name: "admin_state_up", post: true, put: true,
				takes: into(boolean(), func(i *in) *bool { return &i.AdminStateUp }),
				get:   func(_ store.Snapshot, r *router) any { return r.AdminStateUp }},
			attribute[in, router]{name: "routes", put: true,
				takes: into(routes(), func(i *in) *[]model.HostRoute { return &i.Routes }),
				get:   func(_ store.Snapshot, r *router) any { return list(r.Routes) }},
			shown(attribute[in, router]{name: "external_gateway_info", post: true, put: true,
				takes: into(externalGateway(), func(i *in) *model.NetworkID { return &i.ExternalNetwork })}, nil),
			undecided[in, router]("distributed", "every router is distributed over the site's hosts, and no other kind exists: leave the attribute out"),
			neutral[in, router]("ha", "high availability of routers does not exist yet"),
			neutral[in, router]("availability_zone_hints", "availability zones do not exist yet"),
			neutral[in, router]("flavor_id", "flavors do not exist yet"),
		),
		indexes: map[string]func(store.Snapshot, string) []string{"tenant_id": ownedBy(site.QuotaRouter), "project_id": ownedBy(site.QuotaRouter)},
		bulk:    true,
		fresh: func(r *http.Request) *in {
			return &in{Router: router{Standard: model.Standard{ProjectID: ownerOf(r)}, AdminStateUp: true}}
		},
		id:         func(r *router) string { return string(r.ID) },
		revision:   func(r *router) int64 { return r.Revision },
		standardIn: stdIn, standard: std,
		notFound: site.RouterNotFound,
		create:   a.site.CreateRouters,
		update:   a.site.UpdateRouter,
		remove:   byID(a.site.DeleteRouter),
	}
}

// externalGateway takes the network of a router's way out; null and {} mean none.
func externalGateway() value[model.NetworkID] {
	type gateway struct {
		network string
		more    bool
	}
	type address struct{ subnet, ip string }
	addresses := listOf(object(
		key[address]{"subnet_id", false, into(resourceID(), func(a *address) *string { return &a.subnet })},
		key[address]{"ip_address", false, into(label(), func(a *address) *string { return &a.ip })},
	), maxListed, "addresses of a gateway")
	o := nullable(object(
		key[gateway]{"network_id", false, into(nullable(resourceID()), func(g *gateway) *string { return &g.network })},
		key[gateway]{"enable_snat", false, with(boolean(), func(g *gateway, _ bool) error { g.more = true; return nil })},
		key[gateway]{"external_fixed_ips", false, with(addresses, func(g *gateway, _ []address) error { g.more = true; return nil })},
	))
	return value[model.NetworkID]{o.takes, o.gives, func(x any) (model.NetworkID, error) {
		g, err := o.parse(x)
		if err == nil && g.more && g.network == "" {
			err = reasonf("Validation of dictionary's keys failed. Expected keys: {'network_id'}")
		}
		return model.NetworkID(g.network), err
	}}
}

// registerRouterActions serves the paths below a router that are no attributes.
func (a *API) registerRouterActions() {
	const router = "/v2.0/routers/{id}"
	ifMatch := routers(a).ifMatchParameter()
	put := func(name, summary string, body, reply *openapi.Schema, serve func(http.ResponseWriter, *http.Request) error) {
		a.handle(router+"/"+name, methods{http.MethodPut: {name: name, summary: summary, params: ifMatch, body: body, status: http.StatusOK, reply: reply, serve: serve}})
	}
	iface := postSchema(interfaceAttrs())
	put("add_router_interface", "Give a router an interface: on a subnet, or a port.", iface, interfaceReply(),
		a.interfaceAction("add_router_interface", a.site.AddInterface))
	put("remove_router_interface", "Take an interface from a router.", iface, interfaceReply(),
		a.interfaceAction("remove_router_interface", a.site.RemoveInterface))
	routes, reply := asked("router", postSchema(routesAttrs())), wrapped("router", openapi.Ref("router"))
	put("add_extraroutes", "Add routes to a router's.", routes, reply, a.routesAction("add_extraroutes", a.site.AddRoutes))
	put("remove_extraroutes", "Remove routes of a router.", routes, reply, a.routesAction("remove_extraroutes", a.site.RemoveRoutes))
}

// interfaceBody is the table of what adding and removing an interface take.
type interfaceBody struct{ subnet, port string }

func interfaceAttrs() []attribute[interfaceBody, struct{}] {
	return []attribute[interfaceBody, struct{}]{
		{name: "subnet_id", post: true, takes: into(nullable(resourceID()), func(b *interfaceBody) *string { return &b.subnet })},
		{name: "port_id", post: true, takes: into(nullable(resourceID()), func(b *interfaceBody) *string { return &b.port })},
	}
}

func interfaceReply() *openapi.Schema {
	s := closed()
	for _, name := range []string{"id", "port_id", "network_id", "subnet_id"} {
		s.Properties[name] = pattern(uuidPattern)
	}
	s.Properties["tenant_id"], s.Properties["project_id"] = label().gives, label().gives
	s.Properties["subnet_ids"] = openapi.ListOf(pattern(uuidPattern), -1)
	return s
}

// routesAttrs is the table of what adding and removing routes take.
func routesAttrs() []attribute[[]model.HostRoute, struct{}] {
	return []attribute[[]model.HostRoute, struct{}]{{name: "routes", post: true, required: true,
		takes: into(anyRoutes(), func(out *[]model.HostRoute) *[]model.HostRoute { return out })}}
}

func (a *API) interfaceAction(action string, do func(ctx context.Context, router, subnet, port string) (site.Interface, error)) func(http.ResponseWriter, *http.Request) error {
	table := interfaceAttrs()
	shape := routers(a)
	return func(w http.ResponseWriter, req *http.Request) error {
		if err := shape.mayAsk(a, req, req.PathValue("id"), action); err != nil {
			return err
		}
		attrs, err := ReadBody(req)
		if err != nil {
			return err
		}
		var body interfaceBody
		if err := applyPost(table, &body, attrs); err != nil {
			return err
		}
		id := req.PathValue("id")
		if !isUUID(id) {
			return site.RouterNotFound(clip(id))
		}
		met, err := shape.precondition(req, id)
		if err != nil {
			return err
		}
		ctx, _ := a.bound(req.Context(), a.checkInterface(action, id, body), met)
		i, err := do(ctx, id, body.subnet, body.port)
		if err != nil {
			return err
		}
		a.WriteJSON(w, http.StatusOK, map[string]any{
			"id": i.RouterID, "tenant_id": i.ProjectID, "project_id": i.ProjectID, "port_id": i.PortID,
			"network_id": i.NetworkID, "subnet_id": i.SubnetIDs[0], "subnet_ids": i.SubnetIDs,
		})
		return nil
	}
}

func (a *API) routesAction(action string, do func(ctx context.Context, id string, routes []model.HostRoute) (*model.Router, error)) func(http.ResponseWriter, *http.Request) error {
	table := routesAttrs()
	shape := routers(a)
	return func(w http.ResponseWriter, req *http.Request) error {
		if err := shape.mayAsk(a, req, req.PathValue("id"), action); err != nil {
			return err
		}
		body, err := ReadBody(req)
		if err != nil {
			return err
		}
		attrs, err := unwrap(body, "router")
		if err != nil {
			return err
		}
		var routes []model.HostRoute
		if err := applyPost(table, &routes, attrs); err != nil {
			return err
		}
		id := req.PathValue("id")
		if !isUUID(id) {
			return site.RouterNotFound(clip(id))
		}
		met, err := shape.precondition(req, id)
		if err != nil {
			return err
		}
		ctx, done := a.bound(req.Context(), shape.checkChange(a, id, "UPDATE", action, nil), met)
		r, err := do(ctx, id, routes)
		if err != nil {
			return err
		}
		a.WriteJSON(w, http.StatusOK, map[string]any{"router": shape.render(a, done.view(req.Context()), r, nil)})
		return nil
	}
}

// checkInterface decides about adding or removing a router's interface. What is
// added, the caller must be allowed to use: a port, to change it; a subnet's gateway
// address, to choose an address on its network. On a network that is shared with
// others, who may not choose adds a port.
func (a *API) checkInterface(action, id string, body interfaceBody) func(view) error {
	router := routers(a).checkChange(a, id, "UPDATE", action, nil)
	return func(v view) error {
		if err := router(v); err != nil || action != "add_router_interface" {
			return err
		}
		if body.port != "" {
			return ports(a).checkChange(a, body.port, "UPDATE", "update_port", nil)(v)
		}
		sub := store.Get(v, store.Subnets, body.subnet)
		if sub == nil || !subnets(a).visible(a, v, sub) {
			return nil // package site says that it does not exist
		}
		r := ports(a)
		t := &target[site.PortInput, model.Port]{a: a, r: r, v: v, owner: string(v.project),
			said: map[string]any{"network_id": string(sub.NetworkID)}}
		return r.decide(v.d, "UPDATE", []string{"create_port:fixed_ips:ip_address"}, t)
	}
}
