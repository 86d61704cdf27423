package testutil

import (
	"runtime/debug"
	"testing"
)

// UnderRace tells whether the program was built with the race detector.
func UnderRace() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// OneGoroutine skips a long test under the race detector that has all its work done by one
// goroutine: there is nothing to find, and it takes ten times as long.
func OneGoroutine(t testing.TB) {
	t.Helper()
	if UnderRace() {
		t.Skip("one goroutine does all the work: nothing for the race detector")
	}
}
