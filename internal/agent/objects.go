package agent

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// objects are all that the agent keeps in its wanted state, by the reconciler that does it.
// Each has a status of its own.
type objects struct {
	set      *reconcile.Set
	devices  *reconcile.Table[string]                // the agent's own, and local_icmp
	links    *reconcile.Table[string]                // workload interfaces; allLinks: the list of them
	gateways *reconcile.Table[model.GatewayDeviceID] // tunnel IPs, tables of VTEP routers
	trunks   *reconcile.Table[string]                // interfaces of VLANs
	policies *reconcile.Table[single]                // the host's IPsec
	fabric   *reconcile.Table[single]                // the host's own address on the fabric
	vteps    *reconcile.Table[dataplane.VTEP]        // the way to each, and back
	rows     *reconcile.Table[single]                // the maps
	learned  *reconcile.Table[single]                // what programs have learned and nobody may use any more
	prune    *reconcile.Table[single]                // what the host has and should not
	underlay *reconcile.Table[string]                // interfaces that carry tunnels; allUnderlay: which they are
	files    *reconcile.Table[string]                // of the state directory
	ports    *reconcile.Table[model.PortID]          // what the others come to, and the controller is told
}

// single is the key of what there is one of.
type single struct{}

const (
	localICMP   = "local_icmp"
	allLinks    = "" // no interface has that name
	allUnderlay = ""
)

const (
	kindLinks = "links"
	kindPorts = "ports"
	kindRows  = "rows"
	theMaps   = "maps"
)

func (a *Agent) newObjects() objects {
	set := reconcile.NewSet(time.Now)
	same := func(s string) string { return s }
	named := func(all string) func(string) string {
		return func(name string) string {
			if name == "" {
				return all
			}
			return name
		}
	}
	one := func(name string) func(single) string { return func(single) string { return name } }
	say := func(words string) func(string) string { return func(string) string { return words } }
	return objects{
		set:     set,
		devices: reconcile.NewTable(set, "devices", same, say("there, with its program")),
		links:   reconcile.NewTable(set, kindLinks, named("all interfaces"), a.linkWanted),
		gateways: reconcile.NewTable(set, "gateways", func(id model.GatewayDeviceID) string { return string(id) },
			func(id model.GatewayDeviceID) string {
				return fmt.Sprintf("tunnel IP %s and its routes on this host", a.state.Gateways[id].TunnelIP)
			}),
		trunks:   reconcile.NewTable(set, "trunks", same, say("an Ethernet interface for VLANs")),
		policies: reconcile.NewTable(set, "policies", one("IPsec"), func(single) string { return "the host's IPsec policies are known" }),
		fabric: reconcile.NewTable(set, "fabric", one("address"), func(single) string {
			return fmt.Sprintf("an interface of this host has %s", a.cfg.Fabric.Addr)
		}),
		vteps: reconcile.NewTable(set, "vteps", func(v dataplane.VTEP) string { return fmt.Sprintf("%s from %s", v.Remote, v.Local) },
			a.vtepWanted),
		rows:     reconcile.NewTable(set, kindRows, one(theMaps), func(single) string { return "the maps hold the state" }),
		learned:  reconcile.NewTable(set, "learned", one("address pairs"), func(single) string { return "no room for what was learned too long ago" }),
		prune:    reconcile.NewTable(set, "prune", one("host"), func(single) string { return "nothing on the host that is no longer needed" }),
		underlay: reconcile.NewTable(set, "underlay", named("all interfaces"), say("the underlay's program on it")),
		files:    reconcile.NewTable(set, "files", same, say("what a restart goes on from")),
		ports:    reconcile.NewTable(set, kindPorts, func(id model.PortID) string { return string(id) }, func(model.PortID) string { return "its packets pass" }),
	}
}

// linkWanted says what is wanted of a workload interface.
func (a *Agent) linkWanted(name string) string {
	var ids []string
	for k := range a.byIf[name] {
		ids = append(ids, string(a.state.Ports[k].ID))
	}
	if len(ids) == 0 {
		return "the workloads' program on it"
	}
	return "the workloads' program on it, for port " + strings.Join(ids, ", ")
}

// everything marks all objects, as after a full state.
func (a *Agent) everything() {
	o := &a.objs
	for _, d := range []string{hostnet.VXLANDevice, hostnet.SlowDevice, localICMP} {
		o.devices.Due(d)
	}
	if a.cfg.Fabric.On() {
		o.devices.Due(hostnet.FabricDevice)
		o.fabric.Due(single{})
	}
	o.links.Due(allLinks)
	o.policies.Due(single{})
	o.prune.Due(single{})
	o.underlay.Due(allUnderlay)
	for id := range a.state.Gateways {
		o.gateways.Due(id)
	}
	o.trunks.DueAll() // those too of which the state has nothing any more
	for k := range a.state.VLANs {
		o.trunks.Due(k.Interface)
	}
	o.vteps.DueAll()
	a.pending.all()
}

// settle notes what came of an object's reconciler, and logs what is new.
func settle[K comparable](a *Agent, t *reconcile.Table[K], k K, err error) {
	if err == nil {
		if t.Done(k) {
			a.log.Info("as the controller says again", "kind", t.Kind(), "object", t.Name(k))
		}
		return
	}
	if t.Failed(k, err) {
		a.log.Error("not as the controller says, will try again", "kind", t.Kind(), "object", t.Name(k), "err", err)
	}
}
