package clients

import (
	"context"
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/policy"
	"github.com/causeway-net/causeway/internal/testutil"
)

// enforcing prints which attributes of requests Neutron asks its policy about (its own
// file names some that it never asks about), and the rules of its defaults.
const enforcing = `
import importlib, json, pkgutil
import neutron_lib.api.definitions as definitions
from neutron.extensions import rbac
from neutron.conf import policies
enforced = set()
maps = [importlib.import_module(definitions.__name__ + "." + m.name) for m in pkgutil.iter_modules(definitions.__path__)] + [rbac]
for m in maps:
    for collection, attributes in (getattr(m, "RESOURCE_ATTRIBUTE_MAP", None) or {}).items():
        for name, spec in attributes.items():
            if isinstance(spec, dict) and spec.get("enforce_policy"):
                for verb, allow in (("create", "allow_post"), ("update", "allow_put")):
                    if spec.get(allow):
                        enforced.add("%s %s %s" % (verb, collection.replace("-", "_"), name))
print(json.dumps({"enforced": sorted(enforced), "rules": sorted(r.name for r in policies.list_rules())}))
`

// TestPolicyAttributes: our policy decides by default about the attributes that Neutron
// asks its own about, and about no others.
func TestPolicyAttributes(t *testing.T) {
	testutil.RequireTool(t, "/usr/bin/oslopolicy-checker", python)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "-c", enforcing).Output()
	if err != nil {
		t.Fatalf("neutron_lib: %v", err)
	}
	var theirs struct{ Enforced, Rules []string }
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	plurals := map[string]string{"network": "networks", "subnet": "subnets", "port": "ports", "router": "routers",
		"subnetpool": "subnetpools", "address_scope": "address_scopes", "rbac_policy": "rbac_policies"}
	rule := regexp.MustCompile(`^(create|update)_([a-z_]+):(.+)$`)
	asked := func(name string) (known, yes bool) {
		m := rule.FindStringSubmatch(name)
		if m == nil || plurals[m[2]] == "" {
			return false, false
		}
		// Of an attribute with keys Neutron asks about each key that is said.
		for i := range m[3] {
			if (m[3][i] == ':') && slices.Contains(theirs.Enforced, m[1]+" "+plurals[m[2]]+" "+m[3][:i]) {
				return true, true
			}
		}
		return true, slices.Contains(theirs.Enforced, m[1]+" "+plurals[m[2]]+" "+m[3])
	}
	var ours []string
	for line := range strings.SplitSeq(policy.DefaultFile(), "\n") {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, `#"`), `"`); ok && strings.HasPrefix(line, `#"`) {
			ours = append(ours, name)
		}
	}
	checked := 0
	for _, name := range ours {
		known, yes := asked(name)
		if known && !yes {
			t.Errorf("the rule %s is ours alone: Neutron never asks about this attribute", name)
		}
		if known {
			checked++
		}
	}
	for _, name := range theirs.Rules {
		if known, yes := asked(name); known && yes && !slices.Contains(ours, name) {
			t.Errorf("Neutron asks about %s, and we do not", name)
		}
	}
	if checked < 40 {
		t.Errorf("only %d rules of attributes were looked at", checked)
	}
}
