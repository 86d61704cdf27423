package testutil

import (
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestWaitsEnd: what comes is waited for, and what does not come ends the test with the
// name of what it waited for.
func TestWaitsEnd(t *testing.T) {
	const short = 20 * time.Millisecond
	came, never := make(chan int, 1), make(chan int)
	came <- 7
	ended := make(chan int)
	close(ended)
	var nobody, somebody sync.WaitGroup
	somebody.Add(1)
	defer somebody.Done()
	start := func(args ...string) *exec.Cmd {
		cmd := exec.Command(args[0], args[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	looks := 0
	for name, c := range map[string]struct {
		wait func(testing.TB)
		want string
	}{
		"a value": {func(tb testing.TB) {
			if v := Receive(tb, "it", came); v != 7 {
				t.Errorf("received %d", v)
			}
		}, ""},
		"an end":     {func(tb testing.TB) { Receive(tb, "it", ended) }, ""},
		"no value":   {func(tb testing.TB) { receive(tb, short, "the answer", never) }, "in vain: the answer\n"},
		"nobody":     {func(tb testing.TB) { Wait(tb, "it", nobody.Wait) }, ""},
		"somebody":   {func(tb testing.TB) { within(tb, short, "the workers", somebody.Wait) }, "in vain: the workers\n"},
		"a process":  {func(tb testing.TB) { noError(tb, Exit(tb, start("true"))) }, ""},
		"its sleep":  {func(tb testing.TB) { noError(tb, exit(tb, short, start("sleep", "1000"))) }, "in vain: the end of"},
		"the second": {func(tb testing.TB) { Eventually(tb, "it", func() bool { looks++; return looks == 2 }) }, ""},
		"never so":   {func(tb testing.TB) { eventually(tb, short, "peace", func() (string, bool) { return ": war", false }) }, "in vain: peace: war"},
		"an error":   {func(tb testing.TB) { Succeeds(tb, "it", func() error { return nil }) }, ""},
	} {
		p := run(t, c.wait)
		if p.failed != (c.want != "") || !strings.Contains(p.words, c.want) {
			t.Errorf("%s: failed %v with %q, want %q", name, p.failed, p.words, c.want)
		}
	}
}

func noError(tb testing.TB, err error) {
	if err != nil {
		tb.Fatalf("%v", err)
	}
}

// TestAllStacksAreShown: who looks at a test that hung sees where it did.
func TestAllStacksAreShown(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	p := run(t, func(tb testing.TB) { within(tb, time.Millisecond, "it", func() { waitsHere(stuck) }) })
	if !strings.Contains(p.words, "waitsHere") {
		t.Errorf("no stack of it in %s", p.words)
	}
}

func waitsHere(c chan struct{}) {
	for range c {
	}
}
