package hoststate

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

// sharedDomain is many routers on a shared network, each with a network that has a port on a host of its own. The router
// with the least key has the network with the least key, which is older than all others; join puts it onto the shared network.
func sharedDomain(routers int) (t *Topology, join *model.Port) {
	t = NewTopology()
	at := func(n int) model.Standard { return model.Standard{CreatedAt: time.Unix(int64(n), 0)} }
	t.Apply(Change{New: &model.Network{ID: "shared", Key: 1 << 20, AdminStateUp: true, Shared: true, Standard: at(1000)}})
	for i := range routers {
		r, n, h := fmt.Sprint("r", i), model.NetworkID(fmt.Sprint("n", i)), model.HostName(fmt.Sprint("h", i))
		t.Apply(Change{New: &model.Host{Name: h}})
		t.Apply(Change{New: &model.Router{ID: model.RouterID(r), Key: model.RouterKey(i + 1), AdminStateUp: true}})
		t.Apply(Change{New: &model.Network{ID: n, Key: model.NetworkKey(i + 1), AdminStateUp: true, Standard: at(1 + 2000*min(i, 1))}})
		t.Apply(Change{New: boundTo(&model.Port{ID: model.PortID("vm" + r), Key: model.PortKey(3*i + 1), NetworkID: n, AdminStateUp: true, MAC: macOf(0, i), HostID: h})})
		for j, net := range []model.NetworkID{n, "shared"} {
			p := &model.Port{
				ID: model.PortID(fmt.Sprint(r, "/", j)), Key: model.PortKey(3*i + j + 2), NetworkID: net, AdminStateUp: true,
				DeviceOwner: model.OwnerRouterInterface, DeviceID: r, MAC: macOf(j+1, i),
			}
			if i == 0 && j == 1 {
				join = p
				continue
			}
			t.Apply(Change{New: p})
		}
	}
	return t, join
}

func macOf(kind, i int) model.NamedMAC {
	return model.NamedMAC{MAC: model.MAC{2, byte(kind), 0, 0, byte(i >> 8), byte(i)}}
}

func boundTo(p *model.Port) *model.Port {
	p.Profile = map[string]json.RawMessage{"interface_name": json.RawMessage(`"tap"`)}
	return p
}

// TestDomainKeepsName: a router that joins many others by a shared network, or leaves them, changes no more rows where they are
// more, whatever keys it and its network have and however old they are. Else who may join could have all others' rows sent anew.
func TestDomainKeepsName(t *testing.T) {
	count := func(routers int) (join, leave int) {
		top, port := sharedDomain(routers)
		c := NewCompiler(top)
		rows := func(change Change) (n int) {
			for _, d := range c.Apply(top.Apply(change)) {
				n += d.Set.Len() + d.Unset.Len()
			}
			return n
		}
		join = rows(Change{New: port})
		if name := top.domains.nameOf("r0"); name != 1<<20 {
			t.Errorf("the domain is named by network %d", name)
		}
		return join, rows(Change{Old: port})
	}
	fewJoin, fewLeave := count(10)
	manyJoin, manyLeave := count(300)
	t.Logf("%d and %d rows change with 10 routers, %d and %d with 300", fewJoin, fewLeave, manyJoin, manyLeave)
	if manyJoin > fewJoin || manyLeave > fewLeave || fewJoin == 0 {
		t.Errorf("%d and %d rows change with 10 routers, %d and %d with 300", fewJoin, fewLeave, manyJoin, manyLeave)
	}
}

// TestDomainOfNoNetwork: a router that no overlay network is on has none, and gets one with the first.
func TestDomainOfNoNetwork(t *testing.T) {
	top, port := sharedDomain(2)
	top.Apply(Change{New: &model.Router{ID: "lone", Key: 99, AdminStateUp: true}})
	if name := top.domains.nameOf("lone"); name != 0 {
		t.Errorf("it is in %d", name)
	}
	p := *port
	p.ID, p.DeviceID = "lone/0", "lone"
	top.Apply(Change{New: &p})
	if name := top.domains.nameOf("lone"); name != 1<<20 {
		t.Errorf("it is in %d", name)
	}
	// Once operators no longer share the network, the oldest gives its name.
	top.Apply(Change{New: port})
	old := top.networks["shared"]
	own := *old
	own.Shared = false
	top.Apply(Change{Old: old, New: &own})
	if name := top.domains.nameOf("lone"); name != 1 {
		t.Errorf("it is in %d", name)
	}
	top.Apply(Change{Old: port})
	if name := top.domains.nameOf("r0"); name != 1 || top.domains.nameOf("lone") != 1<<20 {
		t.Errorf("r0 is in %d, the others are in %d", name, top.domains.nameOf("lone"))
	}
}

// TestDomainOfSharedByRBAC: a network that is shared with other projects by RBAC gives the domain its name before those that are not shared, and after
// those that are shared with everybody.
func TestDomainOfSharedByRBAC(t *testing.T) {
	top, port := sharedDomain(2)
	top.Apply(Change{New: port})
	named := func(want model.NetworkKey) {
		t.Helper()
		if name := top.domains.nameOf("r0"); name != want {
			t.Errorf("it is named by network %d, not %d", name, want)
		}
	}
	own := *top.networks["shared"]
	own.Shared, own.ProjectID = false, "owner"
	top.Apply(Change{Old: top.networks["shared"], New: &own})
	named(1)
	share := func(id model.NetworkID, with model.ProjectID) *model.RBACPolicy {
		p := &model.RBACPolicy{ID: model.RBACPolicyID(string(id) + string(with)), ObjectType: "network", ObjectID: string(id), Action: "access_as_shared", Target: with}
		top.Apply(Change{New: p})
		return p
	}
	share("shared", "owner")
	named(1)
	policy := share("shared", "another")
	named(1 << 20)
	other := *policy
	other.Target = "third"
	top.Apply(Change{Old: policy, New: &other})
	named(1 << 20)
	everybody := *top.networks["n1"]
	everybody.Shared = true
	top.Apply(Change{Old: top.networks["n1"], New: &everybody})
	named(2)
	private := everybody
	private.Shared = false
	top.Apply(Change{Old: &everybody, New: &private})
	named(1 << 20)
	top.Apply(Change{Old: &other})
	named(1)
}
