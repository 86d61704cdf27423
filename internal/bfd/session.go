package bfd

import (
	"math/rand/v2"
	"time"
)

// slowTx is the least DesiredMinTx of a session that is not up (RFC 5880 §6.8.3).
const slowTx = time.Second

// never is later than all times.
const never = time.Duration(1<<63 - 1)

// Timers are what one side asks for.
type Timers struct {
	DesiredMinTx, RequiredMinRx time.Duration
	DetectMult                  uint8
}

// Session is one of asynchronous mode, in the active role. Times are since a moment that the caller chose, on a clock
// that never goes back.
type Session struct {
	rand *rand.Rand
	key  *Key

	// State variables of RFC 5880 §6.8.1.
	state, remoteState      State
	localDiscr, remoteDiscr uint32
	diag, remoteDiag        Diag
	asked                   Timers // as configured
	desiredMinTx            time.Duration
	requiredMinRx           time.Duration
	remoteMinRx             time.Duration
	remoteDemand            bool
	authSeqKnown            bool
	rcvAuthSeq, xmitAuthSeq uint32
	remoteMinTx             time.Duration
	remoteMult              uint8
	polling, final          bool
	// sending and expecting are the intervals in force: those of before until a poll that lengthens or shortens
	// them has ended (§6.8.3).
	sending, expecting time.Duration

	nextTx, expires, forgets time.Duration
	lastSent                 Packet
}

// NewSession makes one that is Down. discr is its own, not 0, and no other session's; key is nil without authentication.
func NewSession(discr uint32, t Timers, key *Key, r *rand.Rand, now time.Duration) *Session {
	s := &Session{
		rand: r, key: key, state: Down, remoteState: Down, localDiscr: discr, asked: t, remoteMinRx: time.Microsecond,
		desiredMinTx: max(t.DesiredMinTx, slowTx), requiredMinRx: t.RequiredMinRx, xmitAuthSeq: r.Uint32(),
		nextTx: now, expires: never, forgets: never,
	}
	s.sending, s.expecting = s.desiredMinTx, s.requiredMinRx
	return s
}

// State of the session.
func (s *Session) State() State { return s.state }

// Diag is why the session left Up last.
func (s *Session) Diag() Diag { return s.diag }

// Remote is what the other side said last: its state, and why it left Up.
func (s *Session) Remote() (State, Diag) { return s.remoteState, s.remoteDiag }

// Discr is the session's own discriminator.
func (s *Session) Discr() uint32 { return s.localDiscr }

// Interval is what lies between two packets at most, before jitter, and Detection how long after the last one of the other
// side the session goes down; 0: nothing is known of the other side.
func (s *Session) Interval() time.Duration { return max(s.sending, s.remoteMinRx) }

// Detection is bfd's detection time (RFC 5880 §6.8.4).
func (s *Session) Detection() time.Duration {
	return time.Duration(s.remoteMult) * max(s.expecting, s.remoteMinTx)
}

// SetTimers changes what this side asks for, by a poll if the session is up (RFC 5880 §6.8.3).
func (s *Session) SetTimers(t Timers, now time.Duration) {
	if t == s.asked {
		return
	}
	s.asked = t
	s.retime()
	if s.state == Up {
		s.polling = true
	}
	s.nextTx = min(s.nextTx, now+s.jittered())
}

// retime brings what is sent to what is asked for and may be sent in this state.
func (s *Session) retime() {
	s.desiredMinTx, s.requiredMinRx = s.asked.DesiredMinTx, s.asked.RequiredMinRx
	if s.state != Up {
		s.desiredMinTx = max(s.desiredMinTx, slowTx)
	}
	if s.state != Up || s.desiredMinTx < s.sending {
		s.sending = s.desiredMinTx
	}
	if s.state != Up || s.requiredMinRx > s.expecting {
		s.expecting = s.requiredMinRx
	}
}

// SetAdminDown takes the session down, or lets it come up again. An administratively down session goes on sending, so that
// the other side learns it (RFC 5880 §6.8.16).
func (s *Session) SetAdminDown(down bool, now time.Duration) {
	switch {
	case down && s.state != AdminDown:
		s.enter(AdminDown, AdministrativeDown, now)
	case !down && s.state == AdminDown:
		s.enter(Down, NoDiag, now)
	}
}

// enter changes the state, and has that told at once.
func (s *Session) enter(st State, d Diag, now time.Duration) {
	was := s.state
	s.state, s.diag = st, d
	s.polling = false
	s.retime()
	if st == Up && was != Up && s.asked.DesiredMinTx < slowTx {
		s.polling = true // the interval gets shorter
	}
	if st != Up && st != Init {
		s.expires = never
	}
	s.nextTx = now
}

// Receive takes a packet that p was decoded of. An error says that it was discarded. The caller has found the session by
// YourDiscr or, where that is 0, by addresses, and has checked the TTL.
func (s *Session) Receive(p *Packet, raw []byte, now time.Duration) error {
	switch {
	case p.YourDiscr != 0 && p.YourDiscr != s.localDiscr,
		p.YourDiscr == 0 && p.State != Down && p.State != AdminDown:
		return ErrYourDiscr
	}
	if err := s.authentic(p, raw); err != nil {
		return err
	}
	s.remoteDiscr, s.remoteState, s.remoteDiag = p.MyDiscr, p.State, p.Diag
	s.remoteDemand, s.remoteMinTx, s.remoteMult = p.Demand, p.DesiredMinTx, p.DetectMult
	if p.RequiredMinRx != s.remoteMinRx {
		old := s.remoteMinRx
		s.remoteMinRx = p.RequiredMinRx
		if old == 0 || p.RequiredMinRx < old {
			s.nextTx = min(s.nextTx, now+s.jittered())
		}
	}
	if p.Final && s.polling {
		s.polling = false
		s.sending, s.expecting = s.desiredMinTx, s.requiredMinRx
	}
	if s.state == AdminDown {
		return ErrAdminDown
	}
	s.follow(p.State, now)
	if s.state == Init || s.state == Up {
		s.expires = now + s.Detection()
	}
	s.forgets = now + 2*s.Detection()
	if p.Poll {
		s.final = true
	}
	return nil
}

// follow is the state machine of RFC 5880 §6.8.6.
func (s *Session) follow(remote State, now time.Duration) {
	switch {
	case remote == AdminDown:
		if s.state != Down {
			s.enter(Down, NeighborDown, now)
		}
	case s.state == Down && remote == Down:
		s.enter(Init, s.diag, now)
	case s.state == Down && remote == Init, s.state == Init && (remote == Init || remote == Up):
		s.enter(Up, NoDiag, now)
	case s.state == Up && remote == Down:
		s.enter(Down, NeighborDown, now)
	}
}

// authentic is RFC 5880 §6.7.4. What the sequence number must be is changed by packets alone whose digest is right.
func (s *Session) authentic(p *Packet, raw []byte) error {
	if s.key == nil {
		if p.Auth != NoAuth {
			return ErrAuth
		}
		return nil
	}
	if p.Auth == NoAuth || !s.key.verifies(p, raw) {
		return ErrAuth
	}
	if s.authSeqKnown {
		ahead := p.Seq - s.rcvAuthSeq
		if ahead > 3*uint32(p.DetectMult) || ahead == 0 && s.key.Type == MeticulousKeyedSHA1 {
			return ErrReplayed
		}
	}
	s.authSeqKnown, s.rcvAuthSeq = true, p.Seq
	return nil
}

// Advance lets time pass: a session whose detection time is over goes down. Packets that have come must be received
// before, so that a caller who was kept from running takes nobody for dead who was heard.
func (s *Session) Advance(now time.Duration) {
	if now >= s.expires {
		s.expires = never
		s.remoteDiscr, s.remoteDemand = 0, false
		s.remoteMinRx = time.Microsecond
		s.remoteState = Down
		s.enter(Down, DetectionExpired, now)
	}
	if now >= s.forgets {
		s.forgets = never
		s.authSeqKnown = false
		s.remoteDiscr = 0
	}
}

// Next is when Advance or Send has something to do.
func (s *Session) Next() time.Duration {
	next := min(s.expires, s.forgets)
	if s.final {
		return 0
	}
	if !s.quiet() {
		next = min(next, s.nextTx)
	}
	return next
}

// quiet: the other side wants no periodic packets (RFC 5880 §6.8.7).
func (s *Session) quiet() bool {
	return s.remoteMinRx == 0 || s.remoteDemand && s.state == Up && s.remoteState == Up && !s.polling
}

// Send writes to b, which has room for MaxLen bytes, the packet that is due at now, and returns its length; 0: none is.
func (s *Session) Send(b []byte, now time.Duration) int {
	periodic := !s.quiet() && now >= s.nextTx
	if !s.final && !periodic {
		return 0
	}
	p := Packet{
		Diag: s.diag, State: s.state, Poll: s.polling && !s.final, Final: s.final, DetectMult: s.asked.DetectMult,
		MyDiscr: s.localDiscr, YourDiscr: s.remoteDiscr, DesiredMinTx: s.desiredMinTx, RequiredMinRx: s.requiredMinRx,
	}
	s.final = false
	if periodic {
		s.nextTx = now + s.jittered()
	}
	if s.key != nil {
		// Keyed SHA1 counts what differs from the packet before, its meticulous form every packet (§6.7.4).
		if s.key.Type == MeticulousKeyedSHA1 || p != s.lastSent {
			s.xmitAuthSeq++
		}
		s.lastSent = p
		p.Seq = s.xmitAuthSeq
	}
	return p.Encode(b, s.key)
}

// jittered is the interval less 0 to 25 %, or 10 to 25 % with a multiplier of 1 (RFC 5880 §6.8.7).
func (s *Session) jittered() time.Duration { return jitter(s.rand, s.Interval(), s.asked.DetectMult) }

func jitter(r *rand.Rand, d time.Duration, mult uint8) time.Duration {
	least := d / 10
	if mult > 1 {
		least = 0
	}
	return d - least - time.Duration(r.Int64N(int64(d/4-least)+1))
}
