package dataplane

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/causeway-net/causeway/internal/packet"
)

// TestHeadersOfThePrograms holds what package packet says of the slow path's header and
// of the tunnel's to what the programs are made of.
func TestHeadersOfThePrograms(t *testing.T) {
	source := func(name string) string {
		b, err := os.ReadFile("bpf/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	types := source("types.h")
	for name, want := range map[string]int{
		"SLOW_ICMP": packet.SlowICMP, "SLOW_FRAGMENT": packet.SlowFragment, "SLOW_ROUTE": packet.SlowRoute,
		"SLOW_BRIDGE": packet.SlowBridge, "SLOW_PROBE": packet.SlowProbe, "SLOW_ARP": packet.SlowARP,
	} {
		if m := regexp.MustCompile(`\n\t` + name + ` = (\d+),`).FindStringSubmatch(types); m == nil || m[1] != strconv.Itoa(want) {
			t.Errorf("%s is %q in types.h, %d here", name, m, want)
		}
	}
	if m := regexp.MustCompile(`#define OUTER_LEN (\d+)`).FindStringSubmatch(source("consts.h")); m == nil || m[1] != strconv.Itoa(packet.VXLANOverhead) {
		t.Errorf("OUTER_LEN is %q in consts.h, %d here", m, packet.VXLANOverhead)
	}
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	var header *btf.Struct
	if err := spec.Types.TypeByName("slow_header", &header); err != nil {
		t.Fatal(err)
	}
	if header.Size != packet.SlowHeaderLen {
		t.Errorf("struct slow_header has %d bytes, not %d", header.Size, packet.SlowHeaderLen)
	}
	at := map[string]uint32{"kind": 0, "reason": 1, "icmp_type": 2, "icmp_code": 3, "router": 4, "net": 8, "mtu": 12, "src": 16}
	for _, m := range header.Members {
		if want, ok := at[m.Name]; !ok || m.Offset.Bytes() != want {
			t.Errorf("%s of struct slow_header is at %d, not %d", m.Name, m.Offset.Bytes(), want)
		}
	}
	if len(header.Members) != len(at) {
		t.Errorf("struct slow_header has %d members, not %d", len(header.Members), len(at))
	}
}
