package bfd

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"
)

// SeamlessDiscr is the discriminator by which the S-BFD reflector of an IPv4 address is asked: that address as a number, as
// routers have it; 0: the address is none of IPv4.
func SeamlessDiscr(ip netip.Addr) uint32 {
	if !ip.Is4() {
		return 0
	}
	b := ip.As4()
	return binary.BigEndian.Uint32(b[:])
}

// Reflect turns the S-BFD packet in b, a UDP payload, into its answer (RFC 7880 §7.2.2), in place, and returns the answer's
// length. discr is the reflector's. What has authentication is not answered, since the reflector has no keys.
func Reflect(b []byte, discr uint32, requiredMinRx time.Duration) (int, error) {
	var p Packet
	if err := p.Decode(b); err != nil {
		return 0, err
	}
	switch {
	case p.Auth != NoAuth:
		return 0, ErrAuth
	case p.YourDiscr != discr || discr == 0:
		return 0, ErrYourDiscr
	case !p.Demand:
		// Only initiators set it: an answer is not answered (RFC 7880 §7.2.1).
		return 0, ErrYourDiscr
	}
	answer := Packet{
		State: Up, Final: p.Poll, DetectMult: p.DetectMult, MyDiscr: p.YourDiscr, YourDiscr: p.MyDiscr,
		DesiredMinTx: p.DesiredMinTx, RequiredMinRx: requiredMinRx,
	}
	return answer.Encode(b, nil), nil
}

// Asked is how many questions an Initiator knows the fate of, a power of 2.
const Asked = 128

// Initiator asks again and again and looks whether it is answered: by S-BFD (RFC 7880 §7.3), or by whatever else gives back
// the number of a question. Each question has a number that nobody can guess who has not seen it.
type Initiator struct {
	rand         *rand.Rand
	interval     time.Duration
	mult         uint8
	state        State
	remoteAdmin  bool
	everUp       bool
	asked        [Asked]question
	next         uint32
	due, expires time.Duration
	rtt          time.Duration // of the last answer
	sent, got    uint64
}

type question struct {
	id       uint32
	at       time.Duration
	answered bool
}

// NewInitiator makes one that is Down.
func NewInitiator(interval time.Duration, mult uint8, r *rand.Rand, now time.Duration) *Initiator {
	// The first ones of many are spread over an interval.
	return &Initiator{rand: r, interval: interval, mult: mult, state: Down, due: now + time.Duration(r.Int64N(int64(interval))), expires: never}
}

// SetTimers changes how often is asked, and how many questions without answer are too many.
func (i *Initiator) SetTimers(interval time.Duration, mult uint8, now time.Duration) {
	if interval == i.interval && mult == i.mult {
		return
	}
	i.interval, i.mult = interval, mult
	i.due = min(i.due, now+interval)
	if i.expires != never {
		i.expires = now + i.Detection()
	}
}

// State is Up or Down; everUp: it has been up.
func (i *Initiator) State() (s State, everUp bool) { return i.state, i.everUp }

// RemoteAdminDown: the other side answers that it is out of service.
func (i *Initiator) RemoteAdminDown() bool { return i.remoteAdmin }

// Detection is how long after the last answer the state goes down.
func (i *Initiator) Detection() time.Duration { return time.Duration(i.mult) * i.interval }

// Every is how often is asked now: once a second at most where nobody answers (RFC 7880 §7.3.1, RFC 5880 §6.8.3).
func (i *Initiator) Every() time.Duration {
	if i.state != Up {
		return max(i.interval, slowTx)
	}
	return i.interval
}

// Next is when Ask or Advance has something to do.
func (i *Initiator) Next() time.Duration { return min(i.due, i.expires) }

// Ask returns the number of the question that is due at now; 0: none is.
func (i *Initiator) Ask(now time.Duration) uint32 {
	if now < i.due {
		return 0
	}
	i.due = now + jitter(i.rand, i.Every(), i.mult)
	// The low bits find the question, the others prove that an answer is one.
	id := i.rand.Uint32()&^(Asked-1) | i.next%Asked
	if id == 0 {
		id = 1 << 31
	}
	i.asked[i.next%Asked] = question{id: id, at: now}
	i.next++
	i.sent++
	return id
}

// Answer takes the answer to a question. It tells whether it is one, the first to a question that is still known.
func (i *Initiator) Answer(id uint32, remote State, now time.Duration) bool {
	q := &i.asked[id%Asked]
	if q.id != id || id == 0 || q.answered {
		return false
	}
	q.answered = true
	i.rtt = now - q.at
	i.got++
	i.remoteAdmin = remote == AdminDown
	if i.remoteAdmin {
		i.state, i.expires = Down, never
		return true
	}
	if i.state != Up {
		i.state, i.everUp = Up, true
		i.due = min(i.due, now+jitter(i.rand, i.interval, i.mult))
	}
	i.expires = now + i.Detection()
	return true
}

// Advance lets time pass.
func (i *Initiator) Advance(now time.Duration) {
	if now >= i.expires {
		i.state, i.expires = Down, never
	}
}

// Request is the S-BFD packet of a question. The state in it is Down until the reflector has answered (RFC 7880 §7.3.2).
func (i *Initiator) Request(b []byte, id, reflector uint32) int {
	p := Packet{
		State: i.state, Demand: true, DetectMult: i.mult, MyDiscr: id, YourDiscr: reflector,
		DesiredMinTx: i.Every(), RequiredMinRx: 0,
	}
	return p.Encode(b, nil)
}

// Reply takes the UDP payload of a reflector's answer.
func (i *Initiator) Reply(b []byte, reflector uint32, now time.Duration) error {
	var p Packet
	if err := p.Decode(b); err != nil {
		return err
	}
	switch {
	case p.Auth != NoAuth:
		return ErrAuth
	case p.MyDiscr != reflector, p.Demand, p.State != Up && p.State != AdminDown:
		return ErrYourDiscr
	case !i.Answer(p.YourDiscr, p.State, now):
		return ErrYourDiscr
	}
	return nil
}

// Counts are the questions and answers since the start.
func (i *Initiator) Counts() (sent, answered uint64) { return i.sent, i.got }

// Stats are the round trip of the last answer, the mean of those of the last questions that are known, and the part of
// these questions, 0 to 1, that got no answer within the detection time; n is how many they are.
func (i *Initiator) Stats(now time.Duration) (last time.Duration, loss float64, n int) {
	lost := 0
	for k := range i.asked {
		q := &i.asked[k]
		if q.id == 0 || !q.answered && now-q.at < i.Detection() {
			continue
		}
		n++
		if !q.answered {
			lost++
		}
	}
	if n > 0 {
		loss = float64(lost) / float64(n)
	}
	return i.rtt, loss, n
}
