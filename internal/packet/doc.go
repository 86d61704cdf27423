// Package packet parses and builds the headers that Causeway handles: Ethernet,
// ARP, IPv4, IPv6, ICMP, UDP, TCP and VXLAN. It does no I/O and knows nothing of
// the virtual topology. Parsers take untrusted bytes, never panic, and return
// views of the bytes they were given.
package packet
