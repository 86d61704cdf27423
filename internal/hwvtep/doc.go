// Package hwvtep drives switches that are VXLAN endpoints by the OVSDB database
// hardware_vtep (RFC 7047; vtep(5) of Open vSwitch).
//
// What a switch is to have is a Want, computed by others. Plan compares it with what
// the switch's database holds and gives the transactions that lead from one to the
// other; it is pure. A driver for each switch keeps a session: it takes the
// switch's lock, which one session of the switch's clients has at a time and
// without which none of its transactions happens; it monitors the tables, and
// plans again at each change on either side. So rows that somebody deletes come
// back, and a switch that was away gets what it missed.
//
// What is ours is told by name: the logical switches whose name begins with
// "causeway-" and the gateway device's id, with all that refers to them. Nothing
// else is changed or deleted. A device that is deleted stays a target, a retired one,
// until its switch has nothing of it any more, whenever that comes back.
//
// The types of the wire are those of libovsdb. What a switch sends is read by this
// package itself, since it may be anything.
package hwvtep
