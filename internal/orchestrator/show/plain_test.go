package show

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/orchestrator/apply"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
)

// TestNamesOfTenants: a name that a tenant chose neither steers the operator's terminal, nor looks like
// a line of the output, nor becomes a command of a script.
func TestNamesOfTenants(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	evil := "r\x1b[2J\x9b\u202e\r\nFORGED\ntouch " + made + "\n$(touch " + made + ")`touch " + made + "` $ID_X'"
	pl := &plan.Plan{Peering: "acme", Goal: plan.Apply, Sites: []string{"site-a"},
		Blockers: []plan.Problem{{Site: "site-a", Resource: "router " + evil, Text: evil, Hint: evil}}, Warnings: []plan.Problem{{Text: evil}},
		Actions: []plan.Action{
			{ID: "site-a/x", Site: "site-a", Op: plan.Update, Kind: plan.Port, What: evil, Target: plan.Ref{ID: "p"}, Attrs: plan.Attrs{"name": evil}, Before: plan.Attrs{"name": evil}},
			{ID: "site-a/y", Site: "site-a", Op: plan.Create, Kind: plan.Router, What: evil, Attrs: plan.Attrs{"name": evil, "description": evil}},
			{ID: "site-a/z", Site: "site-a", Op: plan.AddRoutes, Kind: plan.Router, What: evil, Target: plan.Ref{ID: "r"}, Routes: []observed.Route{{}}},
		}}
	spec := &peering.Peering{Name: "acme", Sites: []peering.Site{{Name: "site-a", Access: peering.Access{Endpoint: "http://127.0.0.1:1"}}}}
	progress := func(width func() int) string {
		var b bytes.Buffer
		p := NewProgress(&b, Style{}, width)
		p.Tell(apply.Event{Action: &pl.Actions[0], State: apply.Started})
		p.Tell(apply.Event{Action: &pl.Actions[0], State: apply.Failed, Err: errors.New(evil)})
		p.End()
		return b.String()
	}
	written := func(f func(b *bytes.Buffer) error) string {
		t.Helper()
		var b bytes.Buffer
		if err := f(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for name, got := range map[string]string{
		"plan": written(func(b *bytes.Buffer) error { return Plan(b, Style{}, pl) }),
		"status": written(func(b *bytes.Buffer) error {
			return Status(b, Style{}, &plan.Status{Drift: plan.Differences(pl), Problems: pl.Blockers, Warnings: pl.Warnings})
		}),
		"verify": written(func(b *bytes.Buffer) error {
			return Verified(b, Style{}, &verify.Result{Pairs: []verify.Way{{From: "a", To: "b", Why: []string{evil}}},
				Findings: []verify.Finding{{Site: "a", Resource: "router " + evil, Text: evil, Hint: evil, Command: evil, Ways: []string{evil}}}, Warnings: pl.Blockers})
		}),
		"progress": progress(nil),
	} {
		if strings.ContainsAny(got, "\x1b\r\u009b\u202e") || strings.Contains(got, "\x9b") {
			t.Errorf("%s steers the terminal: %q", name, got)
		}
		if strings.Contains(got, "\nFORGED") || !strings.Contains(got, "FORGED") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, format := range Formats() {
		script := written(func(b *bytes.Buffer) error { return Render(b, format, pl, spec, nil) })
		// Commands that are there do nothing.
		sh := exec.Command("sh", "-c", "openstack() { :; }; neutron() { :; }; causeway() { :; }; curl() { :; }\n"+script)
		if out, err := sh.CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s\n%s", format, err, out, script)
		}
		if there, _ := filepath.Glob(made + "*"); len(there) > 0 {
			t.Errorf("%s: the script does what a name says:\n%s", format, script)
		}
	}
}
