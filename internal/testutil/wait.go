package testutil

import (
	"os/exec"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for what must happen. It ends what hangs, and says
// nothing of how long a thing may take: it is far beyond that on a slow, busy machine.
const Patience = time.Minute

// workPatience is the same for many things.
const workPatience = 14 * time.Minute

// look is the pause between two looks at what sends no event.
const look = 5 * time.Millisecond

// Receive waits for the next value of ch; of a closed one it is the zero value.
func Receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	return receive(t, Patience, what, ch)
}

// Wait waits until wait returns, which is a WaitGroup's Wait or the like. Those it waits
// for may have many things to do.
func Wait(t testing.TB, what string, wait func()) {
	t.Helper()
	within(t, workPatience, what, wait)
}

// Exit waits for a process that was started, and kills one that does not end.
func Exit(t testing.TB, cmd *exec.Cmd) error {
	t.Helper()
	return exit(t, Patience, cmd)
}

// Eventually looks again and again until ok says so. It is for what sends no event to
// the test.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	eventually(t, Patience, what, func() (string, bool) { return "", ok() })
}

// Succeeds tries again and again until there is no error, and tells the last one.
func Succeeds(t testing.TB, what string, try func() error) {
	t.Helper()
	eventually(t, Patience, what, func() (string, bool) {
		if err := try(); err != nil {
			return ": " + err.Error(), false
		}
		return "", true
	})
}

func receive[T any](t testing.TB, patience time.Duration, what string, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		inVain(t, patience, what)
		panic("a test went on after it had failed")
	}
}

func within(t testing.TB, patience time.Duration, what string, wait func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	receive(t, patience, what, done)
}

func exit(t testing.TB, patience time.Duration, cmd *exec.Cmd) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		_ = cmd.Process.Kill()
		t.Fatalf("waited %v in vain: the end of %s", patience, cmd)
		return nil
	}
}

func eventually(t testing.TB, patience time.Duration, what string, ok func() (string, bool)) {
	t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		words, done := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s%s", patience, what, words)
		}
	}
}

// inVain ends the test and shows where everybody stands.
func inVain(t testing.TB, patience time.Duration, what string) {
	t.Helper()
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	t.Fatalf("waited %v in vain: %s\n%s", patience, what, b.String())
}
