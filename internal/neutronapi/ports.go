package neutronapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// maxProfile is Neutron's longest binding:profile, in bytes of JSON.
const maxProfile = 4095

func ports(a *API) *resource[site.PortInput, model.Port] {
	type in = site.PortInput
	type port = model.Port
	std := func(p *port) *model.Standard { return &p.Standard }
	stdIn := func(i *in) *model.Standard { return &i.Standard }
	return &resource[in, port]{
		name: "port", plural: "ports", path: "/v2.0/ports", table: store.Ports,
		attrs: append(standardAttrs(stdIn, std),
			idAttr[in](func(p *port) model.PortID { return p.ID }),
			readOnly[in]("status", enum(string(model.PortActive), string(model.PortDown), string(model.PortError)), func(s store.Snapshot, p *port) any { return string(site.PortStatus(s, p)) }),
			attribute[in, port]{name: "network_id", post: true, required: true,
				takes: into(as[model.NetworkID](resourceID()), func(i *in) *model.NetworkID { return &i.NetworkID }),
				get:   func(_ store.Snapshot, p *port) any { return string(p.NetworkID) }},
			attribute[in, port]{name: "mac_address", post: true, put: true,
				// null asks for a new one (Neutron's port-mac-address-regenerate).
				takes: into(nullable(mac()), func(i *in) *model.NamedMAC { return &i.MAC }),
				gives: pattern(macPattern),
				get:   func(_ store.Snapshot, p *port) any { return p.MAC.String() },
				match: matchMAC},
			attribute[in, port]{name: "fixed_ips", post: true, put: true, explicit: true, takes: with(fixedIPs(), setFixedIPs),
				get:   func(_ store.Snapshot, p *port) any { return list(p.FixedIPs) },
				match: matchFixedIPs},
			attribute[in, port]{name: "admin_state_up", post: true, put: true,
				takes: into(boolean(), func(i *in) *bool { return &i.AdminStateUp }),
				get:   func(_ store.Snapshot, p *port) any { return p.AdminStateUp }},
			attribute[in, port]{name: "device_owner", post: true, put: true, takes: with(nullable(label()), setDeviceOwner),
				get: func(_ store.Snapshot, p *port) any { return p.DeviceOwner }},
			attribute[in, port]{name: "device_id", post: true, put: true,
				takes: into(nullable(label()), func(i *in) *string { return &i.DeviceID }),
				get:   func(_ store.Snapshot, p *port) any { return p.DeviceID }},
			attribute[in, port]{name: "port_security_enabled", post: true, put: true, explicit: true,
				takes: with(boolean(), func(i *in, on bool) error {
					i.PortSecurityGiven, i.PortSecurity = true, on
					return nil
				}),
				get: func(_ store.Snapshot, p *port) any { return p.PortSecurity }},
			attribute[in, port]{name: "binding:host_id", post: true, put: true, takes: into(hostName(), func(i *in) *model.HostName { return &i.HostID }),
				get: func(_ store.Snapshot, p *port) any { return string(p.HostID) }},
			attribute[in, port]{name: "binding:profile", post: true, put: true, takes: into(profile(), func(i *in) *map[string]json.RawMessage { return &i.Profile }),
				get: func(_ store.Snapshot, p *port) any {
					if p.Profile == nil {
						return map[string]json.RawMessage{}
					}
					return p.Profile
				}},
			attribute[in, port]{name: "binding:vnic_type", post: true, put: true, takes: with(vnicType(), func(*in, string) error { return nil }),
				get: func(store.Snapshot, *port) any { return "normal" }},
			readOnly[in]("binding:vif_type", enum("unbound", "tap"), func(_ store.Snapshot, p *port) any {
				if p.HostID == "" {
					return "unbound"
				}
				return "tap"
			}),
			readOnly[in]("binding:vif_details", openapi.Of(openapi.Map), func(store.Snapshot, *port) any { return map[string]any{} }),
			shown(neutral[in, port]("security_groups", "security groups do not exist yet; port_security_enabled means protection against spoofing"), []string{}),
			allowedPairsAttr(),
			shown(neutral[in, port]("extra_dhcp_opts", "DHCP is not served yet"), []string{}),
			neutral[in, port]("dns_name", "DNS integration does not exist yet"),
			neutral[in, port]("dns_domain", "DNS integration does not exist yet"),
			neutral[in, port]("qos_policy_id", "QoS does not exist yet"),
			neutral[in, port]("propagate_uplink_status", "propagation of the uplink's status does not exist yet"),
			neutral[in, port]("numa_affinity_policy", "NUMA affinity does not exist yet"),
			neutral[in, port]("device_profile", "device profiles do not exist yet"),
			neutral[in, port]("hints", "hints do not exist yet"),
		),
		bulk: true,
		indexes: map[string]func(store.Snapshot, string) []string{
			"tenant_id": ownedBy(site.QuotaPort), "project_id": ownedBy(site.QuotaPort),
			"network_id": func(s store.Snapshot, id string) []string { return site.PortsOf(s, model.NetworkID(id)) },
		},
		fresh: func(r *http.Request) *in {
			return &in{Port: port{Standard: model.Standard{ProjectID: ownerOf(r)}, AdminStateUp: true}, AutoIPs: true}
		},
		id:         func(p *port) string { return string(p.ID) },
		revision:   func(p *port) int64 { return p.Revision },
		standardIn: stdIn, standard: std,
		network:  func(p *port) model.NetworkID { return p.NetworkID },
		notFound: site.PortNotFound,
		create:   a.site.CreatePorts,
		update:   a.site.UpdatePort,
		remove:   byID(a.site.DeletePort),
	}
}

func matchMAC(_ store.Snapshot, p *model.Port, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool {
		m, err := model.ParseMAC(w)
		return err == nil && m == p.MAC.MAC
	})
}

func fixedIPs() value[[]site.FixedIP] {
	type fixed = site.FixedIP
	return nullable(listOf(object(
		key[fixed]{"subnet_id", false, into(as[model.SubnetID](nullable(resourceID())), func(f *fixed) *model.SubnetID { return &f.SubnetID })},
		key[fixed]{"ip_address", false, into(nullable(address()), func(f *fixed) *netip.Addr { return &f.IP })},
	), -1, ""))
}

// setFixedIPs takes null as if it had not been there; the empty list asks for no
// address.
func setFixedIPs(i *site.PortInput, wanted []site.FixedIP) error {
	if wanted != nil {
		i.AutoIPs, i.Requests = false, wanted
	}
	return nil
}

// matchFixedIPs reads filters like fixed_ips=ip_address=10.0.0.1: values of one
// key are alternatives, and one address must satisfy all keys.
func matchFixedIPs(_ store.Snapshot, p *model.Port, want []string) bool {
	by := map[string][]string{}
	for _, w := range want {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			return false
		}
		by[k] = append(by[k], v)
	}
	return slices.ContainsFunc(p.FixedIPs, func(a model.AddrPair) bool {
		for k, values := range by {
			ok := false
			for _, v := range values {
				switch k {
				case "ip_address":
					ok = ok || a.IP.String() == v
				case "subnet_id", "subnet":
					ok = ok || string(a.SubnetID) == v
				case "ip_address_substr":
					ok = ok || strings.Contains(a.IP.String(), v)
				}
			}
			if !ok {
				return false
			}
		}
		return true
	})
}

func setDeviceOwner(i *site.PortInput, s string) error {
	if strings.EqualFold(s, model.OwnerRouterInterface) && i.DeviceOwner != model.OwnerRouterInterface {
		return model.Errf(model.KindInvalid, "BadRequest", "Bad port request: a port becomes a router's interface by PUT /v2.0/routers/{id}/add_router_interface.")
	}
	i.DeviceOwner = s
	return nil
}

func hostName() value[model.HostName] {
	s := &openapi.Schema{Type: openapi.Types{openapi.String}, MaxLength: maxText, Pattern: `^[^/\x00-\x20\x7f]*$`}
	return nullable(value[model.HostName]{s, s, func(v any) (model.HostName, error) {
		s, err := toString(v)
		if err == nil && strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r <= ' ' || r == 0x7f }) {
			err = reasonf("'%s' is not a valid host name", text(v))
		}
		return model.HostName(s), err
	}})
}

// profile takes any object, and of its keys looks at interface_name alone.
func profile() value[map[string]json.RawMessage] {
	gives := openapi.Of(openapi.Map)
	takes := openapi.Any(gives, openapi.Of(openapi.Null), constant(""))
	return value[map[string]json.RawMessage]{takes, gives, func(v any) (out map[string]json.RawMessage, err error) {
		if v == nil || v == "" {
			return nil, nil
		}
		d, err := toDict(v)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(d)
		if err != nil {
			return nil, reasonf("'%s' is not a valid binding profile", text(v))
		}
		if len(b) > maxProfile {
			return nil, reasonf("binding:profile is longer than %d bytes", maxProfile)
		}
		if name, given := d["interface_name"]; given && name != "" && !isInterfaceName(name) {
			return nil, reasonf("interface_name '%s' is not the name of an interface: 1 to 15 bytes, neither slash nor space", text(name))
		}
		err = json.Unmarshal(b, &out)
		return out, err
	}}
}

// isInterfaceName applies the kernel's rule (dev_valid_name in net/core/dev.c).
func isInterfaceName(v any) bool {
	s, ok := v.(string)
	if !ok || s == "" || len(s) > 15 || s == "." || s == ".." {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r == ':' || r <= ' ' || r == 0x7f })
}

func vnicType() value[string] {
	normal := enum("normal")
	return value[string]{openapi.OrNull(normal), normal, func(v any) (string, error) {
		if v == nil || v == "normal" {
			return "normal", nil
		}
		return "", site.Unsupported("binding:vnic_type '%s' does not exist yet; normal does", text(v))
	}}
}
