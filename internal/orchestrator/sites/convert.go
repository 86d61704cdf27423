package sites

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
)

// reader converts the attributes of one resource, and remembers the first that it
// cannot understand.
type reader struct {
	what string
	a    client.Attrs
	err  error
}

func (r *reader) fail(key string, v any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s %s: cannot understand %s %v", r.what, client.ID(r.a), key, v)
	}
}

func (r *reader) str(key string) string { return client.Str(r.a, key) }

// flag is a boolean attribute; absent is what the API leaves out.
func (r *reader) flag(key string, absent bool) bool {
	switch v := r.a[key].(type) {
	case nil:
		return absent
	case bool:
		return v
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b
		}
	}
	r.fail(key, r.a[key])
	return absent
}

// number is one that some servers write as text.
func (r *reader) number(key string) int64 { return r.numberOf(key, r.a[key]) }

func (r *reader) numberOf(key string, v any) int64 {
	switch v := v.(type) {
	case nil:
		return 0
	case float64:
		return int64(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
	case string:
		if v == "" {
			return 0
		}
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	}
	r.fail(key, v)
	return 0
}

func (r *reader) vni(key string, v any) model.VNI {
	n := r.numberOf(key, v)
	if n < 0 || n > model.MaxVNI {
		r.fail(key, v)
		return 0
	}
	return model.VNI(n)
}

// addr is an address; none where the API has null or nothing.
func (r *reader) addr(key string, v any) netip.Addr {
	s, _ := v.(string)
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		r.fail(key, v)
	}
	return a
}

func (r *reader) mac(key string) model.NamedMAC {
	m, err := model.ParseNamedMAC(r.str(key))
	if err != nil {
		r.fail(key, r.a[key])
	}
	return m
}

func (r *reader) tags() []string {
	list, _ := r.a["tags"].([]any)
	var out []string
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (r *reader) dicts(key string) []map[string]any {
	list, _ := r.a[key].([]any)
	var out []map[string]any
	for _, x := range list {
		d, ok := x.(map[string]any)
		if !ok {
			r.fail(key, x)
			continue
		}
		out = append(out, d)
	}
	return out
}

func router(a client.Attrs) (observed.Router, error) {
	r := &reader{what: "router", a: a}
	out := observed.Router{ID: client.ID(a), Name: r.str("name"), Description: r.str("description"), Tags: r.tags(),
		AdminStateUp: r.flag("admin_state_up", true), Revision: r.number("revision_number"), Routes: []observed.Route{}}
	for _, d := range r.dicts("routes") {
		route, err := routeOf(d)
		if err != nil {
			r.fail("routes", d)
			continue
		}
		if route.Destination.Addr().Is4() { // others are no peering's
			out.Routes = append(out.Routes, route)
		}
	}
	return out, r.err
}

func routeOf(d map[string]any) (observed.Route, error) {
	dest, _ := d["destination"].(string)
	hop, _ := d["nexthop"].(string)
	p, err := netip.ParsePrefix(dest)
	if err != nil {
		return observed.Route{}, err
	}
	n, err := netip.ParseAddr(hop)
	return observed.Route{Destination: p.Masked(), NextHop: n}, err
}

func network(a client.Attrs) (observed.Network, error) {
	r := &reader{what: "network", a: a}
	return observed.Network{ID: client.ID(a), Name: r.str("name"), Description: r.str("description"), Tags: r.tags(),
		AdminStateUp: r.flag("admin_state_up", true), PortSecurity: r.flag("port_security_enabled", false), MTU: int(r.number("mtu")),
		Type: r.str("provider:network_type"), External: r.flag("router:external", false)}, r.err
}

func subnet(a client.Attrs) (observed.Subnet, error) {
	r := &reader{what: "subnet", a: a}
	cidr, err := netip.ParsePrefix(r.str("cidr"))
	if err != nil {
		r.fail("cidr", a["cidr"])
	}
	return observed.Subnet{ID: client.ID(a), Name: r.str("name"), Description: r.str("description"), Tags: r.tags(), NetworkID: r.str("network_id"),
		CIDR: cidr.Masked(), Gateway: r.addr("gateway_ip", a["gateway_ip"]), DHCP: r.flag("enable_dhcp", false)}, r.err
}

func port(a client.Attrs) (observed.Port, error) {
	r := &reader{what: "port", a: a}
	out := observed.Port{ID: client.ID(a), Name: r.str("name"), Description: r.str("description"), Tags: r.tags(), NetworkID: r.str("network_id"),
		MAC: r.mac("mac_address"), DeviceOwner: r.str("device_owner"), DeviceID: r.str("device_id"), AdminStateUp: r.flag("admin_state_up", true)}
	for _, d := range r.dicts("fixed_ips") {
		id, _ := d["subnet_id"].(string)
		out.IPs = append(out.IPs, observed.IP{SubnetID: id, Addr: r.addr("fixed_ips", d["ip_address"])})
	}
	return out, r.err
}

func device(a client.Attrs) (observed.Device, error) {
	r := &reader{what: "gateway device", a: a}
	out := observed.Device{ID: client.ID(a), Name: r.str("name"), Type: r.str("type"), RouterID: r.str("resource_id")}
	list, _ := a["tunnel_ips"].([]any)
	for _, x := range list {
		// Upstream takes any text for a tunnel IP. One that is no address is none.
		if s, ok := x.(string); ok {
			if ip, err := netip.ParseAddr(strings.TrimSpace(s)); err == nil {
				out.TunnelIPs = append(out.TunnelIPs, ip)
			}
		}
	}
	return out, r.err
}

func l2Gateway(a client.Attrs) (observed.L2Gateway, error) {
	r := &reader{what: "L2 gateway", a: a}
	out := observed.L2Gateway{ID: client.ID(a), Name: r.str("name")}
	for _, d := range r.dicts("devices") {
		out.DeviceID, _ = d["device_id"].(string)
		out.VNI = r.vni("segmentation_id", d["segmentation_id"])
	}
	return out, r.err
}

func connection(a client.Attrs) (observed.Connection, error) {
	r := &reader{what: "L2 gateway connection", a: a}
	return observed.Connection{ID: client.ID(a), L2GatewayID: r.str("l2_gateway_id"), NetworkID: r.str("network_id"),
		VNI: r.vni("segmentation_id", a["segmentation_id"])}, r.err
}

func remoteMAC(a client.Attrs, deviceID string) (observed.RemoteMAC, error) {
	r := &reader{what: "remote MAC entry", a: a}
	return observed.RemoteMAC{ID: client.ID(a), DeviceID: deviceID, MAC: r.mac("mac_address"),
		VTEP: r.addr("vtep_address", a["vtep_address"]), VNI: r.vni("segmentation_id", a["segmentation_id"])}, r.err
}
