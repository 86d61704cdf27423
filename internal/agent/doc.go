// Package agent makes one host forward as its site's controller says. It keeps
// three things equal to what the controller last sent: the host's network
// (hostnet), the BPF maps and attachments (dataplane), and what is reported
// back. One goroutine owns all of it and repeats what did not work, with a
// bounded backoff.
//
// # Order
//
// What is pointed at comes before what points at it. Going up: own devices,
// tunnel IPs and routing tables, programs on workload interfaces, rows, programs
// on underlay interfaces. Going down the reverse: rows, then addresses. So a
// tunnel IP that changes is on the host before a packet leaves with it, and is
// refused by the programs before it is off the host.
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
