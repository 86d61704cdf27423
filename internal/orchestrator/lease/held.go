package lease

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Held says who has the lease, and what it says of itself.
type Held struct {
	Peering, Site, Holder string
	// Doing is the command that it is for, Since when it began by its own clock, and Done of All its steps
	// are done; zero where it does not say.
	Doing     string
	Since     time.Time
	Done, All int
	// Waited is how long it was waited for; Died tells that it ended without giving the lease back.
	Waited time.Duration
	Died   bool
}

func (h Held) Error() string {
	return fmt.Sprintf("another run is at work on peering %s: %s (its lease is at %s)", h.Peering, h.Who(), h.Site)
}

// Who names the holder for people, and says what it does.
func (h Held) Who() string {
	what := "a run"
	if h.Doing != "" {
		what = "causeway peer " + h.Doing
	}
	if f := strings.Split(h.Holder, "."); len(f) == 5 {
		what += " on host " + f[0] + ", process " + f[2]
	} else {
		what += " of " + h.Holder
	}
	if !h.Since.IsZero() {
		layout := time.TimeOnly
		if time.Since(h.Since).Abs() > 12*time.Hour {
			layout = time.DateTime
		}
		what += ", since " + h.Since.Format(layout)
	}
	if h.All > 0 {
		what += fmt.Sprintf(", %d of %d steps done", h.Done, h.All)
	}
	return what
}

// Hint is the way out.
func (h Held) Hint() string {
	return "Wait until it has ended (--wait). A lease that is not renewed is taken over by itself."
}

// work is what a run says of itself in its tag, after the number: the command, when the run began in
// seconds since 1970, and the steps done of all. Earlier releases write the number alone, and compare
// whole tags.
type work struct {
	doing     string
	since     time.Time
	done, all int
}

func (w work) suffix(n int) string {
	s := strconv.Itoa(n)
	if w.doing == "" {
		return s
	}
	return fmt.Sprintf("%s.%s.%d.%d.%d", s, w.doing, w.since.Unix(), w.done, w.all)
}

// commands are what a tag may say that a run is for: a tag is text that others may write.
var commands = map[string]bool{"apply": true, "destroy": true, "adopt": true, "run": true}

func heldBy(peering, site, holder, tag string) Held {
	h := Held{Peering: peering, Site: site, Holder: holder}
	f := strings.Split(tag[strings.LastIndexByte(tag, ':')+1:], ".")
	if len(f) != 5 || !commands[f[1]] {
		return h
	}
	since, err1 := strconv.ParseInt(f[2], 10, 64)
	done, err2 := strconv.Atoi(f[3])
	all, err3 := strconv.Atoi(f[4])
	if err1 != nil || err2 != nil || err3 != nil || since <= 0 || since > 1<<40 || done < 0 || all < done {
		return h
	}
	h.Doing, h.Since, h.Done, h.All = f[1], time.Unix(since, 0), done, all
	return h
}

// How often a wait is told of: news no more often than the one, and without any the other.
const tellNews, tellAgain = 2 * time.Second, 10 * time.Second

// waiter tells who is waited for.
type waiter struct {
	onWait      func(Held)
	news, again time.Duration

	mu     sync.Mutex
	first  time.Time
	told   time.Time
	last   Held // as it was seen last; the zero value: nobody is waited for
	spoken Held // as it was told last
}

// tell notes who is waited for, and tells it where it is time to.
func (w *waiter) tell(h Held) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.first.IsZero() {
		w.first = now
	}
	w.last = h
	w.last.Waited = now.Sub(w.first)
	rest := w.again
	switch {
	case w.told.IsZero() || h.Holder != w.spoken.Holder:
		rest = 0
	case h.Done != w.spoken.Done || h.All != w.spoken.All:
		rest = w.news
	}
	if w.onWait == nil || now.Sub(w.told) < rest {
		return
	}
	w.told, w.spoken = now, h
	w.onWait(w.last)
}

// died notes that a holder's lease was taken over.
func (w *waiter) died(holder string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last.Holder == holder {
		w.last.Died = true
	}
}

func (w *waiter) held() *Held {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first.IsZero() {
		return nil
	}
	h := w.last
	return &h
}
