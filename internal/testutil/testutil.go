// Package testutil says what a test needs of the machine, and waits for what must happen. On a developer's
// machine a test whose need is not met skips itself; with CI set it fails,
// so that nothing is green only because nothing ran.
package testutil

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// RequireRoot wants the effective user to be root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "needs root")
	}
}

// RequireTool wants each named program to be on PATH.
func RequireTool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, "needs the program "+name)
		}
	}
}

// RequireKernel wants a kernel of at least this version.
func RequireKernel(t testing.TB, major, minor int) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatalf("uname: %v", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	gotMajor, gotMinor, ok := parseRelease(release)
	if !ok {
		t.Fatalf("kernel release %q does not start with two numbers", release)
	}
	if gotMajor < major || gotMajor == major && gotMinor < minor {
		missing(t, "needs a newer kernel than "+release)
	}
}

// RequireFile wants a path to exist, for example the kernel's BTF.
func RequireFile(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, "needs "+path)
	}
}

// SkipLong ends a test that -short leaves out. Nobody sets -short in CI.
func SkipLong(t testing.TB) {
	t.Helper()
	if testing.Short() {
		missing(t, "left out by -short")
	}
}

// RequireCPUs wants n processors, for what must truly happen at once.
func RequireCPUs(t testing.TB, n int) {
	t.Helper()
	if have := runtime.NumCPU(); have < n {
		missing(t, fmt.Sprintf("needs %d processors; there are %d", n, have))
	}
}

// missing is the one place where a test of this project may skip itself.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s (with CI set, a skip is a failure)", what)
	}
	t.Skip(what)
}

// parseRelease reads the first two numbers of a release such as "6.12.43+deb13".
func parseRelease(release string) (major, minor int, ok bool) {
	first, rest, found := strings.Cut(release, ".")
	if !found {
		return 0, 0, false
	}
	major, rest1 := leadingNumber(first)
	minor, rest2 := leadingNumber(rest)
	return major, minor, rest1 == "" && rest2 != rest
}

// leadingNumber splits the digits off the front of s; a number that no kernel
// has saturates instead of wrapping.
func leadingNumber(s string) (n int, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		if n < 1<<20 {
			n = n*10 + int(s[i]-'0')
		}
		i++
	}
	return n, s[i:]
}

// UntilMet runs a random test until its runs have met all that they are to meet, ten times at most. What
// one run of it draws may be poor by chance.
func UntilMet(t testing.TB, run func(), met func() bool, seen any) {
	t.Helper()
	for range 10 {
		if run(); met() || t.Failed() {
			return
		}
	}
	t.Errorf("what was drawn is too poor: %+v", seen)
}
