package difftest

import (
	"bytes"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/dataplane/mutation"
	"github.com/causeway-net/causeway/internal/testutil"
)

// mutant is the programs with one text replaced, which must be there exactly once.
type mutant struct{ name, file, from, to string }

// mutants each take one check out of the programs.
var mutants = []mutant{
	{"source MAC", "causeway.c", "unlikely(!mac_equal(eth->src, port->mac))", "0"},
	{"source IPv4 address", "causeway.c", "if (unlikely(other || !addr_allowed(port, &p->addr)))", "if (0)"},
	{"ARP sender", "l2.h", "!arp_allowed(p, port)", "0"},
	{"ARP for oneself", "l2.h", "if (mac_equal(p->learned.mac, a->sender_mac))", "if (0)"},
	{"header checksum", "l3.h", "ipv4_sum(ip) != 0xffff", "0"},
	{"martians", "l3.h", "martian(ip->src) || martian(ip->dst)", "0"},
	{"TTL", "l3.h", "ttl <= 1", "ttl == 255"},
	{"don't fragment", "l3.h", "p->df || skb->gso_size", "skb->gso_size"},
	{"errors about errors", "slow.h", "return type == 0 || type == 8 || (type >= 13 && type <= 18);", "return true;"},
	{"whose echo reply", "slow.h", "return !p.icmp.code && bpf_ntohl(p.icmp.rest) >> 16 == PROBE_ID;", "return true;"},
	{"whose request an error quotes", "slow.h", "p.quoted.type == ICMP_ECHO &&", "1 &&"},
	{"a probe of its own", "slow.h", "if (!in && of_probe(skb, true)) {", "if (0) {"},
	{"VXLAN I bit", "causeway.c", "!(vxlan->flags & VXLAN_FLAG_VNI)", "0"},
	{"outer length", "causeway.c", "bpf_ntohs(udp->len) != p->size - 20", "0"},
	{"peer shut", "causeway.c", "unlikely(peer->drop)", "0"},
	{"whose inner source MAC", "causeway.c", "!addr_equal(&ep->addr, &p->tunnel.remote) ||", ""},
	{"MAC of a pair", "causeway.c", "if (!pair_mac(port, eth->src))", "if (0)"},
	{"address of a pair", "causeway.c", "if (!pair_addr(port, eth->src, &p->addr))", "if (0)"},
	{"ARP sender of a pair", "l2.h", "if (!pair_addr(port, a->sender_mac, &p->addr))", "if (0)"},
	{"what is learned of others' addresses", "learn.h", "if (known(p))", "if (0)"},
	{"how much a port may hold", "learn.h", "(__s32)(p->learn_limit - less - __sync_fetch_and_add(&l->used, 1)) > 0", "__sync_fetch_and_add(&l->used, 1) < 0x7fffffff"},
	{"who moves an address", "learn.h", "within(now, l->seen, cfg->learn_hold)", "within(now, l->seen, 1)"},
	{"a probe for a learned address", "l2.h", "if (a->sender_ip)\n		mac =", "if (1)\n		mac ="},
	{"families of pairs", "learn.h", "w[2] == bpf_htonl(0xffff) ? 4 : 6", "w[2] == bpf_htonl(0xffff) ? 4 : 4"},
	{"whom routers ask for", "l3.h", "!mac && pair_net(r->net, &p->neighbor.addr)", "!mac"},
	{"somebody's MAC on a VLAN", "vlan.h", "src[0] & 1 || bpf_map_lookup_elem(&fdb, fdb_key(p, net, src)) || held_by_port(sender_mac(p, net, src))", "src[0] & 1"},
	{"somebody's address on a VLAN", "vlan.h", "if (addr_taken(p, vlan->id, &p->addr))", "if (0)"},
	{"ARP sender on a VLAN", "vlan.h", "__builtin_memcmp(a->sender_mac, p->eth.src, 6)", "0"},
	{"tag in a tag", "vlan.h", "inner == bpf_htons(ETH_P_8021Q) || inner == bpf_htons(ETH_P_8021AD)", "0"},
	{"VLAN shut", "vlan.h", "unlikely(vlan->drop)", "0"},
	{"frames for the link into VLANs", "l2.h", "if (link_local(p->eth.dst) ||", "if (link_local(p->eth.src) ||"},
	{"priority bits of a VLAN", "vlan.h", "k.vlan = bpf_ntohs(inner) & VLAN_ID;", "k.vlan = bpf_ntohs(inner) & 0x1fff;"},
	{"a tag that is cut off", "vlan.h", "return drop(skb, DROP_FRAME_MALFORMED);\n	if (inner == ", "return pass();\n	if (inner == "},
	{"no VLAN at all", "vlan.h", "if (bpf_skb_load_bytes(skb, 14, &inner, sizeof(inner)))\n			return pass();", "if (bpf_skb_load_bytes(skb, 14, &inner, sizeof(inner)))\n			return drop(skb, DROP_FRAME_MALFORMED);"},
	{"a service tag", "causeway.c", "skb->protocol == bpf_htons(ETH_P_8021Q)", "(skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD))"},
	{"a service tag in a tag", "vlan.h", "|| inner == bpf_htons(ETH_P_8021AD)", ""},
	{"frames for the link from a VLAN", "vlan.h", "if (link_local(p->eth.dst))", "if (0)"},
	{"addresses of no subnet on a VLAN", "vlan.h", "if (pair_net(vlan->id, &p->addr))", "if (1)"},
	{"ARP probes on a VLAN", "vlan.h", "(a->sender_ip && !vlan_addr", "(!vlan_addr"},
	{"IPv4 without an address on a VLAN", "vlan.h", "if (ip->src && !vlan_addr", "if (!vlan_addr"},
	{"what is held on a VLAN", "learn.h", "return l && !(l->port & LEARNER_VLAN);", "return l;"},
	{"floods back to where they came from", "l2.h", "if (f->ifindex == fl->ifindex)", "if (0)"},
	{"a VLAN that was shut", "learn.h", "ep->id == net && !ep->drop ? ep : NULL", "ep->id == net ? ep : NULL"},
	{"the tag's bytes", "l2.h", "count_tx(ep->counter, skb->len);\n	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), ep->vni))", "count_tx(ep->counter, skb->len + 4);\n	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), ep->vni))"},
	{"the agent's frames to a VLAN", "causeway.c", "if (ep->kind == FDB_VLAN)\n		return deliver_vlan(skb, ep);", ""},
	{"MTU of a VLAN", "l3.h", "if (packet_len(skb, 0) > ep->mtu) {", "if (ep->kind != FDB_VLAN && packet_len(skb, 0) > ep->mtu) {"},
	{"the router's MTU of a VLAN", "l3.h", "if (ep->kind != FDB_ROUTER && ep->mtu < p->mtu)", "if (ep->kind != FDB_ROUTER && ep->kind != FDB_VLAN && ep->mtu < p->mtu)"},
	{"any tag for one of VLAN 0", "guard.h", "tag[1] & bpf_htons(VLAN_ID)", "0"},
	{"a service tag for one of VLAN 0", "guard.h", "tag[0] != bpf_htons(ETH_P_8021Q)", "0"},
	{"a tag behind one of VLAN 0", "guard.h", "if (inner == bpf_htons(ETH_P_8021Q) || inner == bpf_htons(ETH_P_8021AD))", "if (0)"},
	{"DHCP answers", "causeway.c", "ip->protocol == PROTO_UDP && unlikely(dhcp_answer(skb, ip))", "0"},
	{"DHCP answers behind options", "guard.h", "14 + (ip->vihl & 15) * 4, ports", "14 + 20, ports"},
	{"ports of a later fragment", "guard.h", "if (ip->frag & bpf_htons(IP_OFFSET))", "if (0)"},
	{"router advertisements", "guard.h", "b[0] == ICMP6_ROUTER_ADVERTISEMENT ? DROP_ROUTER_ADVERTISEMENT : 0", "0"},
	{"router advertisements behind options", "guard.h", "off += (b[1] + 1) * 8;", "return 0;"},
	{"router advertisements in fragments", "guard.h", "if (b[2] || b[3] & 0xf8)", "if (1)"},
	{"later fragments", "guard.h", "if (b[2] || b[3] & 0xf8)", "if (0)"},
	{"an authentication header's length", "guard.h", "off += (b[1] + 2) * 4;", "off += (b[1] + 1) * 8;"},
	{"DHCPv6 answers", "guard.h", "b[2] == DHCP6_CLIENT >> 8 && b[3] == (DHCP6_CLIENT & 255) ? DROP_DHCP_ANSWER : 0", "0"},
	{"how many extension headers", "guard.h", "#define EXTENSIONS 8", "#define EXTENSIONS 9"},
	{"other EtherTypes", "causeway.c", "return drop(skb, DROP_ETHERTYPE);", ";"},
	{"packets beyond 64 KiB", "parse.h", "if (unlikely(!len && skb->gso_size && ip->protocol == PROTO_TCP))", "if (0)"},
	{"a length of 0", "parse.h", "if (unlikely(!len && skb->gso_size && ip->protocol == PROTO_TCP))", "if (!len)"},
	{"segments of a jumbogram", "parse.h", "b == PROTO_HOPOPTS && jumbo_tcp(skb, off + network)", "0"},
	{"a jumbogram's flow", "vtep.h", "unlikely(next == PROTO_HOPOPTS) && ", "0 && "},
	{"by which interface a VTEP comes", "causeway.c", "ifindex && !leads(peer->ways, ifindex)", "0"},
	{"every interface that leads to a VTEP", "causeway.c", "for (int i = 0; i < WAYS; i++)", "for (int i = 0; i < WAYS - 1; i++)"},
	{"the mark of what came by the underlay", "causeway.c", "unlikely(!cfg || (skb->mark & cfg->mark) != cfg->mark)", "!cfg"},
	{"all bits of the mark", "causeway.c", "(skb->mark & cfg->mark) != cfg->mark", "!(skb->mark & cfg->mark)"},
	{"the mark goes no further", "causeway.c", "skb->mark &= ~cfg->mark;", ""},
	{"by which interface a fragment comes", "causeway.c", "if (!vtep || !leads(vtep->ways, skb->ifindex))", "if (!vtep)"},
	{"whose fragments are marked", "causeway.c", "if (!vtep || !leads(vtep->ways, skb->ifindex))", "if (vtep && !leads(vtep->ways, skb->ifindex))"},
	{"what else is marked", "causeway.c", "(port != bpf_htons(VXLAN_PORT) && port != bpf_htons(NAT_T_PORT))", "0"},
	{"what IPsec protects", "causeway.c", "ip.protocol != PROTO_ESP && ip.protocol != PROTO_AH", "ip.protocol != PROTO_ESP"},
	{"a VTEP by the kernel's input", "causeway.c", "unlikely(peer->flags & PEER_F_KERNEL)", "0"},
	{"a VTEP by the kernel's output", "vtep.h", " || by_device || ep->flags & FDB_F_KERNEL))", " || by_device))"},
	{"both addresses of a flow", "l3.h", "flow = mix(key, (__u64)bpf_ntohl(p->src) << 32 | bpf_ntohl(p->dst));", "flow = mix(key, bpf_ntohl(p->dst));"},
	{"the destination of a flow", "l3.h", "flow = mix(key, (__u64)bpf_ntohl(p->src) << 32 | bpf_ntohl(p->dst));", "flow = mix(key, (__u64)bpf_ntohl(p->src) << 32);"},
	{"the protocol of a flow", "l3.h", "flow = mix(flow, (__u64)p->protocol << 32 | ", "flow = mix(flow, "},
	{"the source port of a flow", "l3.h", "(__u32)bpf_ntohs(ports[0]) << 16 | bpf_ntohs(ports[1])", "bpf_ntohs(ports[1])"},
	{"the destination port of a flow", "l3.h", "(__u32)bpf_ntohs(ports[0]) << 16 | bpf_ntohs(ports[1])", "(__u32)bpf_ntohs(ports[0]) << 16"},
	{"whose flows have ports", "l3.h", "if (has_ports(p->protocol) && ip->vihl", "if (ip->vihl"},
	{"ports in fragments", "l3.h", "ip->vihl == 0x45 && !(ip->frag & bpf_htons(IP_MF | IP_OFFSET)) &&", "ip->vihl == 0x45 && !(ip->frag & bpf_htons(IP_OFFSET)) &&"},
	{"ports of later fragments", "l3.h", "ip->vihl == 0x45 && !(ip->frag & bpf_htons(IP_MF | IP_OFFSET)) &&", "ip->vihl == 0x45 && !(ip->frag & bpf_htons(IP_MF)) &&"},
	{"each router's own choice", "l3.h", "key = p->router;", "key = 0;"},
	{"who of several next hops has most weight", "l3.h", "if (i < several->count && weight >= most) {", "if (i < several->count && weight >= most && i < 4) {"},
	{"how many next hops there are", "l3.h", "if (i < several->count && weight >= most) {", "if (weight >= most) {"},
	{"which part of an address is the prefix", "l3.h", "a[i] &= bpf_htonl(~(~0U >> left));", "a[i] &= bpf_htonl(~(~0U >> left) | 0x100);"},
	{"workloads of a dead agent", "causeway.c", "\tif (unlikely(agent_dead()))\n\t\treturn drop(skb, DROP_AGENT_DEAD);\n\tp->from = SOURCE_WORKLOAD;", "\tp->from = SOURCE_WORKLOAD;"},
	{"the kernel's tunnel packets of a dead agent", "causeway.c", "\tif (unlikely(agent_dead()))\n\t\treturn drop(skb, DROP_AGENT_DEAD);\n\tif (cfg_record) {", "\tif (cfg_record) {"},
	{"the slow path of a dead agent", "causeway.c", "\tif (unlikely(agent_dead()))\n\t\treturn drop(skb, DROP_AGENT_DEAD);\n\th = &p->slow;", "\th = &p->slow;"},
	{"VLANs of a dead agent", "vlan.h", "\tif (unlikely(agent_dead()))\n\t\treturn drop(skb, DROP_AGENT_DEAD);\n\tif (unlikely(vlan->drop))", "\tif (unlikely(vlan->drop))"},
	{"tunnels of a dead agent", "causeway.c", "return refuse(skb, p, DROP_AGENT_DEAD);", ";"},
	{"whose drop it is", "drop.h", "bpf_map_lookup_elem(&port_drops, &port->port)", "bpf_map_lookup_elem(&port_drops, &port->net)"},
	{"congestion mark", "ecn.h", "return inner ? ECN_CE : -1;", "return ECN_CE;"},
}

// mutantPackets is within how many packets each must be caught.
const mutantPackets = 100_000

// TestMutants shows that the differential test sees a missing check.
func TestMutants(t *testing.T) {
	mustCatch(t, mutants)
}

// flagMutants says how many of the mutants are tried: one of so many. Which ones follows from the
// programs' sources, so that a change of them is held to others. "make mutants" tries all.
var flagMutants = flag.Uint64("difftest.mutants", 3, "try one of so many `mutants`")

// chosen are the mutants that are tried.
func chosen(t *testing.T, all []mutant) (some []mutant) {
	t.Helper()
	files, err := filepath.Glob("../bpf/*.[ch]")
	if err != nil || len(files) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	sum := fnv.New64a()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(b)
	}
	for i, m := range all {
		if (uint64(i)+sum.Sum64())%max(1, *flagMutants) == 0 {
			some = append(some, m)
		}
	}
	return some
}

func mustCatch(t *testing.T, all []mutant) {
	t.Helper()
	for _, m := range all { // those that are not tried now, too
		if err := mutation.Once("../bpf", m.file, m.from); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	mutants := chosen(t, all)
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "clang-19")
	ahead := newBuilds(t, mutants)
	for i, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			object, err := ahead.object(i)
			if err != nil {
				t.Fatal(err)
			}
			err = onThread(t, func() error {
				r, err := NewRunner(dataplane.Config{PinDir: pinDir(t), Object: bytes.NewReader(object)})
				if err != nil {
					return err
				}
				defer r.Close()
				const topologies = 5
				for n := range uint64(topologies) {
					if err := r.Run(*flagSeed, n, 0, mutantPackets/topologies); IsMismatch(err) {
						t.Logf("caught after %d packets: %s", r.Total+1, strings.SplitN(err.Error(), "\n", 2)[0])
						return nil
					} else if err != nil {
						return err
					}
				}
				return fmt.Errorf("not caught in %d packets", r.Total)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// builds compiles mutants, one ahead of the one that is tried.
type builds struct {
	mutants []mutant
	dir     string
	running map[int]chan built
	wait    sync.WaitGroup
}

type built struct {
	object []byte
	err    error
}

func newBuilds(t *testing.T, mutants []mutant) *builds {
	t.Helper()
	b := &builds{mutants: mutants, dir: t.TempDir(), running: map[int]chan built{}}
	t.Cleanup(func() { testutil.Wait(t, "the compiler", b.wait.Wait) })
	return b
}

// object is that of mutant i. The one behind it is begun.
func (b *builds) object(i int) ([]byte, error) {
	b.start(i)
	b.start(i + 1)
	r := <-b.running[i]
	return r.object, r.err
}

func (b *builds) start(i int) {
	if i >= len(b.mutants) || b.running[i] != nil {
		return
	}
	done := make(chan built, 1)
	b.running[i] = done
	b.wait.Go(func() {
		m := b.mutants[i]
		object, err := mutation.Compile(filepath.Join(b.dir, strconv.Itoa(i)), "../bpf", m.file, m.from, m.to)
		done <- built{object, err}
	})
}
