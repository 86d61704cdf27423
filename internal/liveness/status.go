package liveness

import (
	"fmt"
	"time"

	"github.com/causeway-net/causeway/internal/bfd"
)

// State of a remote.
type State string

// States.
const (
	Up      State = "up"
	Down    State = "down"
	Unknown State = "unknown" // nothing has ever answered by which its state could be told, or it is not watched
)

// RemoteStatus is what is known of a remote.
type RemoteStatus struct {
	Remote
	State State     `json:"state"`
	Means Means     `json:"means,omitempty"` // by which the state is known; empty: by none
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
	// IntervalMS and Detection are in force for the means.
	IntervalMS  float64 `json:"interval_ms,omitempty"`
	DetectionMS float64 `json:"detection_ms,omitempty"`
	// RTTMicros is the round trip of the last answer, and Loss the part of the last questions, Asked of them, that got
	// no answer; nil: nothing has answered by which they could be measured.
	RTTMicros *float64 `json:"rtt_us,omitempty"`
	Loss      *float64 `json:"loss,omitempty"`
	Asked     int      `json:"asked,omitempty"`
	// Flaps is how often it went from up to down, and Sent and Answered count questions, both since the process began.
	Flaps    uint64 `json:"flaps"`
	Sent     uint64 `json:"sent"`
	Answered uint64 `json:"answered"`
}

// Status is what the process knows.
type Status struct {
	RealTime  string  `json:"real_time"`           // the scheduling policy, or why it is not in real time
	Memory    string  `json:"memory"`              // "locked", or why it is not
	Refused   uint64  `json:"refused"`             // packets of BFD and S-BFD that were discarded, from whomever
	Reflected uint64  `json:"reflected"`           // questions of others that were answered
	LatestMS  float64 `json:"latest_ms"`           // the latest that the process ever came to a timer, milliseconds
	Unwatched int     `json:"unwatched,omitempty"` // remotes beyond MaxRemotes
	Problem   string  `json:"problem,omitempty"`   // why it is not told what to watch

	Remotes []RemoteStatus `json:"remotes"`
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// judged is what a remote comes to.
type judged struct {
	state State
	means Means
	why   why
}

// why is words with few parts, so that none are made before somebody asks.
type why uint8

const (
	whyAnswers why = iota
	whySilent
	whyAdmin
	whyNever
	whyNone
	whySocket
	whyYoung
	whyNeighbor
	whyFallback
)

// judge says what is known of w at now.
func (w *watched) judge(now time.Duration) judged {
	means := w.set.Means
	switch means {
	case None:
		return judged{Unknown, "", whyNone}
	case BFD, BFDMultihop:
		return w.judgeBFD(now)
	case SBFD:
		return w.judgeAsked(w.sb, SBFD, now, false)
	case ICMP:
		return w.judgeAsked(w.echo, ICMP, now, false)
	case Auto:
	}
	_, sb := w.sb.State()
	echoUp, echo := w.echo.State()
	switch {
	case sb && echoUp == bfd.Up && now-w.sbLast > fallback:
		return judged{Up, ICMP, whyFallback}
	case sb:
		return w.judgeAsked(w.sb, SBFD, now, true)
	case echo:
		return w.judgeAsked(w.echo, ICMP, now, true)
	}
	return w.judgeAsked(w.echo, "", now, true)
}

// fallback is after how long without S-BFD an ICMP echo is believed again: the remote may have been replaced by one that
// speaks none.
const fallback = time.Minute

// young is how long a remote that has never answered is not called down.
const young = 5 * time.Second

func (w *watched) judgeAsked(i *bfd.Initiator, m Means, now time.Duration, auto bool) judged {
	st, ever := i.State()
	switch {
	case w.problem != nil && st != bfd.Up:
		return judged{Unknown, m, whySocket}
	case st == bfd.Up:
		return judged{Up, m, whyAnswers}
	case i.RemoteAdminDown():
		return judged{Down, m, whyAdmin}
	case ever:
		return judged{Down, m, whySilent}
	case auto:
		return judged{Unknown, "", whyNever}
	case now-w.begun < young+i.Detection():
		return judged{Unknown, m, whyYoung}
	}
	return judged{Down, m, whyNever}
}

func (w *watched) judgeBFD(now time.Duration) judged {
	m := w.set.Means
	switch {
	case w.session == nil:
		return judged{Unknown, m, whySocket}
	case w.session.State() == bfd.Up:
		return judged{Up, m, whyAnswers}
	case !w.everUp && now-w.begun < young:
		return judged{Unknown, m, whyYoung}
	case !w.everUp:
		return judged{Down, m, whyNever}
	}
	if st, _ := w.session.Remote(); st == bfd.AdminDown {
		return judged{Down, m, whyAdmin}
	}
	if w.session.Diag() == bfd.NeighborDown {
		return judged{Down, m, whyNeighbor}
	}
	return judged{Down, m, whySilent}
}

// words of a judgement.
func (w *watched) words(j judged) string {
	vtep, by := w.remote.VTEP, map[Means]string{SBFD: "S-BFD", BFD: "BFD", BFDMultihop: "multihop BFD", ICMP: "ICMP echo"}[j.means]
	if by == "" {
		by = "S-BFD or ICMP echo"
	}
	switch j.why {
	case whyAnswers:
		return fmt.Sprintf("%s answers %s", vtep, by)
	case whySilent:
		return fmt.Sprintf("%s has stopped answering %s", vtep, by)
	case whyAdmin:
		return fmt.Sprintf("%s says by %s that it is administratively down", vtep, by)
	case whyNever:
		return fmt.Sprintf("%s has never answered %s", vtep, by)
	case whyNone:
		return "the settings say that it is not watched"
	case whyYoung:
		return fmt.Sprintf("%s has not answered %s yet", vtep, by)
	case whyNeighbor:
		return fmt.Sprintf("%s says by %s that it does not hear this host", vtep, by)
	case whyFallback:
		return fmt.Sprintf("%s answers ICMP echo; it has not answered S-BFD for over %v", vtep, fallback)
	case whySocket:
	}
	if w.problem != nil {
		return w.problem.Error()
	}
	return "its sockets are not open"
}

// status of w; at is the wall clock's time at now.
func (w *watched) status(now time.Duration, at time.Time) RemoteStatus {
	s := RemoteStatus{Remote: w.remote, State: w.now.state, Means: w.now.means, Since: at.Add(w.since - now).UTC().Round(time.Millisecond), Why: w.words(w.now), Flaps: w.flaps}
	measured := w.echo
	switch {
	case w.now.means == SBFD:
		measured = w.sb
		s.IntervalMS, s.DetectionMS = ms(w.sb.Every()), ms(w.sb.Detection())
	case w.session != nil:
		s.IntervalMS, s.DetectionMS = ms(w.session.Interval()), ms(w.session.Detection())
	case w.now.means == ICMP:
		s.IntervalMS, s.DetectionMS = ms(w.echo.Every()), ms(w.echo.Detection())
	}
	if measured == nil {
		return s
	}
	s.Sent, s.Answered = measured.Counts()
	if s.Answered > 0 {
		rtt, loss, n := measured.Stats(now)
		us := float64(rtt.Nanoseconds()/100) / 10
		s.RTTMicros, s.Loss, s.Asked = &us, &loss, n
	}
	return s
}
