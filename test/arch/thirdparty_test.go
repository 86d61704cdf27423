package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestThirdParty: THIRD-PARTY has the licence of each module, in its version, that is
// linked into the program, and of no other.
func TestThirdParty(t *testing.T) {
	root := filepath.Join("..", "..")
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/causeway")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(want)
	want = slices.DeleteFunc(slices.Compact(want), func(s string) bool { return s == "" })
	b, err := os.ReadFile(filepath.Join(root, "THIRD-PARTY"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(b)) {
		if m, ok := strings.CutPrefix(strings.TrimSpace(line), "==== "); ok && !strings.HasPrefix(m, "The Go ") {
			got = append(got, m)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("THIRD-PARTY is not of what is linked; run scripts/third-party >THIRD-PARTY\nhas  %q\nwant %q", got, want)
	}
	for _, path := range []string{"LICENSE", "NOTICE", "LICENSES/GPL-2.0.txt"} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Error(err)
		}
	}
}
