package difftest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// ruleMutants turn each rule round of what may follow from which source: enum may_follow
// and enum may_ask of types.h. The host's stack is left out: programs pass frames to it
// where they have no other way.
func ruleMutants(t *testing.T) []mutant {
	t.Helper()
	src, err := os.ReadFile("../bpf/types.h")
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string][]string{
		"FROM_WORKLOAD": {"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN", "TO_COPIES", "TO_VLAN_COPIES"},
		"FROM_VLAN":     {"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN", "TO_COPIES", "TO_VLAN_COPIES"},
		"FROM_TUNNEL":   {"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN", "TO_COPIES", "TO_VLAN_COPIES"},
		"FROM_SLOW":     {"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN", "TO_COPIES", "TO_VLAN_COPIES"},
		"ASK_VLAN":      {"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN"},
		"ASK_TUNNEL":    {"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN"},
	}
	var all []mutant
	for _, line := range regexp.MustCompile(`(?m)^\t(FROM|ASK)_\w+ = (TO_.*),$`).FindAllString(string(src), -1) {
		name, rules, _ := strings.Cut(strings.Trim(line, "\t,"), " = ")
		for _, to := range tables[name] {
			all = append(all, mutant{name + " " + to, "types.h", line, "\t" + name + " = (" + rules + ") ^ " + to + ","})
		}
		delete(tables, name)
	}
	if len(tables) > 0 {
		t.Fatalf("types.h has no %v: the mutants must follow the code", tables)
	}
	return all
}

// TestRules shows that the differential test sees each rule of what may follow from which
// source turned round.
func TestRules(t *testing.T) {
	mustCatch(t, ruleMutants(t))
}
