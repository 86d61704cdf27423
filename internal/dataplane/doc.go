// Package dataplane owns the eBPF programs that forward: it loads them, fills their
// maps with a host's state, attaches them and replaces them under traffic. No other
// package speaks to the bpf system call.
//
// Maps and links are pinned in Config.PinDir, so that packets flow while no agent
// runs:
//
//	maps-LAYOUT/       the maps in use; LAYOUT is a hash of all that must be equal
//	                   for another build to use them
//	maps-LAYOUT-new/   maps being filled beside those in use
//	maps-LAYOUT-old/   maps on their way out
//	links/KIND-IFINDEX the programs' attachments
//	links/netfilter    that of local_icmp
//
// Open finds maps of its own layout and uses them: the programs are replaced at
// once, link by link, each atomically. Maps of another layout it leaves to the
// programs that use them, makes new ones beside them, and the first Sync fills
// these, then replaces the programs, then removes the old maps. Whatever is left
// half done by a crash is either still in use by programs with a complete state, or
// has the suffix -new or -old, which the next Open discards.
package dataplane
