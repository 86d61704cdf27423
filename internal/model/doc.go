// Package model holds the resources of a site and the rules that need nothing
// but the resource itself: types, parsing, validation, error kinds. It imports
// the standard library only, and every other package may import it.
//
// The words are those of OpenStack Neutron v2.0 and of MidoNet's gateway-device
// extension:
//
//   - A Router that a GatewayDevice of type router_vtep names is a VTEP router.
//     A device of type hw_vtep is a switch, one of type network_vlan an uplink
//     network.
//   - A GatewayDevice has one tunnel IP and a remote MAC table, whose rows are
//     RemoteMACEntry values: (VNI, MAC) → address of the remote VTEP.
//   - An L2Gateway names the device (and, usually, the VNI); an
//     L2GatewayConnection puts a Network on it. Such a network is a multi-site
//     network.
//   - A Port whose device owner is network:remote_site is a remote-site port: it
//     has no place in the dataplane of its own and only tells the network's ARP
//     and MAC tables of a port at another site.
//
// What is stored is what these types marshal to; a change that old data does not
// survive needs a new store format version.
package model
