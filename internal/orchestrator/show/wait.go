package show

import (
	"fmt"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
)

// Waiting says for whom a run waits, and for how long it will at most.
func Waiting(h lease.Held, most time.Duration) string {
	if h.Waited < time.Second {
		return plain(fmt.Sprintf("%v: waiting for it, up to %v", h, most))
	}
	return plain(fmt.Sprintf("still waiting, for %v of %v: %s", h.Waited.Round(time.Second), most, h.Who()))
}

// AfterWait says how the other run has ended, and what it did of what this one was to do.
func AfterWait(w orchestrator.Waited) string {
	s := fmt.Sprintf("The other run has ended, after %v", w.Waited.Round(time.Second/10))
	if w.Died {
		s = fmt.Sprintf("The other run has gone without giving its lease back; it was taken over after %v", w.Waited.Round(time.Second/10))
	}
	s += ". Of " + Count(w.Of, "step") + fmt.Sprintf(" of this plan it did %d", w.Did)
	switch {
	case w.Left == 0:
		s += ": nothing is left to do"
	case w.New > 0:
		s += fmt.Sprintf("; %d are to be done now, %d of them new", w.Left, w.New)
	default:
		s += fmt.Sprintf("; %d are left", w.Left)
	}
	return plain(s + ".")
}
