package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// neutron are the commands of the old client with the plug-ins of networking-midonet
// and networking-l2gw. It cannot add a route to those that are there: it writes the
// whole list, which is why the routes are kept.
type neutron struct{ r *renderer }

func (neutron) create(a *plan.Action, v values) []string {
	described := func(w ...string) []string { return append(w, "--description", v.text("description")) }
	switch a.Kind {
	case plan.Network:
		w := described("neutron", "net-create", "--port-security-enabled=False")
		if v.has("mtu") {
			// The client does not know the option: it would take what follows for more
			// of its value.
			w = append(w, "--mtu="+v.text("mtu"))
		}
		return append(w, v.text("name"))
	case plan.Subnet:
		return append(described("neutron", "subnet-create", "--name", v.text("name"), "--no-gateway", "--disable-dhcp"), v.text("network_id"), v.text("cidr"))
	case plan.Port:
		w := described("neutron", "port-create", "--name", v.text("name"), "--mac-address", v.text("mac_address"))
		for _, ip := range v.dicts("fixed_ips") {
			w = append(w, "--fixed-ip", "subnet_id="+ip["subnet_id"]+",ip_address="+ip["ip_address"])
		}
		if v.has("device_owner") {
			w = append(w, "--device-owner", v.text("device_owner"))
		}
		return append(w, v.text("network_id"))
	case plan.Router:
		return append(described("neutron", "router-create"), v.text("name"))
	case plan.Device:
		return []string{"neutron", "gateway-device-create", "--name", v.text("name"), "--type", v.text("type"), "--resource-id", v.text("resource_id"), "--tunnel-ip", v.text("tunnel_ips")}
	case plan.L2Gateway:
		d := v.dicts("devices")[0]
		return []string{"neutron", "midonet-l2-gateway-create", v.text("name"), "--device", "device_id=" + d["device_id"] + ",segmentation_id=" + d["segmentation_id"]}
	case plan.Connection:
		return []string{"neutron", "l2-gateway-connection-create", v.text("l2_gateway_id"), v.text("network_id")}
	}
	return []string{"neutron", "gateway-device-remote-mac-entry-create", "--mac-address", v.text("mac_address"), "--vtep-address", v.text("vtep_address"),
		"--segmentation-id", v.text("segmentation_id"), v.r.ref(a.Parent)}
}

// short are the names of the commands where they are not the resource's.
func short(k plan.Kind) string {
	switch k {
	case plan.Network:
		return "net"
	case plan.RemoteMAC:
		return "gateway-device-remote-mac-entry"
	}
	return strings.ReplaceAll(string(k), "_", "-")
}

func (neutron) update(a *plan.Action, v values) []string {
	w := []string{"neutron", short(a.Kind) + "-update"}
	for _, k := range slices.Sorted(maps.Keys(a.Attrs)) {
		switch k {
		case "gateway_ip":
			w = append(w, "--no-gateway")
		case "fixed_ips":
			for _, ip := range v.dicts(k) {
				w = append(w, "--fixed-ip", "subnet_id="+ip["subnet_id"]+",ip_address="+ip["ip_address"])
			}
		case "tunnel_ips":
			w = append(w, "--tunnel-ip", v.text(k))
		default:
			w = append(w, "--"+strings.ReplaceAll(k, "_", "-")+"="+title(v.text(k)))
		}
	}
	return append(w, v.r.ref(a.Target))
}

// title writes booleans as the client does.
func title(s string) string {
	switch s {
	case "true":
		return "True"
	case "false":
		return "False"
	}
	return s
}

func (neutron) remove(a *plan.Action, id, parent string) []string {
	w := []string{"neutron", short(a.Kind) + "-delete", id}
	if a.Kind == plan.RemoteMAC {
		w = append(w, parent)
	}
	return w
}

func (n neutron) other(a *plan.Action, id, parent string) []string {
	switch a.Op {
	case plan.AddTag, plan.RemoveTag:
		word := "tag-add"
		if a.Op == plan.RemoveTag {
			word = "tag-remove"
		}
		return []string{"neutron", word, "--resource-type", string(a.Kind), "--resource", id, "--tag", a.Tag}
	case plan.Attach:
		return []string{"neutron", "router-interface-add", parent, "port=" + id}
	case plan.Detach:
		return []string{"neutron", "router-interface-delete", parent, "port=" + id}
	}
	all := n.r.routes[id]
	if a.Op == plan.AddRoutes {
		all = append(all, a.Routes...)
	} else {
		all = slices.DeleteFunc(all, func(x observed.Route) bool { return slices.Contains(a.Routes, x) })
	}
	n.r.routes[id] = all
	w := []string{"neutron", "router-update", id, "--routes"}
	if len(all) == 0 {
		return append(w, "action=clear")
	}
	w = append(w, "type=dict", "list=true")
	for _, x := range all {
		w = append(w, fmt.Sprintf("destination=%s,nexthop=%s", x.Destination, x.NextHop))
	}
	return w
}
