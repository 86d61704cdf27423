// Package commands tests the scripts behind the Makefile.
package commands

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is what scripts/demo is made to believe about the machine.
type machine struct {
	osRelease string
	btf       bool
	path      string // PATH; "" is the test's own
	places    string // where else a Go may be; "" is the usual places
}

// runDemo runs a copy of the scripts whose build script leaves a mark, so that a
// script that goes too far is seen and harms nothing.
func runDemo(t *testing.T, m machine) (output string, built bool, err error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, name := range []string{"demo", "lib.sh"} {
		b, err := os.ReadFile("../../scripts/" + name)
		if err != nil {
			t.Fatal(err)
		}
		write("scripts/"+name, string(b), 0o755)
	}
	write("scripts/build", "#!/bin/sh\ntouch built\n", 0o755)
	write("bin/causeway", "#!/bin/sh\necho \"ran causeway $*\"\n", 0o755)
	write("bin/sudo", "#!/bin/sh\nshift; exec \"$@\"\n", 0o755)
	btf := filepath.Join(dir, "no-btf")
	if m.btf {
		btf = write("btf", "", 0o644)
	}
	cmd := exec.Command("bash", filepath.Join(dir, "scripts/demo"), "--hold")
	path := m.path
	if path == "" {
		path = os.Getenv("PATH")
	}
	cmd.Env = append(os.Environ(),
		"OS_RELEASE="+write("os-release", m.osRelease, 0o644),
		"BTF="+btf,
		"PATH="+path+":"+filepath.Join(dir, "bin"),
	)
	if m.places != "" {
		cmd.Env = append(cmd.Env, "GO_PLACES="+m.places, "GOROOT=")
	}
	out, err := cmd.CombinedOutput()
	_, statErr := os.Stat(filepath.Join(dir, "built"))
	return string(out), statErr == nil, err
}

const (
	bookworm = "ID=debian\nVERSION_ID=\"12\"\n"
	trixie   = "ID=debian\nVERSION_ID=\"13\"\n"
)

func TestDemoStopsOnAnOlderMachine(t *testing.T) {
	for _, c := range []struct {
		name string
		m    machine
		says string
	}{
		{"Debian 11", machine{osRelease: "ID=debian\nVERSION_ID=\"11\"\n", btf: true}, "this is Debian 11"},
		{"not Debian", machine{osRelease: "ID=fedora\nVERSION_ID=42\n", btf: true}, "this is fedora 42"},
		{"no BTF", machine{osRelease: trixie, btf: false}, "a kernel with BTF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, built, err := runDemo(t, c.m)
			if err == nil || built {
				t.Errorf("went on: err=%v built=%v", err, built)
			}
			if !strings.Contains(out, c.says) || !strings.Contains(out, "nothing was changed") {
				t.Errorf("output lacks %q:\n%s", c.says, out)
			}
		})
	}
}

func fakeGo(t *testing.T, version string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\necho go"+version+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDemoStopsOnAnOlderGo(t *testing.T) {
	m := machine{osRelease: trixie, btf: true, path: fakeGo(t, "1.24.4") + ":/usr/bin:/bin", places: "/nowhere"}
	out, built, err := runDemo(t, m)
	if err == nil || built || !strings.Contains(out, "Go 1.26 or newer") || !strings.Contains(out, "1.24.4") {
		t.Errorf("err=%v built=%v:\n%s", err, built, out)
	}
}

func TestDemoFindsGoOutsidePath(t *testing.T) {
	m := machine{osRelease: trixie, btf: true, path: fakeGo(t, "1.24.4") + ":/usr/bin:/bin", places: fakeGo(t, "1.26.1")}
	out, built, err := runDemo(t, m)
	if err != nil || !built {
		t.Errorf("err=%v built=%v:\n%s", err, built, out)
	}
}

func TestDemoBuildsAndRuns(t *testing.T) {
	for name, m := range map[string]machine{
		"Debian 13": {osRelease: trixie, btf: true},
		"Debian 12": {osRelease: bookworm, btf: true},
	} {
		t.Run(name, func(t *testing.T) {
			out, built, err := runDemo(t, m)
			if err != nil || !built || !strings.Contains(out, "ran causeway demo --hold") {
				t.Errorf("err=%v built=%v:\n%s", err, built, out)
			}
		})
	}
}
