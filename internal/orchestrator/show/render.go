package show

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// Formats are the clients that Render writes commands for.
func Formats() []string { return []string{"openstack", "neutron"} }

// Render writes a plan as a shell script of the commands of an OpenStack client. What
// a command makes is kept in a variable for those that need it.
func Render(w io.Writer, format string, p *plan.Plan, spec *peering.Peering, obs []observed.Site) error {
	r := &renderer{vars: map[string]string{}, routes: map[string][]observed.Route{}}
	switch format {
	case "openstack":
		r.c = openstack{}
	case "neutron":
		r.c = neutron{r}
	default:
		return fmt.Errorf("format %q: one of %s", format, strings.Join(Formats(), ", "))
	}
	for _, s := range obs {
		for _, router := range s.Routers {
			r.routes[router.ID] = slices.Clone(router.Routes)
		}
	}
	r.linef("# peering %s: %s", p.Peering, Count(plan.CountOf(p.Actions).Steps, "step"))
	site := ""
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Site != site {
			site = a.Site
			r.enter(spec.Site(site))
		}
		r.linef("# %s %s", a.Op, plain(a.What))
		r.action(a)
	}
	_, err := io.WriteString(w, r.b.String())
	return err
}

// commands are the words of a client for each action.
type commands interface {
	create(a *plan.Action, v values) []string
	update(a *plan.Action, v values) []string
	remove(a *plan.Action, id, parent string) []string
	other(a *plan.Action, id, parent string) []string
}

type renderer struct {
	b      strings.Builder
	c      commands
	vars   map[string]string // action → variable
	routes map[string][]observed.Route
}

func (r *renderer) linef(format string, args ...any) { fmt.Fprintf(&r.b, format+"\n", args...) }

// enter makes a site the one that the clients speak to.
func (r *renderer) enter(s *peering.Site) {
	r.linef("\n# ---- %s", s.Name)
	switch {
	case s.Access.Cloud != "":
		r.linef("export OS_CLOUD=%s", quote(s.Access.Cloud))
	case s.Access.Endpoint != "" && s.Access.Auth["token"] == "":
		r.linef("unset OS_CLOUD; export OS_AUTH_TYPE=none OS_ENDPOINT=%s", quote(s.Access.Endpoint))
	default:
		r.linef("# set OS_* for the account of %s here", s.Name)
	}
}

func (r *renderer) ref(x plan.Ref) string {
	if x.From != "" {
		return "$" + r.vars[x.From]
	}
	return x.ID
}

// values reads the attributes of an action.
type values struct {
	r *renderer
	a plan.Attrs
}

func (v values) has(key string) bool { _, ok := v.a[key]; return ok }

// text is an attribute as an argument.
func (v values) text(key string) string { return v.of(v.a[key]) }

func (v values) of(x any) string {
	switch x := x.(type) {
	case nil:
		return ""
	case plan.Ref:
		return v.r.ref(x)
	case []any:
		if len(x) == 1 {
			return v.of(x[0])
		}
		parts := make([]string, len(x))
		for i, e := range x {
			parts[i] = v.of(e)
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(x)
}

// dicts are the elements of a list of dictionaries.
func (v values) dicts(key string) []map[string]string {
	list, _ := v.a[key].([]any)
	var out []map[string]string
	for _, e := range list {
		d, _ := e.(map[string]any)
		m := map[string]string{}
		for k, x := range d {
			m[k] = v.of(x)
		}
		out = append(out, m)
	}
	return out
}

func (r *renderer) action(a *plan.Action) {
	id, parent := r.ref(a.Target), r.ref(a.Parent)
	var words []string
	switch a.Op {
	case plan.Create:
		words = append(r.c.create(a, values{r, a.Attrs}), "-f", "value", "-c", "id")
		name := variable(a.ID)
		r.vars[a.ID] = name
		r.linef("%s=$(%s)", name, join(words))
		return
	case plan.Update:
		words = r.c.update(a, values{r, a.Attrs})
	case plan.Delete:
		words = r.c.remove(a, id, parent)
	default:
		words = r.c.other(a, id, parent)
	}
	r.linef("%s", join(words))
}

// variable makes a shell variable of an action's id.
func variable(id string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return c
		}
		return '_'
	}, "ID_"+id)
}

func join(words []string) string {
	out := make([]string, 0, len(words))
	for _, w := range words {
		out = append(out, quote(w))
	}
	return strings.Join(out, " ")
}

// bare is a word that a shell takes as it is; variables are the script's own.
var (
	bare      = regexp.MustCompile(`^([A-Za-z0-9_./:=,%+@-]|\$ID_[A-Z0-9_]+)+$`)
	variables = regexp.MustCompile(`\$ID_[A-Z0-9_]+`)
)

// quote makes one word of a text for a shell; the script's variables stay what they are.
func quote(s string) string {
	if bare.MatchString(s) {
		return s
	}
	if at := variables.FindAllStringIndex(s, -1); at != nil {
		inside := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", "$", `\$`)
		word, last := `"`, 0
		for _, a := range at {
			word += inside.Replace(s[last:a[0]]) + s[a[0]:a[1]]
			last = a[1]
		}
		return word + inside.Replace(s[last:]) + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// openstack are the commands of the OpenStack client, and Causeway's own for what
// that client does not know.
type openstack struct{}

func (openstack) create(a *plan.Action, v values) []string {
	var w []string
	switch a.Kind {
	case plan.Network:
		w = []string{"openstack", "network", "create", v.text("name"), "--description", v.text("description"), "--disable-port-security"}
		if v.has("mtu") {
			w = append(w, "--mtu", v.text("mtu"))
		}
	case plan.Subnet:
		w = []string{"openstack", "subnet", "create", v.text("name"), "--description", v.text("description"), "--network", v.text("network_id"),
			"--subnet-range", v.text("cidr"), "--gateway", "none", "--no-dhcp"}
	case plan.Port:
		w = []string{"openstack", "port", "create", v.text("name"), "--description", v.text("description"), "--network", v.text("network_id"), "--mac-address", v.text("mac_address")}
		for _, ip := range v.dicts("fixed_ips") {
			w = append(w, "--fixed-ip", "subnet="+ip["subnet_id"]+",ip-address="+ip["ip_address"])
		}
		if v.has("device_owner") {
			w = append(w, "--device-owner", v.text("device_owner"))
		}
	case plan.Router:
		w = []string{"openstack", "router", "create", v.text("name"), "--description", v.text("description")}
	case plan.Device:
		w = []string{"causeway", "gateway-device", "create", v.text("name"), "--router", v.text("resource_id"), "--tunnel-ip", v.text("tunnel_ips")}
	case plan.L2Gateway:
		d := v.dicts("devices")[0]
		w = []string{"causeway", "l2-gateway", "create", v.text("name"), "--gateway-device", d["device_id"], "--segmentation-id", d["segmentation_id"]}
	case plan.Connection:
		w = []string{"causeway", "l2-gateway-connection", "create", v.text("l2_gateway_id"), v.text("network_id")}
	case plan.RemoteMAC:
		w = []string{"causeway", "remote-mac", "create", "--gateway-device", v.r.ref(a.Parent), "--mac-address", v.text("mac_address"),
			"--vtep-address", v.text("vtep_address"), "--segmentation-id", v.text("segmentation_id")}
	}
	return w
}

func (openstack) update(a *plan.Action, v values) []string {
	if a.Kind == plan.Device {
		return []string{"causeway", "gateway-device", "update", v.r.ref(a.Target), "--tunnel-ip", v.text("tunnel_ips")}
	}
	w := []string{"openstack", string(a.Kind), "set"}
	for _, k := range slices.Sorted(maps.Keys(a.Attrs)) {
		switch k {
		case "admin_state_up":
			w = append(w, "--enable")
		case "port_security_enabled":
			w = append(w, "--disable-port-security")
		case "enable_dhcp":
			w = append(w, "--no-dhcp")
		case "gateway_ip":
			w = append(w, "--gateway", "none")
		case "fixed_ips":
			w = append(w, "--no-fixed-ip")
			for _, ip := range v.dicts(k) {
				w = append(w, "--fixed-ip", "subnet="+ip["subnet_id"]+",ip-address="+ip["ip_address"])
			}
		default:
			w = append(w, "--"+strings.ReplaceAll(k, "_", "-"), v.text(k))
		}
	}
	return append(w, v.r.ref(a.Target))
}

func (openstack) remove(a *plan.Action, id, parent string) []string {
	switch a.Kind {
	case plan.Device:
		return []string{"causeway", "gateway-device", "delete", id}
	case plan.L2Gateway:
		return []string{"causeway", "l2-gateway", "delete", id}
	case plan.Connection:
		return []string{"causeway", "l2-gateway-connection", "delete", id}
	case plan.RemoteMAC:
		return []string{"causeway", "remote-mac", "delete", id, "--gateway-device", parent}
	}
	return []string{"openstack", string(a.Kind), "delete", id}
}

func (openstack) other(a *plan.Action, id, parent string) []string {
	switch a.Op {
	case plan.AddTag:
		return []string{"openstack", string(a.Kind), "set", "--tag", a.Tag, id}
	case plan.RemoveTag:
		return []string{"openstack", string(a.Kind), "unset", "--tag", a.Tag, id}
	case plan.Attach:
		return []string{"openstack", "router", "add", "port", parent, id}
	case plan.Detach:
		return []string{"openstack", "router", "remove", "port", parent, id}
	}
	w := []string{"openstack", "router", "add", "route", id}
	if a.Op == plan.RemoveRoutes {
		w[2] = "remove"
	}
	for _, x := range a.Routes {
		w = append(w, "--route", "destination="+x.Destination.String()+",gateway="+x.NextHop.String())
	}
	return w
}
