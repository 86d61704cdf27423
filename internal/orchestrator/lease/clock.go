package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the time since the machine was started, suspended or not: CLOCK_BOOTTIME in
// clock_gettime(2), which nobody sets. Go's own monotonic clock stands still while the machine is
// suspended, so that whoever wakes up would trust a lease that another run has by now.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("clock_gettime: " + err.Error()) // there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}
