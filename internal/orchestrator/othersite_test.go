package orchestrator_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// neutron is another Neutron with gateway devices and L2 gateways, as far as a
// peering meets it: it knows no atomic routes and no revisions, gives lists in pages,
// passes over filters that it does not know, and has MidoNet's rules.
type neutron struct {
	t     testing.TB
	srv   *httptest.Server
	alias []string

	mu   sync.Mutex
	all  map[string][]object // collection → resources
	odd  []string            // what a client should not have asked
	puts int
}

const pageSize = 3

func newNeutron(t testing.TB) *neutron {
	n := &neutron{t: t, all: map[string][]object{}, alias: []string{
		"router", "extraroute", "port-security", "standard-attr-tag", "standard-attr-description", "net-mtu", "provider", "gateway-device", "l2-gateway", "l2-gateway-connection",
	}}
	n.srv = httptest.NewServer(n)
	t.Cleanup(n.srv.Close)
	return n
}

// kindOf tells what a POST and a PUT may have, and what is there without them.
type kindOf struct {
	key, post, put string
	defaults       object
}

var kinds = map[string]kindOf{
	"networks": {"network", "name description admin_state_up port_security_enabled tenant_id", "name description admin_state_up port_security_enabled",
		object{"description": "", "admin_state_up": true, "port_security_enabled": true, "mtu": 1450.0, "tags": []any{}, "router:external": false, "provider:network_type": "midonet"}},
	"subnets": {"subnet", "name description network_id ip_version cidr gateway_ip enable_dhcp tenant_id", "name description gateway_ip enable_dhcp",
		object{"name": "", "description": "", "enable_dhcp": true, "gateway_ip": nil, "tags": []any{}}},
	"ports": {"port", "name description network_id fixed_ips mac_address device_owner device_id admin_state_up tenant_id", "name description fixed_ips mac_address device_owner admin_state_up",
		object{"name": "", "description": "", "device_owner": "", "device_id": "", "admin_state_up": true, "tags": []any{}}},
	"routers":                {"router", "name description admin_state_up tenant_id", "name description admin_state_up routes", object{"description": "", "admin_state_up": true, "routes": []any{}, "tags": []any{}}},
	"gw/gateway_devices":     {"gateway_device", "name type resource_id tunnel_ips tenant_id", "name tunnel_ips", object{"management_ip": nil, "remote_mac_entries": []any{}}},
	"l2-gateways":            {"l2_gateway", "name devices tenant_id", "", object{}},
	"l2-gateway-connections": {"l2_gateway_connection", "l2_gateway_id network_id segmentation_id tenant_id", "", object{"segmentation_id": ""}},
	"remote_mac_entries":     {"remote_mac_entry", "mac_address vtep_address segmentation_id", "", object{}},
}

func (n *neutron) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(r.URL.Path, "/v2.0/")
	var body object
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		_ = json.NewDecoder(r.Body).Decode(&body)
	}
	if r.Header.Get("If-Match") != "" {
		n.odd = append(n.odd, "If-Match to a server without revisions")
	}
	status, answer := n.serve(r.Method, path, r.URL, body)
	w.WriteHeader(status)
	if answer != nil {
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func fail(status int, kind, format string, args ...any) (int, object) {
	return status, object{"NeutronError": object{"type": kind, "message": fmt.Sprintf(format, args...), "detail": ""}}
}

func (n *neutron) serve(method, path string, u *url.URL, body object) (int, object) {
	if path == "extensions" {
		list := []object{}
		for _, a := range n.alias {
			list = append(list, object{"alias": a, "name": a})
		}
		return 200, object{"extensions": list}
	}
	parts := strings.Split(path, "/")
	if parts[0] == "gw" {
		parts = append([]string{"gw/" + parts[1]}, parts[2:]...)
	}
	coll := parts[0]
	k, known := kinds[coll]
	if !known {
		n.odd = append(n.odd, method+" "+path)
		return fail(404, "HTTPNotFound", "The resource could not be found.")
	}
	device := ""
	if len(parts) >= 3 && parts[2] == "remote_mac_entries" {
		device, coll, k = parts[1], "remote_mac_entries", kinds["remote_mac_entries"]
		parts = append([]string{coll}, parts[3:]...)
	}
	switch {
	case len(parts) == 1 && method == http.MethodGet:
		return n.list(coll, k, u, device)
	case len(parts) == 1 && method == http.MethodPost:
		return n.create(coll, k, body, device)
	}
	at := slices.IndexFunc(n.all[coll], func(o object) bool { return o["id"] == parts[1] })
	if at < 0 {
		return fail(404, "NotFound", "%s %s could not be found", k.key, parts[1])
	}
	o := n.all[coll][at]
	if len(parts) > 2 {
		return n.action(method, o, parts[2:], body)
	}
	switch method {
	case http.MethodGet:
		return 200, object{k.key: n.shown(coll, o)}
	case http.MethodPut:
		return n.update(coll, k, o, body)
	}
	return n.remove(coll, o)
}

// filtersKnown are the only filters; others are passed over, as Neutron does.
var filtersKnown = []string{"id", "name", "network_id", "device_id", "tags"}

func (n *neutron) list(coll string, k kindOf, u *url.URL, device string) (int, object) {
	q := u.Query()
	var found []object
	for _, o := range n.all[coll] {
		ok := coll != "remote_mac_entries" || o["device"] == device
		for _, f := range filtersKnown {
			if want := q[f]; len(want) > 0 {
				if f == "tags" {
					ok = ok && slices.Contains(texts(o["tags"]), want[0])
				} else {
					ok = ok && slices.Contains(want, fmt.Sprint(o[f]))
				}
			}
		}
		if ok {
			found = append(found, n.shown(coll, o))
		}
	}
	start := 0
	if m := q.Get("marker"); m != "" {
		start = 1 + slices.IndexFunc(found, func(o object) bool { return o["id"] == m })
	}
	plural := strings.NewReplacer("-", "_", "gw/", "").Replace(coll)
	page := found[start:]
	out := object{plural: page}
	if len(page) > pageSize {
		page = page[:pageSize]
		q.Set("marker", page[pageSize-1]["id"].(string))
		out[plural], out[plural+"_links"] = page, []object{{"rel": "next", "href": n.srv.URL + u.Path + "?" + q.Encode()}}
	}
	if page == nil {
		out[plural] = []object{}
	}
	return 200, out
}

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, x := range list {
		out = append(out, fmt.Sprint(x))
	}
	return out
}

// shown is a resource as the API answers it.
func (n *neutron) shown(coll string, o object) object {
	out := maps.Clone(o)
	delete(out, "device")
	if coll == "gw/gateway_devices" {
		entries := []object{}
		for _, e := range n.all["remote_mac_entries"] {
			if e["device"] == o["id"] {
				entries = append(entries, n.shown("remote_mac_entries", e))
			}
		}
		out["remote_mac_entries"] = entries
	}
	return out
}

func (n *neutron) create(coll string, k kindOf, body object, device string) (int, object) {
	in, _ := body[k.key].(object)
	for a := range in {
		if !slices.Contains(strings.Fields(k.post), a) {
			n.odd = append(n.odd, "POST "+coll+" with "+a)
			return fail(400, "HTTPBadRequest", "Unrecognized attribute(s) '%s'", a)
		}
	}
	o := maps.Clone(k.defaults)
	maps.Copy(o, in)
	o["id"] = uuid.NewString()
	if status, err := n.check(coll, o, device); err != nil {
		return status, err
	}
	n.all[coll] = append(n.all[coll], o)
	if coll == "remote_mac_entries" {
		o["device"] = device
		answer := n.shown(coll, o)
		o["segmentation_id"] = number(o["segmentation_id"]) // an int from then on
		return 201, object{k.key: answer}
	}
	return 201, object{k.key: n.shown(coll, o)}
}

func number(v any) float64 {
	var f float64
	_, _ = fmt.Sscan(fmt.Sprint(v), &f)
	return f
}

func (n *neutron) has(coll string, match func(object) bool) bool {
	return slices.ContainsFunc(n.all[coll], match)
}

// check are the rules of the contract for what is new or changed.
func (n *neutron) check(coll string, o object, device string) (int, object) {
	others := func(c string, match func(object) bool) bool {
		return n.has(c, func(x object) bool { return x["id"] != o["id"] && match(x) })
	}
	switch coll {
	case "ports":
		n.fillIPs(o)
		if o["device_owner"] == "network:remote-site" {
			n.odd = append(n.odd, "a device_owner that MidoNet does not know")
		}
		if o["mac_address"] == nil {
			o["mac_address"] = "fa:16:3e:" + o["id"].(string)[0:2] + ":" + o["id"].(string)[2:4] + ":" + o["id"].(string)[4:6]
		}
		if others("ports", func(x object) bool {
			return x["network_id"] == o["network_id"] && strings.EqualFold(x["mac_address"].(string), o["mac_address"].(string))
		}) {
			return fail(409, "MacAddressInUse", "mac in use")
		}
		if a := addrOf(o); a != "" && others("ports", func(x object) bool { return x["network_id"] == o["network_id"] && addrOf(x) == a }) {
			return fail(409, "IpAddressAlreadyAllocated", "address in use")
		}
	case "gw/gateway_devices":
		if others(coll, func(x object) bool { return x["resource_id"] == o["resource_id"] }) {
			return fail(409, "DeviceInUseByGatewayDevice", "router in use")
		}
	case "l2-gateways":
		if _, ok := o["devices"].([]any)[0].(object)["segmentation_id"].(string); !ok {
			return fail(400, "InvalidInput", "segmentation_id must be a string")
		}
	case "l2-gateway-connections":
		if others(coll, func(x object) bool { return x["l2_gateway_id"] == o["l2_gateway_id"] }) {
			return fail(409, "MidonetL2GatewayConnectionExists", "there is a connection")
		}
		if s, ok := o["segmentation_id"].(string); !ok || s != "" {
			return fail(400, "InvalidInput", "no segmentation_id here")
		}
	case "remote_mac_entries":
		if others(coll, func(x object) bool { return x["mac_address"] == o["mac_address"] }) {
			return fail(409, "DuplicateRemoteMacEntry", "mac_address in use")
		}
		if _, ok := o["segmentation_id"].(string); !ok {
			return fail(400, "HTTPBadRequest", "segmentation_id must be in a string format")
		}
	case "routers":
		for _, r := range o["routes"].([]any) {
			hop, err := netip.ParseAddr(fmt.Sprint(r.(object)["nexthop"]))
			if err != nil || !n.connected(o["id"].(string), hop) {
				return fail(400, "InvalidRoutes", "the nexthop is not connected with router")
			}
		}
	}
	_ = device
	return 0, nil
}

func (n *neutron) fillIPs(port object) {
	ips, _ := port["fixed_ips"].([]any)
	for _, x := range ips {
		ip := x.(object)
		if ip["subnet_id"] != nil {
			continue
		}
		for _, s := range n.all["subnets"] {
			if p, err := netip.ParsePrefix(s["cidr"].(string)); err == nil && s["network_id"] == port["network_id"] && p.Contains(netip.MustParseAddr(ip["ip_address"].(string))) {
				ip["subnet_id"] = s["id"]
			}
		}
	}
}

func (n *neutron) subnetsOf(router string) (out []object) {
	for _, p := range n.all["ports"] {
		if p["device_id"] != router {
			continue
		}
		for _, ip := range p["fixed_ips"].([]any) {
			for _, s := range n.all["subnets"] {
				if s["id"] == ip.(object)["subnet_id"] {
					out = append(out, s)
				}
			}
		}
	}
	return out
}

func (n *neutron) connected(router string, hop netip.Addr) bool {
	return slices.ContainsFunc(n.subnetsOf(router), func(s object) bool {
		p, err := netip.ParsePrefix(s["cidr"].(string))
		return err == nil && p.Contains(hop)
	})
}

func (n *neutron) update(coll string, k kindOf, o, body object) (int, object) {
	in, _ := body[k.key].(object)
	if coll == "l2-gateways" {
		return 501, object{"NotImplementedError": object{"type": "NotImplementedError", "message": "", "detail": ""}}
	}
	for a := range in {
		if !slices.Contains(strings.Fields(k.put), a) {
			n.odd = append(n.odd, "PUT "+coll+" with "+a)
			return fail(400, "HTTPBadRequest", "Cannot update read-only attribute %s", a)
		}
	}
	changed := maps.Clone(o)
	maps.Copy(changed, in)
	if status, err := n.check(coll, changed, ""); err != nil {
		return status, err
	}
	maps.Copy(o, changed)
	n.puts++
	return 200, object{k.key: n.shown(coll, o)}
}

func (n *neutron) remove(coll string, o object) (int, object) {
	uses := func(c, attr string) bool { return n.has(c, func(x object) bool { return x[attr] == o["id"] }) }
	inUse := false
	switch coll {
	case "networks":
		inUse = uses("ports", "network_id")
	case "subnets":
		inUse = n.has("ports", func(p object) bool { return strings.Contains(fmt.Sprint(p["fixed_ips"]), o["id"].(string)) })
	case "ports":
		inUse = o["device_owner"] == "network:router_interface"
	case "routers":
		inUse = uses("gw/gateway_devices", "resource_id") || uses("ports", "device_id")
	case "gw/gateway_devices":
		inUse = n.has("l2-gateways", func(g object) bool { return g["devices"].([]any)[0].(object)["device_id"] == o["id"] })
	case "l2-gateways":
		inUse = uses("l2-gateway-connections", "l2_gateway_id")
	}
	if inUse {
		return fail(409, "InUse", "%s %s is in use", coll, o["id"])
	}
	n.drop(coll, func(x object) bool { return x["id"] == o["id"] })
	switch coll {
	case "networks":
		n.drop("subnets", func(s object) bool { return s["network_id"] == o["id"] })
		n.drop("l2-gateway-connections", func(s object) bool { return s["network_id"] == o["id"] })
	case "gw/gateway_devices":
		n.drop("remote_mac_entries", func(e object) bool { return e["device"] == o["id"] })
	}
	return 204, nil
}

func (n *neutron) drop(coll string, match func(object) bool) {
	n.all[coll] = slices.DeleteFunc(n.all[coll], match)
}

// action serves the tags, and the interfaces of a router.
func (n *neutron) action(method string, o object, what []string, body object) (int, object) {
	switch what[0] {
	case "tags":
		tags := texts(o["tags"])
		if len(what) == 1 {
			return 200, object{"tags": tags}
		}
		at := slices.Index(tags, what[1])
		switch {
		case method == http.MethodPut && at < 0:
			tags = append(tags, what[1])
		case method == http.MethodDelete && at < 0:
			return fail(404, "TagNotFound", "no tag")
		case method == http.MethodDelete:
			tags = slices.Delete(tags, at, at+1)
		}
		list := []any{}
		for _, t := range tags {
			list = append(list, t)
		}
		o["tags"] = list
		if method == http.MethodPut {
			return 201, nil
		}
		return 204, nil
	case "add_router_interface", "remove_router_interface":
		return n.routerInterface(what[0] == "add_router_interface", o, body)
	}
	n.odd = append(n.odd, method+" "+strings.Join(what, "/"))
	return fail(404, "HTTPNotFound", "The resource could not be found.")
}

func (n *neutron) routerInterface(add bool, router, body object) (int, object) {
	at := slices.IndexFunc(n.all["ports"], func(p object) bool { return p["id"] == body["port_id"] })
	if at < 0 {
		return fail(404, "PortNotFound", "no port")
	}
	port := n.all["ports"][at]
	if add {
		if port["device_id"] != "" {
			return fail(409, "PortInUse", "port in use")
		}
		port["device_id"], port["device_owner"] = router["id"], "network:router_interface"
		return 200, object{"port_id": port["id"]}
	}
	if port["device_id"] != router["id"] {
		return fail(404, "RouterInterfaceNotFound", "no such interface")
	}
	for _, r := range router["routes"].([]any) {
		for _, s := range n.all["subnets"] {
			if strings.Contains(fmt.Sprint(port["fixed_ips"]), s["id"].(string)) && netip.MustParsePrefix(s["cidr"].(string)).Contains(netip.MustParseAddr(r.(object)["nexthop"].(string))) {
				return fail(409, "RouterInterfaceInUseByRoute", "a route needs it")
			}
		}
	}
	n.drop("ports", func(p object) bool { return p["id"] == port["id"] })
	return 200, object{"port_id": port["id"]}
}
