package difftest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/testutil"
)

// mutants each take one check out of the programs. The text must be there exactly
// once.
var mutants = []struct{ name, file, from, to string }{
	{"source MAC", "causeway.c", "unlikely(!mac_equal(eth->src, port->mac))", "0"},
	{"source IPv4 address", "causeway.c", "if (unlikely(other || !addr_allowed(port, &src)))", "if (0)"},
	{"ARP sender", "l2.h", "!arp_allowed(port, &a)", "0"},
	{"ARP for oneself", "l2.h", "if (!__builtin_memcmp(n->mac, a.sender_mac, 6))", "if (0)"},
	{"from tunnel into tunnel", "l3.h", "if (ep->kind == ENDPOINT_REMOTE && !ifindex)", "if (0)"},
	{"header checksum", "l3.h", "ipv4_sum(ip) != 0xffff", "0"},
	{"martians", "l3.h", "martian(ip->src) || martian(ip->dst)", "0"},
	{"TTL", "l3.h", "ttl <= 1", "ttl == 255"},
	{"don't fragment", "l3.h", "df || skb->gso_size", "skb->gso_size"},
	{"errors about errors", "slow.h", "return type == 0 || type == 8 || (type >= 13 && type <= 18);", "return true;"},
	{"whose echo reply", "slow.h", "return !p.icmp.code && bpf_ntohl(p.icmp.rest) >> 16 == PROBE_ID;", "return true;"},
	{"whose request an error quotes", "slow.h", "p.quoted.type == ICMP_ECHO &&", "1 &&"},
	{"a probe of its own", "slow.h", "if (!in && of_probe(skb, true)) {", "if (0) {"},
	{"VXLAN I bit", "causeway.c", "!(vxlan->flags & VXLAN_FLAG_VNI)", "0"},
	{"outer length", "causeway.c", "bpf_ntohs(udp->len) != tot_len - 20", "0"},
	{"peer shut", "causeway.c", "unlikely(peer->drop)", "0"},
	{"whose inner source MAC", "causeway.c", "!addr_equal(&ep->addr, remote)", "0"},
	{"MAC of a pair", "causeway.c", "if (!pair_mac(port, eth->src))", "if (0)"},
	{"address of a pair", "causeway.c", "if (!pair_addr(port, eth->src, &src))", "if (0)"},
	{"ARP sender of a pair", "l2.h", "if (!pair_addr(p, a->sender_mac, &sender))", "if (0)"},
	{"what is learned of others' addresses", "learn.h", "if (known(k))", "if (0)"},
	{"how much a port may hold", "learn.h", "(__s32)(p->learn_limit - __sync_fetch_and_add(&l->used, 1)) > 0", "__sync_fetch_and_add(&l->used, 1) < 0x7fffffff"},
	{"who moves an address", "learn.h", "within(now, l->seen, cfg->learn_hold)", "within(now, l->seen, 1)"},
	{"a probe for a learned address", "l2.h", "if (a.sender_ip)\n", "if (1)\n"},
	{"families of pairs", "learn.h", "w[2] == bpf_htonl(0xffff) ? 4 : 6", "w[2] == bpf_htonl(0xffff) ? 4 : 4"},
	{"whom routers ask for", "l3.h", "!mac && pair_net(r->net, &k.neighbor.addr)", "!mac"},
	{"somebody's MAC on a VLAN", "vlan.h", "src[0] & 1 || bpf_map_lookup_elem(&endpoints, &ek) || held_by_port(&k)", "src[0] & 1"},
	{"somebody's address on a VLAN", "vlan.h", "if (addr_taken(vlan->id, &a))", "if (0)"},
	{"ARP sender on a VLAN", "vlan.h", "__builtin_memcmp(a.sender_mac, eth.src, 6)", "0"},
	{"tag in a tag", "vlan.h", "inner == bpf_htons(ETH_P_8021Q) || inner == bpf_htons(ETH_P_8021AD)", "0"},
	{"VLAN shut", "vlan.h", "unlikely(vlan->drop)", "0"},
	{"from VLAN into VLAN", "l3.h", "unlikely(ep->kind == ENDPOINT_VLAN && vlan)", "0"},
	{"floods of a VLAN into another", "l3.h", "ifindex && !vlan ? FLOOD_VLANS : 0", "ifindex ? FLOOD_VLANS : 0"},
	{"floods of a tunnel into VLANs", "l3.h", "ifindex && !vlan ? FLOOD_VLANS : 0", "!vlan ? FLOOD_VLANS : 0"},
	{"frames for the link into VLANs", "l2.h", "if (link_local(dst))", "if (0)"},
	{"priority bits of a VLAN", "vlan.h", "k.vlan = bpf_ntohs(inner) & VLAN_ID;", "k.vlan = bpf_ntohs(inner) & 0x1fff;"},
	{"a tag that is cut off", "vlan.h", "return drop(DROP_FRAME_MALFORMED);\n	if (inner == ", "return pass();\n	if (inner == "},
	{"no VLAN at all", "vlan.h", "if (bpf_skb_load_bytes(skb, 14, &inner, sizeof(inner)))\n			return pass();", "if (bpf_skb_load_bytes(skb, 14, &inner, sizeof(inner)))\n			return drop(DROP_FRAME_MALFORMED);"},
	{"a service tag", "causeway.c", "skb->protocol == bpf_htons(ETH_P_8021Q)", "(skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD))"},
	{"a service tag in a tag", "vlan.h", "|| inner == bpf_htons(ETH_P_8021AD)", ""},
	{"frames for the link from a VLAN", "vlan.h", "if (link_local(eth.dst))", "if (0)"},
	{"addresses of no subnet on a VLAN", "vlan.h", "if (pair_net(vlan->id, &a))", "if (1)"},
	{"ARP probes on a VLAN", "vlan.h", "(a.sender_ip && !vlan_addr", "(!vlan_addr"},
	{"IPv4 without an address on a VLAN", "vlan.h", "if (ip.src && !vlan_addr", "if (!vlan_addr"},
	{"what is held on a VLAN", "vlan.h", "return l && !(l->port & LEARNER_VLAN);", "return l;"},
	{"ARP between hosts of a VLAN", "l2.h", "(vlan && ep->kind == ENDPOINT_VLAN) || ", ""},
	{"floods back to where they came from", "l2.h", "if (f->ifindex == fl->ifindex)", "if (0)"},
	{"a VLAN that was shut", "learn.h", "ep->id == net && !ep->drop ? ep : NULL", "ep->id == net ? ep : NULL"},
	{"the tag's bytes", "l2.h", "count_tx(ep->counter, skb->len);\n	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), ep->vni))", "count_tx(ep->counter, skb->len + 4);\n	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), ep->vni))"},
	{"the agent's frames to a VLAN", "causeway.c", "if (ep->kind == ENDPOINT_VLAN)\n		return deliver_vlan(skb, ep);\n	return drop(ep->drop);", "return drop(ep->drop);"},
	{"MTU of a VLAN", "l3.h", "if (packet_len(skb) > ep->mtu)", "if (ep->kind != ENDPOINT_VLAN && packet_len(skb) > ep->mtu)"},
	{"the router's MTU of a VLAN", "l3.h", "if (ep->kind != ENDPOINT_ROUTER && ep->mtu < mtu)", "if (ep->kind != ENDPOINT_ROUTER && ep->kind != ENDPOINT_VLAN && ep->mtu < mtu)"},
	{"congestion mark", "causeway.c", "return inner ? ECN_CE : -1;", "return ECN_CE;"},
}

// mutantPackets is within how many packets each must be caught.
const mutantPackets = 100_000

// TestMutants shows that the differential test sees a missing check.
func TestMutants(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "clang-19")
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			object := compile(t, m.file, m.from, m.to)
			err := onThread(t, func() error {
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

// compile builds the programs with one text replaced.
func compile(t *testing.T, file, from, to string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../bpf")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(src, []byte(from)); n != 1 {
		t.Fatalf("%s has %q %d times, want once: the mutant must follow the code", file, from, n)
	}
	if err := os.WriteFile(path, bytes.Replace(src, []byte(from), []byte(to), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "mutant.o")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// As bpf2go does, see gen.go of package dataplane; warnings are to be expected.
	cmd := exec.CommandContext(ctx, "clang-19", "-O2", "-g", "-mcpu=v3", "-target", "bpfel",
		"-I/usr/include/x86_64-linux-gnu", "-I/usr/include/aarch64-linux-gnu", "-c", "causeway.c", "-o", out)
	cmd.Dir = dir
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, b)
	}
	object, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return object
}
