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
)

// Destination is a set of what a frame may follow to.
type Destination uint16

// What a frame may follow to.
const (
	ToPort       Destination = 1 << 1
	ToRouter     Destination = 1 << 2
	ToRemote     Destination = 1 << 3
	ToVLAN       Destination = 1 << 5
	ToCopies     Destination = 1 << 6 // copies to the network's ports, where nobody has the address
	ToVLANCopies Destination = 1 << 7 // copies to its VLANs
	ToHost       Destination = 1 << 8 // the host's own stack
)

// MayFollow is where frames that are bridged may go: the table of docs/PIPELINE.md.
func (s Source) MayFollow() Destination {
	switch s {
	case SourceUplink:
		return ToHost
	case SourceWorkload, SourceSlow:
		return ToPort | ToRouter | ToRemote | ToVLAN | ToCopies | ToVLANCopies
	case SourceVLAN:
		return ToPort | ToRouter | ToRemote | ToCopies
	case SourceTunnel:
		return ToPort | ToRouter | ToVLAN | ToCopies
	}
	return 0
}

// MayAsk is of whose addresses ARP is told. A workload is told of all that are known.
func (s Source) MayAsk() Destination {
	switch s {
	case SourceVLAN:
		return ToPort | ToRouter
	case SourceTunnel:
		return ToPort | ToRouter | ToVLAN
	}
	return 0
}

// to is the destination that an FDB entry is; 0: one that drops.
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
	}
	return 0
}
