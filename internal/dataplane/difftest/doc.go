// Package difftest holds the eBPF programs against the pure pipeline of package
// trace: random topologies, random packets, the kernel's BPF_PROG_TEST_RUN on one
// side and trace on the other. Verdict, reason, target and output packet must be
// equal; docs/PIPELINE.md settles a difference. The tests need root. They are
// repeatable: a packet depends on the seed, the topology's number and its own.
package difftest
