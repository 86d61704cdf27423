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
	follow := []string{"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN", "TO_FABRIC", "TO_COPIES", "TO_VLAN_COPIES", "TO_FABRIC_COPIES"}
	ask := []string{"TO_PORT", "TO_ROUTER", "TO_REMOTE", "TO_VLAN", "TO_FABRIC"}
	tables := map[string][]string{
		"FROM_WORKLOAD": follow, "FROM_VLAN": follow, "FROM_TUNNEL": follow, "FROM_SLOW": follow, "FROM_FABRIC": follow,
		"ASK_VLAN": ask, "ASK_TUNNEL": ask,
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
