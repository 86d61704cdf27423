package testutil

import (
	"fmt"
	"runtime"
	"testing"
)

// probe stands for a test and notes how it ended.
type probe struct {
	testing.TB
	skipped, failed bool
	words           string // of the failure
}

func (p *probe) Helper()     {}
func (p *probe) Skip(...any) { p.skipped = true; runtime.Goexit() }
func (p *probe) Fatalf(format string, args ...any) {
	p.failed, p.words = true, fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func run(t *testing.T, fn func(testing.TB)) *probe {
	p := &probe{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(p)
	}()
	<-done
	return p
}

func TestMissingSkipsOrFails(t *testing.T) {
	needs := map[string]func(testing.TB){
		"tool":   func(tb testing.TB) { RequireTool(tb, "no-such-program-anywhere") },
		"kernel": func(tb testing.TB) { RequireKernel(tb, 1000, 0) },
		"file":   func(tb testing.TB) { RequireFile(tb, "/no/such/file") },
	}
	for name, need := range needs {
		t.Setenv("CI", "")
		if p := run(t, need); !p.skipped || p.failed {
			t.Errorf("%s without CI: skipped=%v failed=%v, want a skip", name, p.skipped, p.failed)
		}
		t.Setenv("CI", "true")
		if p := run(t, need); p.skipped || !p.failed {
			t.Errorf("%s with CI: skipped=%v failed=%v, want a failure", name, p.skipped, p.failed)
		}
	}
}

func TestMetNeedsPass(t *testing.T) {
	t.Setenv("CI", "true")
	p := run(t, func(tb testing.TB) {
		RequireTool(tb, "sh")
		RequireKernel(tb, 2, 6)
		RequireFile(tb, "/proc/self")
	})
	if p.skipped || p.failed {
		t.Errorf("skipped=%v failed=%v, want neither", p.skipped, p.failed)
	}
}

func TestParseRelease(t *testing.T) {
	for _, c := range []struct {
		in           string
		major, minor int
		ok           bool
	}{
		{"6.12.43+deb13-amd64", 6, 12, true},
		{"6.1.0-37-amd64", 6, 1, true},
		{"6.18", 6, 18, true},
		{"6.6-rc1", 6, 6, true},
		{"6", 0, 0, false},
		{"", 0, 0, false},
		{"x.y", 0, 0, false},
		{"6.x", 6, 0, false},
	} {
		major, minor, ok := parseRelease(c.in)
		if ok != c.ok || ok && (major != c.major || minor != c.minor) {
			t.Errorf("parseRelease(%q) = %d, %d, %v", c.in, major, minor, ok)
		}
	}
}
