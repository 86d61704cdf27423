package show

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator/apply"
)

// Progress tells how far a run is. On a terminal the last line is rewritten; else
// each step is a line when it ends.
type Progress struct {
	w  io.Writer
	st Style
	// width is that of the terminal, in columns; nil where there is none.
	width func() int

	mu      sync.Mutex
	begin   time.Time
	running []string
	shown   time.Time
	open    bool // a line without an end is on the screen
}

// NewProgress writes to w. width tells how many columns it has, at any time, if it is a terminal;
// else it is nil.
func NewProgress(w io.Writer, st Style, width func() int) *Progress {
	return &Progress{w: w, st: st, width: width, begin: time.Now()}
}

// frame is how often a live line is rewritten at most.
const frame = 50 * time.Millisecond

// Tell takes one event.
func (p *Progress) Tell(e apply.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what := plain(fmt.Sprintf("%s: %s %s", e.Action.Site, e.Action.Op, e.Action.What))
	why := ""
	if e.Err != nil {
		why = plain(e.Err.Error())
	}
	switch e.State {
	case apply.Started:
		p.running = append(p.running, what)
	default:
		if i := slices.Index(p.running, what); i >= 0 {
			p.running = slices.Delete(p.running, i, i+1)
		}
	}
	switch {
	case e.State == apply.Failed:
		p.line(p.st.paint(red, "✗ ") + what + ": " + why)
	case e.State == apply.Undone:
		p.line(p.st.paint(yellow, "↶ ") + what + ": taken back")
	case e.State == apply.Stays:
		p.line(p.st.paint(red, "✗ ") + what + ": cannot be taken back: " + why)
	case p.width != nil:
		p.status(e, time.Since(p.shown) >= frame || e.Done == e.All)
	case e.State == apply.Done && e.Action.IsStep():
		p.line(fmt.Sprintf("%*d/%d %s (%d ms)", len(fmt.Sprint(e.All)), e.Done, e.All, what, e.Took.Milliseconds()))
	}
}

// line writes a line that stays.
func (p *Progress) line(s string) {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
	fmt.Fprintln(p.w, s)
}

const barWidth = 24

// status rewrites the last line.
func (p *Progress) status(e apply.Event, now bool) {
	if !now {
		return
	}
	p.shown = time.Now()
	full := barWidth
	if e.All > 0 {
		full = barWidth * e.Done / e.All
	}
	at := ""
	if len(p.running) > 0 {
		at = p.running[0]
		if len(p.running) > 1 {
			at += fmt.Sprintf(" and %d more", len(p.running)-1)
		}
	}
	text := fmt.Sprintf("%s%s %d/%d  %s", strings.Repeat("█", full), strings.Repeat("░", barWidth-full), e.Done, e.All, at)
	// A line that wraps could not be rewritten.
	if r, most := []rune(text), max(p.width()-1, 1); len(r) > most {
		text = string(r[:most-1]) + "…"
	}
	fmt.Fprint(p.w, "\r\x1b[K"+text)
	p.open = true
}

// End leaves a clean line.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}

// Took is the time since the progress began.
func (p *Progress) Took() time.Duration { return time.Since(p.begin) }
