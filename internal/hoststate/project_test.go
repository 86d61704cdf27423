package hoststate

import (
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// TestWhoseRows: a port of another project on a shared network has rows of its own project,
// a router's interface of the router's, and all else is the network's.
func TestWhoseRows(t *testing.T) {
	c := newChapter()
	c.tenant.ProjectID, c.router.ProjectID = "owner", "routers"
	guest := *c.vm
	guest.ProjectID = "guest"
	topo := NewTopology()
	for _, o := range []any{c.tenant, c.multi, c.tenantSubnet, c.multiSubnet, &guest, c.gatewayPort, c.router} {
		topo.Apply(Change{New: o})
	}
	st := Compile(topo, "h")
	if p := st.Ports[guest.Key].Project; p != "guest" {
		t.Errorf("the port is %q's", p)
	}
	if p := st.Networks[c.tenant.Key].Project; p != "owner" {
		t.Errorf("the network is %q's", p)
	}
	if p := st.Routers[c.router.Key].Project; p != "routers" {
		t.Errorf("the router is %q's", p)
	}
	for mac, want := range map[model.MAC]model.ProjectID{guest.MAC.MAC: "guest", c.gatewayPort.MAC.MAC: "routers"} {
		e, ok := st.FDB[FDBKey{c.tenant.Key, mac}]
		if !ok || e.Project != want {
			t.Errorf("%v is %q's (%v), want %q", mac, e.Project, ok, want)
		}
	}
	guest.ProjectID = "owner"
	topo.Apply(Change{New: &guest})
	if e := Compile(topo, "h").FDB[FDBKey{c.tenant.Key, guest.MAC.MAC}]; e.Project != "" {
		t.Errorf("a port of the network's own project says so: %q", e.Project)
	}
}
