package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// writer is a client that writes at random, one request after the other, and knows
// what must be there.
type writer struct {
	model
	number int
	serial int
	rng    *rand.Rand
	// shared is a network with a subnet on which all writers make ports.
	sharedNet, sharedSubnet string

	acked    map[string]int // by what was done
	refused  int
	answered func() // after each answer
}

// errCut: the answer did not come.
type errCut struct{ error }

// run writes until the controller is gone, and returns an error if it answers
// what it should not.
func (w *writer) run(ctx context.Context, a *api) error {
	for ctx.Err() == nil {
		if err := w.step(ctx, a); err != nil {
			if _, cut := err.(errCut); cut {
				return nil
			}
			return err
		}
	}
	return nil
}

// send sends one request. ack takes in the answer.
func (w *writer) send(ctx context.Context, a *api, method, path string, body any, c *change, ack func(attrs)) error {
	c.what = method + " " + path
	w.pending = c
	status, out, err := a.call(ctx, method, path, body)
	if err != nil {
		return errCut{err}
	}
	w.pending = nil
	w.answered()
	switch {
	case status >= 200 && status < 300:
		w.acked[kindOf(method, path)]++
		ack(out)
	case status == 400 || status == 404 || status == 409:
		w.refused++
	default:
		return fmt.Errorf("%s: %d %v", c, status, out)
	}
	return nil
}

// kindOf is a request without its ids: "PUT routers add_extraroutes".
func kindOf(method, path string) string {
	words := []string{method}
	for _, p := range strings.Split(path, "/") {
		if strings.Count(p, "-") < 4 { // no UUID
			words = append(words, p)
		}
	}
	return strings.Join(words, " ")
}

func (w *writer) create(ctx context.Context, a *api, coll string, in attrs) error {
	c := &change{}
	c.creates(coll, in)
	return w.send(ctx, a, "POST", coll, attrs{single(coll): in}, c, func(out attrs) {
		o := one(out, coll)
		w.put(coll, str(o, "id"), o)
	})
}

// createAll makes several resources by one request.
func (w *writer) createAll(ctx context.Context, a *api, coll string, in []attrs) error {
	c := &change{}
	for _, i := range in {
		c.creates(coll, i)
	}
	return w.send(ctx, a, "POST", coll, attrs{plural(coll): in}, c, func(out attrs) {
		l, _ := out[plural(coll)].([]any)
		for _, o := range l {
			w.put(coll, str(o.(attrs), "id"), o.(attrs))
		}
	})
}

func (w *writer) update(ctx context.Context, a *api, o *object, in attrs) error {
	c := &change{}
	to := attrs{}
	for k, v := range o.attrs {
		to[k] = v
	}
	for k, v := range in {
		to[k] = v
	}
	c.updates(o, to)
	return w.send(ctx, a, "PUT", o.coll+"/"+o.id, attrs{single(o.coll): in}, c, func(out attrs) {
		w.put(o.coll, o.id, one(out, o.coll))
	})
}

// remove deletes a resource, and what goes with it.
func (w *writer) remove(ctx context.Context, a *api, o *object) error {
	c := &change{}
	c.deletes(o)
	for _, p := range w.objects {
		switch {
		case o.coll == "networks" && (p.coll == "subnets" || p.coll == "l2-gateway-connections") && p.attrs["network_id"] == o.id,
			o.coll == "gw/gateway_devices" && p.coll == macsOf(o.id):
			c.deletes(p)
		}
	}
	return w.send(ctx, a, "DELETE", o.coll+"/"+o.id, nil, c, func(attrs) {
		for _, p := range c.pieces {
			delete(w.objects, p.id)
		}
	})
}

// pick returns one of the writer's resources of a collection, nil if it has none.
func (w *writer) pick(coll string, ok func(*object) bool) *object {
	var some []*object
	for _, o := range w.objects {
		if (o.coll == coll || coll == "") && (ok == nil || ok(o)) {
			some = append(some, o)
		}
	}
	if len(some) == 0 {
		return nil
	}
	slices.SortFunc(some, func(a, b *object) int { return strings.Compare(a.id, b.id) })
	return some[w.rng.IntN(len(some))]
}

func (w *writer) count(coll string) (n int) {
	for _, o := range w.objects {
		if o.coll == coll {
			n++
		}
	}
	return n
}

// name is one that nothing else ever has.
func (w *writer) name() string {
	w.serial++
	return fmt.Sprintf("w%d-%d", w.number, w.serial)
}

const enough = 45 // resources of one writer

// step makes one request.
func (w *writer) step(ctx context.Context, a *api) error {
	if len(w.objects) > enough || w.rng.IntN(6) == 0 {
		// One that cannot go yet is refused; leaves are drawn often enough.
		if o := w.pick("", func(o *object) bool { return o.attrs["device_owner"] != "network:router_interface" }); o != nil {
			return w.remove(ctx, a, o)
		}
	}
	steps := []func(context.Context, *api) error{
		w.network, w.subnet, w.sharedPort, w.sharedPort, w.ports, w.bind, w.rename, w.router, w.addInterface, w.removeInterface,
		w.routes, w.routes, w.device, w.moveTunnel, w.remoteMAC, w.remoteMAC, w.gateway, w.connection,
	}
	return steps[w.rng.IntN(len(steps))](ctx, a)
}

func (w *writer) network(ctx context.Context, a *api) error {
	return w.create(ctx, a, "networks", attrs{"name": w.name()})
}

func (w *writer) subnet(ctx context.Context, a *api) error {
	n := w.pick("networks", nil)
	if n == nil {
		return w.network(ctx, a)
	}
	return w.create(ctx, a, "subnets", attrs{
		"name": w.name(), "network_id": n.id, "ip_version": 4.0, "cidr": fmt.Sprintf("10.%d.%d.0/24", w.number, w.rng.IntN(250)),
	})
}

// sharedPort makes a port where others do, half of them at one of few addresses.
func (w *writer) sharedPort(ctx context.Context, a *api) error {
	in := attrs{"name": w.name(), "network_id": w.sharedNet}
	if w.rng.IntN(2) == 0 {
		in["fixed_ips"] = []any{attrs{"subnet_id": w.sharedSubnet, "ip_address": fmt.Sprintf("10.255.0.%d", 100+w.rng.IntN(20))}}
	}
	return w.create(ctx, a, "ports", in)
}

// ports makes several at once.
func (w *writer) ports(ctx context.Context, a *api) error {
	s := w.pick("subnets", nil)
	if s == nil {
		return w.subnet(ctx, a)
	}
	var in []attrs
	for range 1 + w.rng.IntN(4) {
		in = append(in, attrs{"name": w.name(), "network_id": s.attrs["network_id"]})
	}
	return w.createAll(ctx, a, "ports", in)
}

func (w *writer) bind(ctx context.Context, a *api) error {
	p := w.pick("ports", func(o *object) bool { return o.attrs["device_owner"] == "" })
	if p == nil {
		return w.sharedPort(ctx, a)
	}
	// Few interfaces on few hosts, so that writers meet.
	return w.update(ctx, a, p, attrs{
		"binding:host_id":       fmt.Sprint("h", w.rng.IntN(2)),
		"binding:profile":       attrs{"interface_name": fmt.Sprint("tap", w.rng.IntN(40))},
		"device_id":             fmt.Sprint("vm-", w.serial),
		"port_security_enabled": w.rng.IntN(2) == 0,
		"description":           w.name(),
		"admin_state_up":        w.rng.IntN(2) == 0,
	})
}

func (w *writer) rename(ctx context.Context, a *api) error {
	// L2 gateways and their connections are never changed, and rows of tables have no name.
	o := w.pick("", func(o *object) bool { return o.attrs["name"] != nil && !strings.HasPrefix(o.coll, "l2-") })
	if o == nil {
		return w.network(ctx, a)
	}
	return w.update(ctx, a, o, attrs{"name": w.name()})
}

func (w *writer) router(ctx context.Context, a *api) error {
	if w.count("routers") > 6 {
		return w.rename(ctx, a)
	}
	return w.create(ctx, a, "routers", attrs{"name": w.name()})
}

func (w *writer) addInterface(ctx context.Context, a *api) error {
	r, s := w.pick("routers", nil), w.pick("subnets", nil)
	if r == nil {
		return w.router(ctx, a)
	}
	if s == nil {
		return w.subnet(ctx, a)
	}
	c := &change{}
	after := attrs{"device_id": r.id, "device_owner": "network:router_interface", "network_id": s.attrs["network_id"],
		"fixed_ips": []any{attrs{"subnet_id": s.id, "ip_address": s.attrs["gateway_ip"]}}}
	c.creates("ports", after)
	return w.send(ctx, a, "PUT", "routers/"+r.id+"/add_router_interface", attrs{"subnet_id": s.id}, c, func(out attrs) {
		w.put("ports", str(out, "port_id"), after)
	})
}

func (w *writer) interfaceOf(ok func(*object) bool) *object {
	return w.pick("ports", func(o *object) bool {
		return o.attrs["device_owner"] == "network:router_interface" && (ok == nil || ok(o))
	})
}

func (w *writer) removeInterface(ctx context.Context, a *api) error {
	p := w.interfaceOf(nil)
	if p == nil || w.rng.IntN(2) == 0 {
		return w.addInterface(ctx, a)
	}
	c := &change{}
	c.deletes(p)
	return w.send(ctx, a, "PUT", "routers/"+str(p.attrs, "device_id")+"/remove_router_interface", attrs{"port_id": p.id}, c, func(attrs) {
		delete(w.objects, p.id)
	})
}

// routes adds to a router's routes, takes some away or writes them all.
func (w *writer) routes(ctx context.Context, a *api) error {
	p := w.interfaceOf(nil)
	if p == nil {
		return w.addInterface(ctx, a)
	}
	r := w.objects[str(p.attrs, "device_id")]
	gw := str(p.attrs["fixed_ips"].([]any)[0].(attrs), "ip_address")
	hop := gw[:strings.LastIndexByte(gw, '.')] + ".77"
	route := func() any {
		return attrs{"destination": fmt.Sprintf("20.%d.%d.0/24", w.number, w.rng.IntN(250)), "nexthop": hop}
	}
	old, _ := r.attrs["routes"].([]any)
	action, to, in := "", []any{}, []any{}
	switch w.rng.IntN(3) {
	case 0:
		in = append(in, route())
		if slices.ContainsFunc(old, func(x any) bool { return x.(attrs)["destination"] == in[0].(attrs)["destination"] }) {
			return nil
		}
		action, to = "/add_extraroutes", append(slices.Clone(old), in...)
	case 1:
		if len(old) > 0 {
			in = append(in, old[0])
			to = append(to, old[1:]...)
		}
		action = "/remove_extraroutes"
	case 2:
		in = append(in, route())
		to = in
	}
	c := &change{}
	after := attrs{}
	for k, v := range r.attrs {
		after[k] = v
	}
	after["routes"] = to
	c.updates(r, after)
	return w.send(ctx, a, "PUT", "routers/"+r.id+action, attrs{"router": attrs{"routes": in}}, c, func(out attrs) {
		w.put("routers", r.id, after)
		w.objects[r.id].attrs["routes"] = one(out, "routers")["routes"]
	})
}

func (w *writer) tunnelIP() any {
	return fmt.Sprintf("200.%d.%d.%d", w.number, w.rng.IntN(250), 1+w.rng.IntN(250))
}

func (w *writer) device(ctx context.Context, a *api) error {
	r := w.pick("routers", nil)
	if r == nil {
		return w.router(ctx, a)
	}
	return w.create(ctx, a, "gw/gateway_devices", attrs{
		"name": w.name(), "type": "router_vtep", "resource_id": r.id, "tunnel_ips": []any{w.tunnelIP()},
	})
}

func (w *writer) moveTunnel(ctx context.Context, a *api) error {
	d := w.pick("gw/gateway_devices", nil)
	if d == nil {
		return w.device(ctx, a)
	}
	return w.update(ctx, a, d, attrs{"tunnel_ips": []any{w.tunnelIP()}})
}

func (w *writer) remoteMAC(ctx context.Context, a *api) error {
	d := w.pick("gw/gateway_devices", nil)
	if d == nil {
		return w.device(ctx, a)
	}
	w.serial++
	in := attrs{
		"mac_address":     fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", w.number, w.serial>>24&0xff, w.serial>>16&0xff, w.serial>>8&0xff, w.serial&0xff),
		"vtep_address":    "201.0.0.1",
		"segmentation_id": float64(1 + w.rng.IntN(100)),
	}
	return w.create(ctx, a, macsOf(d.id), in)
}

func (w *writer) gateway(ctx context.Context, a *api) error {
	d := w.pick("gw/gateway_devices", nil)
	if d == nil {
		return w.device(ctx, a)
	}
	return w.create(ctx, a, "l2-gateways", attrs{
		"name": w.name(), "devices": []any{attrs{"device_id": d.id, "segmentation_id": fmt.Sprint(1 + w.rng.IntN(5))}},
	})
}

func (w *writer) connection(ctx context.Context, a *api) error {
	g, n := w.pick("l2-gateways", nil), w.pick("networks", nil)
	if g == nil {
		return w.gateway(ctx, a)
	}
	if n == nil {
		return w.network(ctx, a)
	}
	return w.create(ctx, a, "l2-gateway-connections", attrs{"l2_gateway_id": g.id, "network_id": n.id})
}
