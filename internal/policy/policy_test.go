package policy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
)

type target map[string]string

func (t target) Attribute(name string) (string, bool) {
	v, ok := t[name]
	return v, ok
}

func must(t testing.TB, file string) *Rules {
	t.Helper()
	r, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func member(project string, roles ...string) identity.Caller {
	if roles == nil {
		roles = []string{"member", "reader"}
	}
	return identity.Caller{UserID: "u", UserName: "n", ProjectID: model.ProjectID(project), ProjectName: "pn", Roles: roles}
}

func TestExpressions(t *testing.T) {
	mine := target{"tenant_id": "p", "project_id": "p", "network:project_id": "q", "user_id": "u", "shared": "True", "name": "a b", "device_owner": "network:dhcp"}
	for _, x := range []struct {
		expr string
		want bool
	}{
		{``, true}, {`   `, true}, {`@`, true}, {`!`, false}, {`not !`, true}, {`not not @`, true},
		{`role:member`, true}, {`role:MEMBER`, true}, {`role:admin`, false}, {`not role:admin`, true},
		{`project_id:%(project_id)s`, true}, {`tenant_id:%(tenant_id)s`, true}, {`tenant_id:%(network:project_id)s`, false},
		{`project_id:p`, true}, {`project_id:q`, false}, {`project_id:%(nothing)s`, false}, {`user_id:%(user_id)s`, true},
		{`user_name:n`, true}, {`project_name:pn`, true}, {`user_domain_id:%(nothing)s`, false}, {`user_domain_id:`, false},
		{`'p':%(project_id)s`, true}, {`"q":%(project_id)s`, false}, {`'x:y':z`, false}, {`'100%':100%%`, true}, {`True:%(shared)s`, true},
		{`project_id:%(user_id)s`, false}, {`'p-u':%(project_id)s-%(user_id)s`, true},
		{`field:networks:shared=True`, true}, {`field:networks:shared=False`, false}, {`field:networks:shared=1`, true}, {`field:networks:none=True`, false},
		{`field:port:device_owner=~^network:`, true}, {`field:port:device_owner=~dhcp`, false}, {`field:networks:name=a`, false},
		{`is_admin:True`, false}, {`is_admin:1`, false}, {`is_admin:False`, true}, {`system_scope:all`, false},
		{`@ or ! and !`, true}, {`! and ! or @`, true}, {`(@ or !) and !`, false}, {`!  or  (@ and (not !))`, true}, {`@ AND @ And not !`, true},
		{`not @ or @`, true}, {`not (@ or @)`, false}, {`((@))`, true},
	} {
		n, err := parse(x.expr)
		if err != nil {
			t.Errorf("%q: %v", x.expr, err)
			continue
		}
		d := must(t, "").For(member("p"))
		if got := n.eval(d, mine); got != x.want {
			t.Errorf("%q is %v", x.expr, got)
		}
		if got := n.reduce(d).eval(d, mine); got != x.want {
			t.Errorf("%q reduced is %v", x.expr, got)
		}
	}
}

// A check of a subnet or a port for its network's fields looks at the network.
func TestFieldOfTheNetwork(t *testing.T) {
	d := must(t, "").For(member("p"))
	for _, x := range []struct {
		t    target
		want bool
	}{
		{target{"shared": "True"}, true},
		{target{"shared": "False", "network:shared": "True"}, true},
		{target{"network:shared": "False", "shared": "True"}, false},
		{target{}, false},
	} {
		if d.Allowed("shared", x.t) != x.want {
			t.Errorf("%v: want %v", x.t, x.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, x := range []struct{ file, want string }{
		{"a: rule:nope", `line 1: a: refers to rule "nope", which does not exist`},
		{"\na: 'rule:b'\nb: 'not rule:a'", "line 3: b: refers to itself"},
		{"owner: rule:admin_or_owner", "line 1: owner: refers to itself"},
		{"a: foo:bar", `line 1: a: "foo:bar": there is no check "foo"`},
		{"a: http://x/y", "remote server"},
		{"a: role:x and", "ends where a check"},
		{"a: and role:x", "stands where a check"},
		{"a: (role:x", "not closed"},
		{"a: role:x)", "not expected here"},
		{"a: role:x role:y", "not expected here"},
		{"a: ()", "stands where a check"},
		{"a: member", "is no check"},
		{"a: 'rule:'", "names no rule"},
		{"a: tenant_id:%(x)d", "%(NAME)s"},
		{"a: tenant_id:%x", "%(NAME)s"},
		{"a: field:networks:shared", "field:RESOURCES"},
		{"a: 'field:port:name=~('", "error parsing regexp"},
		{"a: is_admin:maybe", "True or False"},
		{"a: system_scope:half", "only system scope"},
		{"a:\n", "line 1: a: has no value"},
		{"a: {b: c}", "neither a text nor a list"},
		{"a: [[[]]]", "a list of checks"},
		{"a: [['role:x or role:y']]", "one word"},
		{"b: '@'\na: '@'\nb: '!'", "line 3: b: is given twice, first on line 1"},
		{"- a", "not a mapping"},
		{"a: [", "line 1: not YAML"},
		{"a: '" + strings.Repeat("(", 200) + "@" + strings.Repeat(")", 200) + "'", "deep"},
		{"a: '" + strings.Repeat("not ", 200) + "@'", "deep"},
		{"a: '" + strings.Repeat("x", maxExpression+1) + "'", "bytes"},
		{strings.Repeat("#", MaxFile+1), "larger than"},
		{doubling(20), "checks with the rules"},
	} {
		_, err := Parse([]byte(x.file))
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%.80q: %v, want %q", x.file, err, x.want)
		}
	}
}

// doubling is a policy each rule of which refers to the one before twice.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("r00: field:x:y=z\n")
	name := func(i int) string { return "r" + string(rune('0'+i/10)) + string(rune('0'+i%10)) }
	for i := 1; i < n; i++ {
		b.WriteString(name(i) + ": rule:" + name(i-1) + " or rule:" + name(i-1) + "\n")
	}
	return b.String()
}

func TestListForm(t *testing.T) {
	for _, x := range []struct {
		list string
		want bool
	}{
		{`[]`, true}, {`[["role:member"]]`, true}, {`["role:member"]`, true}, {`[["role:admin"]]`, false}, {`[[]]`, false},
		{`[["role:member", "tenant_id:q"], ["tenant_id:%(tenant_id)s"]]`, true},
		{`[["role:member", "tenant_id:q"], "role:admin"]`, false},
		{`[["rule:owner", "!"]]`, false},
	} {
		d := must(t, "act: "+x.list).For(member("p"))
		if got := d.Allowed("act", target{"tenant_id": "p"}); got != x.want {
			t.Errorf("%s is %v", x.list, got)
		}
	}
}

func TestOverride(t *testing.T) {
	d := must(t, "\"context_is_admin\": \"role:cloud_admin\"\n").For(member("p", "admin"))
	if d.Admin() {
		t.Error("role admin is an admin where the file says another role")
	}
	d = must(t, "context_is_admin: role:cloud_admin or is_admin:True\n").For(member("p", "cloud_admin"))
	if !d.Admin() || !d.Allowed("create_gateway_device", target{}) {
		t.Error("role cloud_admin is no admin")
	}
	if !must(t, "# nothing\n").For(identity.Caller{Admin: true}).Allowed("create_network:shared", target{}) {
		t.Error("where nobody authenticates everybody is an admin")
	}
	if must(t, "default: '!'").For(member("p", "admin")).Allowed("no_such_action", target{}) {
		t.Error("an action without a rule is decided by the default rule")
	}
}

func TestDefaults(t *testing.T) {
	own := target{"tenant_id": "p", "project_id": "p", "network:tenant_id": "p", "network:project_id": "p", "shared": "False", "device_owner": ""}
	onShared := target{"tenant_id": "p", "network:tenant_id": "q", "network:shared": "True", "device_owner": "network:dhcp"}
	foreign := target{"tenant_id": "q", "network:tenant_id": "q", "network:shared": "False", "shared": "False"}
	shared := target{"tenant_id": "q", "shared": "True"}
	admin, mem, reader, advsvc := member("p", "admin", "member", "reader"), member("p"), member("p", "reader"), member("p", "advsvc")
	old := member("p", "_member_") // a role of a cloud that knows no reader
	for _, x := range []struct {
		action                            string
		t                                 target
		admin, member, reader, adv, older bool
	}{
		{"create_network", own, true, true, false, true, true},
		{"create_network:shared", own, true, false, false, false, false},
		{"create_network:router:external", own, true, false, false, false, false},
		{"create_network:provider:network_type", own, true, false, false, false, false},
		{"get_network", own, true, true, true, true, true},
		{"get_network", foreign, true, false, false, true, false},
		{"get_network", shared, true, true, true, true, true},
		{"update_network", shared, true, false, false, false, false},
		{"update_network", own, true, true, false, true, true},
		{"delete_network", foreign, true, false, false, false, false},
		{"get_network:provider:network_type", own, true, false, false, false, false},
		{"create_subnet", onShared, true, false, false, false, false},
		{"create_subnet", own, true, true, false, true, true},
		{"create_port", onShared, true, true, false, true, true},
		{"create_port:mac_address", onShared, true, false, false, true, false},
		{"create_port:mac_address", own, true, true, true, true, true},
		{"create_port:device_owner", onShared, true, false, false, true, false},
		{"create_port:device_owner", own, true, true, true, true, true},
		{"create_port:fixed_ips", onShared, true, true, true, true, true},
		{"create_port:fixed_ips:ip_address", onShared, true, false, false, true, false},
		{"create_port:binding:host_id", own, true, false, false, false, false},
		{"update_port:mac_address", own, true, false, false, true, false},
		{"get_port", foreign, true, false, false, true, false},
		{"update_port", foreign, true, false, false, true, false},
		{"get_router", foreign, true, false, false, false, false},
		{"add_router_interface", own, true, true, false, true, true},
		{"create_gateway_device", own, true, false, false, false, false},
		{"get_remote_mac_entry", own, true, false, false, false, false},
		{"create_l2_gateway", own, true, false, false, false, false},
		{"get_l2_gateway_connection", own, true, false, false, false, false},
		{"create_rbac_policy:target_tenant", target{"tenant_id": "p", "target_tenant": "*"}, true, false, false, false, false},
		{"create_rbac_policy:target_tenant", target{"tenant_id": "p", "target_tenant": "q"}, true, true, true, true, true},
		{"get_quota", own, true, false, false, false, false},
		{UseDiagnostics, own, true, false, false, false, false},
	} {
		r := must(t, "")
		for _, y := range []struct {
			who  string
			c    identity.Caller
			want bool
		}{{"admin", admin, x.admin}, {"member", mem, x.member}, {"reader", reader, x.reader}, {"advsvc", advsvc, x.adv}, {"older", old, x.older}} {
			if got := r.For(y.c).Allowed(x.action, x.t); got != y.want {
				t.Errorf("%s as %s on %v: %v", x.action, y.who, x.t, got)
			}
		}
		if !r.Has(x.action) {
			t.Errorf("no rule %s", x.action)
		}
	}
}

// A caller without a project owns nothing, also not what has no owner.
func TestNoProject(t *testing.T) {
	d := must(t, "").For(identity.Caller{UserID: "u"})
	if d.Allowed("get_network", target{"tenant_id": ""}) {
		t.Error("a caller without a project owns what has no owner")
	}
}

func TestAlways(t *testing.T) {
	r := must(t, "")
	if allowed, known := r.For(member("p", "admin")).Always("get_port"); !allowed || !known {
		t.Error("an admin's get_port is not known to be allowed")
	}
	if _, known := r.For(member("p")).Always("get_port"); known {
		t.Error("a member's get_port does not depend on the port")
	}
	if allowed, known := r.For(member("p")).Always("get_l2_gateway"); allowed || !known {
		t.Error("a member's get_l2_gateway is not known to be refused")
	}
}

// What the command prints is a policy file, and without its comments the same
// policy again.
func TestDefaultFile(t *testing.T) {
	file := DefaultFile()
	if r := must(t, file); len(r.Unused()) > 0 {
		t.Error(r.Unused())
	}
	open := regexp.MustCompile(`(?m)^#"`).ReplaceAllString(file, `"`)
	r := must(t, open)
	if got, want := len(r.Names()), strings.Count(open, "\n\""); got != want {
		t.Errorf("%d rules of %d lines", got, want)
	}
	for name, x := range r.rules {
		if x.line == 0 {
			t.Errorf("%s is not in the file", name)
		}
	}
}

func TestUnused(t *testing.T) {
	r := must(t, "create_netwrok: '@'\ncreate_network:name: '@'\nmine: '@'\nget_port: rule:mine\ncreate_floatingip: '!'")
	if got := r.Unused(); !slices.Equal(got, []string{"create_floatingip", "create_netwrok"}) {
		t.Errorf("%v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(DefaultFile())
	f.Add("a: rule:b or (not role:x and tenant_id:%(network:tenant_id)s)\nb: [[\"@\"],[\"!\"]]")
	f.Add("a: field:port:device_owner=~^network:\nowner: '!'")
	f.Add("a: &x [*x]")
	f.Add(doubling(30))
	f.Add("a: \"'x':%(y)s\"")
	f.Fuzz(func(t *testing.T, file string) {
		r, err := Parse([]byte(file))
		if err != nil {
			return
		}
		// Looked at before or after what follows from the caller is worked out, a
		// rule says the same.
		for _, c := range []identity.Caller{member("p"), member("q", "admin"), {}} {
			d := r.For(c)
			for _, name := range r.Names() {
				tg := target{"tenant_id": "p", "network:tenant_id": "q", "shared": "True"}
				if r.rules[name].expr.eval(d, tg) != d.Allowed(name, tg) {
					t.Fatalf("%s of %q", name, file)
				}
			}
		}
	})
}

func BenchmarkListOwn(b *testing.B) {
	r := must(b, "")
	d := r.For(member("p"))
	tg := target{"tenant_id": "q", "network:tenant_id": "q"}
	for b.Loop() {
		d.Allowed("get_port", tg)
	}
}

func BenchmarkFor(b *testing.B) {
	r := must(b, "")
	for b.Loop() {
		r.For(member("p")).Allowed("create_port", target{})
	}
}
