package dataplane

// The objects run on any little-endian machine; the include directories are those
// of Debian's architectures, and one that is not there is ignored.
// MACs in keys are written and read in words of different sizes, which C allows the
// compiler to put into another order: -fno-strict-aliasing, as the kernel itself is built.
//go:generate go tool bpf2go -cc clang-19 -target bpfel -no-global-types -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu -fno-strict-aliasing" -type port -type port_addr_key -type fdb_key -type fdb_entry -type neighbor_key -type neighbor -type vlan_key -type pair_key -type learned_key -type learned_row -type learner -type drop_counts -type asked -type route_key -type route -type next_hops -type tunnel_ip -type vni_key -type vni -type peer_key -type peer -type vtep_key -type vtep -type speaker_key -type host_pair_key -type host_pair -type flood_key -type flood -type counter -type icmp_bucket -type rate -type rates -type sent_port -type flow_row -type config -type record -type addr -type source -type destination -type may_follow -type may_ask bpf bpf/causeway.c
