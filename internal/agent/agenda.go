package agent

import (
	"maps"
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// agenda is what has to be looked at, and what has to be written. A step that fails
// puts its part back, and it is tried again later.
type agenda struct {
	devices  bool                    // the vxlan and tap device
	links    map[string]struct{}     // workload interfaces, by name
	allLinks bool                    // all of them
	gateways bool                    // tunnel IPs, tables of VTEP routers
	vteps    map[netip.Addr]struct{} // paths to these
	paths    bool                    // to all
	underlay bool                    // programs on underlay interfaces
	prune    bool                    // what the host has and should not

	attach []hostnet.Link // found by looking at links: they are to have the program

	full  bool            // write all rows
	delta hoststate.Delta // or these; its maps are the agenda's own
}

func everything() agenda {
	return agenda{devices: true, allLinks: true, gateways: true, paths: true, underlay: true, prune: true, full: true}
}

func (t *agenda) any() bool {
	return t.devices || t.allLinks || len(t.links) > 0 || t.gateways || t.paths || len(t.vteps) > 0 ||
		t.underlay || t.prune || t.rows()
}

// rows tells whether there are rows to write.
func (t *agenda) rows() bool { return t.full || !t.delta.Empty() }

func (t *agenda) allGateways() { t.gateways, t.paths, t.underlay, t.prune = true, true, true, true }

// addDelta joins d to the rows to be written.
func (t *agenda) addDelta(d hoststate.Delta) {
	if d.Full || t.full {
		t.full, t.delta = true, hoststate.Delta{}
		return
	}
	if t.delta.Empty() {
		t.delta = hoststate.Delta{Revision: d.Revision, Set: d.Set.Clone(), Unset: d.Unset}
		return
	}
	// Two deltas that both failed, or one that meets a change of the host. All
	// rows at once need no order between them.
	t.full, t.delta = true, hoststate.Delta{}
}

// setRow helpers put a row that has not changed in the state, but whose meaning on this
// host has, among the rows to be written.
func (t *agenda) setPort(k model.PortKey, p hoststate.Port, st hoststate.State) {
	if t.full {
		return
	}
	t.ensure()
	t.delta.Set.Ports[k] = p
	ek := hoststate.EndpointKey{Network: p.Network, MAC: p.MAC}
	if e, ok := st.Endpoints[ek]; ok {
		t.delta.Set.Endpoints[ek] = e
	}
}

func (t *agenda) setEndpoint(k hoststate.EndpointKey, e hoststate.Endpoint) {
	if t.full {
		return
	}
	t.ensure()
	t.delta.Set.Endpoints[k] = e
}

func (t *agenda) setVLAN(k hoststate.VLANKey, v hoststate.VLAN) {
	if t.full {
		return
	}
	t.ensure()
	t.delta.Set.VLANs[k] = v
}

func (t *agenda) ensure() {
	if t.delta.Set.Ports == nil {
		t.delta.Set = hoststate.NewState()
	}
}

func (t *agenda) addLinks(names map[string]struct{}) {
	if t.links == nil {
		t.links = make(map[string]struct{}, len(names))
	}
	maps.Copy(t.links, names)
}

// backoff between tries of what did not work.
type backoff struct{ d time.Duration }

const backoffMin, backoffMax = 100 * time.Millisecond, 30 * time.Second

func (b *backoff) next() time.Duration {
	if b.d == 0 {
		b.d = backoffMin
	} else {
		b.d = min(2*b.d, backoffMax)
	}
	return b.d
}

func (b *backoff) reset() { b.d = 0 }
