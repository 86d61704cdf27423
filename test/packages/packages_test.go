package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// run returns what a command prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

// build makes the packages and returns their files by name.
func build(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	run(t, filepath.Join("..", "..", "scripts", "make-packages"), dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	debs := map[string]string{}
	for _, f := range files {
		debs[run(t, "dpkg-deb", "-f", f, "Package")] = f
	}
	if len(debs) != 4 {
		t.Fatalf("%d packages: %v", len(debs), debs)
	}
	return debs
}

// contents are the paths in a package with their modes and owners.
func contents(t *testing.T, deb string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.SplitSeq(run(t, "dpkg-deb", "-c", deb), "\n") {
		f := strings.Fields(line)
		if len(f) < 6 {
			t.Fatalf("%q", line)
		}
		out[strings.TrimPrefix(f[5], ".")] = f[0] + " " + f[1]
	}
	return out
}

// TestPackages: each package has what belongs to it, as root's, and depends on the others
// of its own version; the units are sound.
func TestPackages(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireTool(t, "dpkg-deb", "systemd-analyze")
	debs := build(t)
	const file, program, directory = "-rw-r--r-- root/root", "-rwxr-xr-x root/root", "drwxr-xr-x root/root"
	for name, want := range map[string]map[string]string{
		"causeway": {
			"/usr/bin/causeway":                                  program,
			"/usr/share/man/man1/causeway.1.gz":                  file,
			"/usr/share/man/man1/causeway-controller.1.gz":       file,
			"/usr/share/man/man1/causeway-agent-cleanup.1.gz":    file,
			"/usr/share/bash-completion/completions/causeway":    file,
			"/usr/share/zsh/vendor-completions/_causeway":        file,
			"/usr/share/fish/vendor_completions.d/causeway.fish": file,
			"/usr/share/doc/causeway/docs/installation.md":       file,
			"/usr/share/doc/causeway/THIRD-PARTY":                file,
		},
		"causeway-controller": {
			"/etc/causeway/controller.yaml":                   file,
			"/etc/causeway/tls/":                              directory,
			"/etc/logrotate.d/causeway-controller":            file,
			"/lib/systemd/system/causeway-controller.service": file,
			"/usr/lib/sysusers.d/causeway-controller.conf":    file,
			"/usr/share/doc/causeway-controller/changelog.gz": file,
			"/usr/share/doc/causeway-controller/copyright":    file,
		},
		"causeway-agent": {
			"/etc/causeway/agent.yaml":                    file,
			"/etc/causeway/tls/":                          directory,
			"/lib/systemd/system/causeway-agent.service":  file,
			"/etc/causeway/health.yaml":                   file,
			"/lib/systemd/system/causeway-health.service": file,
		},
		"causeway-lab": {"/usr/share/doc/causeway-lab/examples/two-sites.yaml": file},
	} {
		have := contents(t, debs[name])
		for path, how := range want {
			usr := have["/usr"+path] // where systemd's own directory is merged
			if got := have[path]; got != how && (usr != how || !strings.HasPrefix(path, "/lib/")) {
				t.Errorf("%s: %s is %q, want %q", name, path, got, how)
			}
		}
		for path, how := range have {
			if !strings.HasSuffix(how, " root/root") {
				t.Errorf("%s: %s is %q", name, path, how)
			}
			if strings.HasSuffix(path, ".go") || strings.Contains(path, "bpfel") {
				t.Errorf("%s: has %s", name, path)
			}
		}
	}
	version := run(t, "dpkg-deb", "-f", debs["causeway"], "Version")
	for _, name := range []string{"causeway-agent", "causeway-controller"} {
		if got := run(t, "dpkg-deb", "-f", debs[name], "Depends"); !strings.Contains(got, "causeway (= "+version+")") {
			t.Errorf("%s depends on %s", name, got)
		}
		conffile := "/etc/causeway/" + strings.TrimPrefix(name, "causeway-") + ".yaml"
		if got := run(t, "dpkg-deb", "-I", debs[name], "conffiles"); !slices.Contains(strings.Split(got, "\n"), conffile) {
			t.Errorf("%s: conffiles %q", name, got)
		}
	}

	root := t.TempDir()
	for _, deb := range debs {
		run(t, "dpkg-deb", "-x", deb, root)
	}
	units, err := filepath.Glob(filepath.Join(root, "*", "systemd", "system", "causeway-*.service"))
	if err != nil || len(units) != 3 {
		t.Fatalf("units %q, %v", units, err)
	}
	for _, u := range units {
		b, err := os.ReadFile(u)
		if err != nil {
			t.Fatal(err)
		}
		// The program is looked for on this machine.
		text := strings.ReplaceAll(string(b), "/usr/bin/causeway", filepath.Join(root, "usr/bin/causeway"))
		if err := os.WriteFile(u, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out := run(t, "systemd-analyze", append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)...); out != "" {
		t.Errorf("the units:\n%s", out)
	}
	for unit, most := range map[string]string{"causeway-controller.service": "20", "causeway-agent.service": "55", "causeway-health.service": "30"} {
		u := units[slices.IndexFunc(units, func(p string) bool { return filepath.Base(p) == unit })]
		out := strings.Split(run(t, "systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold="+most, u), "\n")
		t.Log(strings.TrimSpace(out[len(out)-1]))
	}
}
