package trace

import (
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// What moves from one host to another lies in two places: FDBEntry.Host, where frames go, and FDBEntry.Also. Hosts learn of
// it one after the other, so both take what comes for it, and from both it is taken.

// moving are the entries of what moves: where frames go, and the other place; that is of kind FDBDrop where there
// is none.
func (p *Pipeline) moving(net model.NetworkKey, row hoststate.FDBEntry) (to, other fdbEntry) {
	if row.Kind == hoststate.FDBRemote && p.own == row.Also && p.st.Here(row) {
		row.Host, row.Also = row.Also, row.Host // tunnel packets come in at both, and leave by both
	}
	alone, also := row, row
	alone.Also, also.Also = "", ""
	also.Host = row.Also
	none := fdbEntry{FDBEntry: hoststate.FDBEntry{Kind: hoststate.FDBDrop}}
	here := none
	if p.st.Here(row) {
		here = p.place(net, alone)
	}
	if p.own != "" && p.own != row.Host {
		to = p.hostEntry(net, alone)
		if p.own != row.Also {
			other = p.hostEntry(net, also)
			if to.Kind == hoststate.FDBDrop && other.Kind != hoststate.FDBDrop {
				return other, none // there is no way to where it goes
			}
			return to, other
		}
		return to, here
	}
	if p.own != "" {
		none = p.hostEntry(net, also)
	}
	switch {
	case here.Kind != hoststate.FDBDrop:
		return here, none
	case none.Kind != hoststate.FDBDrop:
		return none, here // it is there already, or no longer here
	}
	return p.place(net, alone), none
}

// otherPlace is the second entry of a MAC that moves.
func (p *Pipeline) otherPlace(net model.NetworkKey, mac model.MAC) (fdbEntry, bool) {
	row, ok := p.st.FDB[hoststate.FDBKey{Network: net, MAC: mac}]
	if !ok || row.Also == "" || row.Kind != hoststate.FDBPort && row.Kind != hoststate.FDBRemote {
		return fdbEntry{}, false
	}
	_, other := p.moving(net, row)
	return other, other.Kind != hoststate.FDBDrop
}

// movesFrom tells whether frames with a MAC that moves are taken from a host, by its address, beside the one that frames go to.
func (p *Pipeline) movesFrom(net model.NetworkKey, mac model.MAC, host netip.Addr) bool {
	other, ok := p.otherPlace(net, mac)
	return ok && other.Kind == fdbHost && other.Addr == host
}

// bridgeMoving is of a frame from the fabric for what lies elsewhere: it stays here, where this host is the other place. A learned
// MAC is where its holder is.
func (r *run) bridgeMoving(at Object, e fdbEntry, dst model.MAC) Result {
	mac := dst
	_, fixed := r.p.fixedEntry(r.net, dst)
	if !fixed {
		mac = r.p.env.Memory.rows[Sender{Network: r.net, MAC: dst}].mac
	}
	other, ok := r.p.otherPlace(r.net, mac)
	switch {
	case !ok || !r.source.MayFollow().may(other):
		return r.drop(reason.FabricHairpin, at, about{mac: dst, ip: e.Addr})
	case r.tooBig(other.mtu):
		r.mark("fabric/moving-too-big")
		if res, done := r.tooBigBehindRouter(other); done {
			return res
		}
		return r.drop(reason.MTUExceeded, at, about{mac: dst, mtu: other.mtu})
	case other.Kind == hoststate.FDBPort:
		r.mark("fabric/moving-port")
		if !fixed {
			r.mark("fabric/moving-learned")
		}
		return r.deliver(at, other)
	}
	return r.encapsulate(other, false)
}
