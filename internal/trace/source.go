package trace

import "github.com/causeway-net/causeway/internal/hoststate"

// Source is where a frame came from, as enum source of the programs has it. A kind that is
// not here may reach nothing.
type Source uint8

// The kinds of sources.
const (
	SourceUplink   Source = iota + 1 // no tunnel packet, and of no VLAN of ours
	SourceWorkload                   // a port's interface
	SourceVLAN                       // a network's VLAN on an uplink
	SourceTunnel                     // another site
	SourceSlow                       // the agent's slow path
	SourceFabric                     // another host of the site
)

// Destination is a set of what a frame may follow to.
type Destination uint16

// What a frame may follow to.
const (
	ToPort       Destination = 1 << 1
	ToRouter     Destination = 1 << 2
	ToRemote     Destination = 1 << 3
	ToVLAN       Destination = 1 << 5
	ToFabric     Destination = 1 << 6 // what another host of the site has
	ToCopies     Destination = 1 << 7 // copies to the network's ports, where nobody has the address
	ToVLANCopies Destination = 1 << 8 // copies to its VLANs
	// ToFabricCopies are copies to the other hosts of the site that are on the network.
	ToFabricCopies Destination = 1 << 9
	ToStack        Destination = 1 << 10 // the host's own stack
)

// MayFollow is where frames that are bridged may go: the table of docs/PIPELINE.md.
func (s Source) MayFollow() Destination {
	switch s {
	case SourceUplink:
		return ToStack
	case SourceWorkload:
		return ToPort | ToRouter | ToRemote | ToVLAN | ToFabric | ToCopies | ToVLANCopies | ToFabricCopies
	case SourceVLAN:
		return ToPort | ToRouter | ToRemote | ToFabric | ToCopies | ToFabricCopies // to hosts as mayReach says
	case SourceTunnel:
		return ToPort | ToRouter | ToVLAN | ToFabric | ToCopies | ToFabricCopies
	case SourceSlow:
		return ToPort | ToRouter | ToRemote | ToVLAN | ToFabric | ToCopies | ToVLANCopies | ToFabricCopies
	case SourceFabric:
		return ToPort | ToRemote | ToVLAN | ToCopies | ToVLANCopies
	}
	return 0
}

// MayAsk is of whose addresses ARP is told. A workload is told of all that are known.
func (s Source) MayAsk() Destination {
	switch s {
	case SourceVLAN:
		return ToPort | ToRouter | ToFabric // of hosts as mayReach says
	case SourceTunnel:
		return ToPort | ToRouter | ToVLAN | ToFabric
	}
	return 0
}

// may tells whether a set has all that an FDB entry is; one that drops is nothing.
func (d Destination) may(e fdbEntry) bool {
	to := e.to()
	return to != 0 && d&to == to
}

// to is the destination that an FDB entry is; 0: one that drops. What another host serves of another
// site is two.
func (e fdbEntry) to() Destination {
	switch e.Kind {
	case hoststate.FDBPort:
		return ToPort
	case hoststate.FDBRouter:
		return ToRouter
	case hoststate.FDBRemote:
		return ToRemote
	case fdbVLAN:
		return ToVLAN
	case fdbHost:
		if e.remote {
			return ToFabric | ToRemote
		}
		return ToFabric
	}
	return 0
}
