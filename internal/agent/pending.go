package agent

import (
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// pendingRows are the rows of the maps that are to be written.
type pendingRows struct {
	full  bool            // all of them
	delta hoststate.Delta // or these; its maps are its own
	fresh bool            // some were added since the last try
}

func (p *pendingRows) any() bool { return p.full || !p.delta.Empty() }

// all asks for all rows.
func (p *pendingRows) all() { *p = pendingRows{full: true, fresh: true} }

// add joins what the controller sent.
func (p *pendingRows) add(d hoststate.Delta) {
	if d.Full || p.full || !p.delta.Empty() {
		// Two deltas that both failed, or one that meets a change of the host. All
		// rows at once need no order between them.
		p.all()
		return
	}
	p.fresh = true
	p.delta = hoststate.Delta{Revision: d.Revision, Set: d.Set.Clone(), Unset: d.Unset}
}

// The others put a row that has not changed in the state, but whose meaning on this host
// has, among those to be written.

func (p *pendingRows) setPort(k model.PortKey, st hoststate.State) {
	row, ok := st.Ports[k]
	if !ok || !p.ensure() {
		return
	}
	p.delta.Set.Ports[k] = row
	ek := hoststate.FDBKey{Network: row.Network, MAC: row.MAC}
	if e, ok := st.FDB[ek]; ok {
		p.delta.Set.FDB[ek] = e
	}
}

func (p *pendingRows) setFDBEntry(k hoststate.FDBKey, e hoststate.FDBEntry) {
	if p.ensure() {
		p.delta.Set.FDB[k] = e
	}
}

func (p *pendingRows) setPeer(k hoststate.PeerKey, row hoststate.Peer) {
	if p.ensure() {
		p.delta.Set.Peers[k] = row
	}
}

func (p *pendingRows) setHost(name model.HostName, h hoststate.Host) {
	if p.ensure() {
		p.delta.Set.Hosts[name] = h
	}
}

func (p *pendingRows) setVLAN(k hoststate.VLANKey, v hoststate.VLAN) {
	if p.ensure() {
		p.delta.Set.VLANs[k] = v
	}
}

// ensure makes room for rows; false: all are written anyway.
func (p *pendingRows) ensure() bool {
	p.fresh = true
	if p.full {
		return false
	}
	if p.delta.Set.Ports == nil {
		p.delta.Set = hoststate.NewState()
	}
	return true
}
