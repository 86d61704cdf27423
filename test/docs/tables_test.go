package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/reason"
)

var update = flag.Bool("update", false, "write the tables into the pages")

// keepTable compares what stands between two comments of a page with want.
func keepTable(t *testing.T, path, from, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page, err := replaceBetween(string(b), from, "<!-- end -->", want)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if page == string(b) {
		return
	}
	if !*update {
		t.Errorf("%s: the table after %s is not current; run go test ./test/docs -update", path, from)
		return
	}
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}

func settings(s *config.Set) string {
	var b strings.Builder
	b.WriteString("| flag | environment | default | |\n|---|---|---|---|\n")
	for _, row := range s.Table() {
		def := row[2]
		if def == "[]" {
			def = ""
		}
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", row[0], row[1], def, strings.ReplaceAll(row[3], "|", `\|`))
	}
	return b.String()
}

func TestSettingsAreListed(t *testing.T) {
	controller := config.NewSet("controller")
	new(config.Controller).Bind(controller)
	keepTable(t, "../../docs/configuration.md", "<!-- settings: controller -->", settings(controller))
	agent := config.NewSet("agent")
	new(config.Agent).Bind(agent)
	keepTable(t, "../../docs/configuration.md", "<!-- settings: agent -->", settings(agent))
	health := config.NewSet("health")
	new(config.Health).Bind(health)
	keepTable(t, "../../docs/configuration.md", "<!-- settings: health -->", settings(health))
}

func TestReasonsAreListed(t *testing.T) {
	var b strings.Builder
	b.WriteString("| reason | |\n|---|---|\n")
	for r := reason.None + 1; r < reason.Count; r++ {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r, r.Text())
	}
	keepTable(t, "../../docs/metrics.md", "<!-- reasons -->", b.String())
}

// TestMetricsAreListed compares the names on the page with those in the source: a
// name is the text that the constructors agentDesc, controllerDesc, healthDesc and peerDesc prefix.
func TestMetricsAreListed(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(causeway_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		listed[m[1]] = true
	}
	files, err := filepath.Glob("../../internal/metrics/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source of the metrics: %v", err)
	}
	made := map[string]bool{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\b(agent|controller|health|peer)Desc\("([a-z_]+)"`).FindAllStringSubmatch(string(b), -1) {
			made["causeway_"+m[1]+"_"+m[2]] = true
		}
	}
	if len(made) < 10 {
		t.Fatalf("found only %d metrics in the source: has the way they are made changed?", len(made))
	}
	for name := range made {
		if !listed[name] {
			t.Errorf("docs/metrics.md does not list %s", name)
		}
	}
	for name := range listed {
		if !made[name] {
			t.Errorf("docs/metrics.md lists %s, which does not exist", name)
		}
	}
}
