// Package agent makes one host forward as its site's controller says. It keeps
// three things equal to what the controller last sent: the host's network
// (hostnet), the BPF maps and attachments (dataplane), and what is reported
// back. One goroutine owns all of it.
//
// # Objects
//
// Each thing that is kept is an object with a status of its own (package reconcile): what is
// wanted, what is there instead, and when it is tried again. A reconciler for each kind looks
// at the objects that are due: those that the controller, or an event of the kernel, has
// something new about, and those whose pause after a failure is over. The state is kept once.
//
// # Order
//
// What is pointed at comes before what points at it. Going up: own devices,
// tunnel IPs and routing tables, programs on workload interfaces, rows, programs
// on underlay interfaces. Going down the reverse: rows, then addresses. So a
// tunnel IP that changes is on the host before a packet leaves with it, and is
// refused by the programs before it is off the host.
//
// # Underlay interfaces
//
// Packets of a remote VTEP are taken by the interfaces that the host's routes to it lead
// by. One that leads there anew is in the rows at once, one that no longer does stays for
// wayGrace. A VTEP that an IPsec policy of the host speaks of is shut, unless the kernel
// sends and takes its packets (Config.KernelOutput).
//
// # Fabric
//
// Another host of the site is a VTEP too: from this host's address on the fabric (Config.Fabric) to
// the other's. Its path and its ways are those of any VTEP, and its packets come in by the interfaces that
// lead to it. Nothing stands between two hosts but the underlay, so the other host's own echo proves what passes.
//
// # Workload interfaces
//
// An interface gets its program as soon as a port names it, and before the maps
// have a row for it: until then the program drops what it sends, and counts it. After
// the port is unbound the program stays, so that nothing from the workload ever
// reaches the host's own stack; it goes with the interface, or by Cleanup.
// Config.WorkloadInterfaces names interfaces that are workloads' from the start,
// whether a port names them yet or not.
//
// # Crashes and restarts
//
// Programs, maps and devices outlive the agent. What the controller last said is in
// a journal in the state directory; an agent that starts while the controller is
// away goes on from there, and one that finds no journal leaves the maps as they are until
// the controller has sent a full state.
package agent
