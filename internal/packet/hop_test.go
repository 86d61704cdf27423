package packet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func udpTo(r *rand.Rand, src, dst netip.Addr, ports bool, h IPv4) []byte {
	u := UDP{Src: 1000, Dst: 53}
	if ports {
		u.Src, u.Dst = uint16(r.Uint32()), uint16(r.Uint32())
	}
	h.TTL, h.Protocol, h.Src, h.Dst = 64, ProtoUDP, src, dst
	body := u.Append(nil, src, dst, make([]byte, 8))
	return append(h.Append(nil, len(body)), body...)
}

func hopAddrs(n int) []netip.Addr {
	var hops []netip.Addr
	for i := range n {
		hops = append(hops, netip.AddrFrom4([4]byte{192, 168, 0, byte(2 + i)}))
	}
	return hops
}

// TestHopsShareFlows: whatever tells flows apart, ports alone or addresses alone, each of two
// to eight hops with neighboring addresses gets its part, within a quarter of it.
func TestHopsShareFlows(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		router := r.Uint32N(1 << 24)
		for n := 2; n <= 8; n++ {
			for _, by := range []string{"ports", "source", "destination"} {
				hops := hopAddrs(n)
				got := make([]int, n)
				const flows = 20000
				for i := range flows {
					src, dst := netip.AddrFrom4([4]byte{10, 0, 0, 5}), netip.AddrFrom4([4]byte{10, 1, 0, 5})
					other := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
					switch by {
					case "source":
						src = other
					case "destination":
						dst = other
					}
					got[HopOfFlow(router, udpTo(r, src, dst, by == "ports", IPv4{}), hops)]++
				}
				for _, c := range got {
					if want := flows / n; c < want*3/4 || c > want*5/4 {
						t.Errorf("seed %d: flows that differ by %s: %v at %d hops", seed, by, got, n)
						break
					}
				}
			}
		}
	}
}

// TestFlowKeepsItsHop: a hop that goes, or comes back, moves the flows that have it and no others,
// and all fragments of a packet take one way.
func TestFlowKeepsItsHop(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	all := hopAddrs(6)
	for range 5000 {
		ip := udpTo(r, netip.AddrFrom4([4]byte{10, 0, 0, byte(r.Uint32())}), netip.AddrFrom4([4]byte{10, 1, 0, byte(r.Uint32())}), true, IPv4{})
		hop := all[HopOfFlow(7, ip, all)]
		gone := r.IntN(len(all))
		left := slices.Delete(slices.Clone(all), gone, gone+1)
		if now := left[HopOfFlow(7, ip, left)]; now != hop && hop != all[gone] {
			t.Fatalf("%v went, and a flow changed from %v to %v", all[gone], hop, now)
		}
		first := udpTo(r, netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])), true, IPv4{MF: true})
		later := udpTo(r, netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])), true, IPv4{Offset: 800})
		if a, b := HopOfFlow(7, first, all), HopOfFlow(7, later, all); a != b {
			t.Fatalf("fragments of one packet by %v and %v", all[a], all[b])
		}
	}
}
