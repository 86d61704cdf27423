package bfd

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

const msec = time.Millisecond

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func key(t testing.TB, k AuthType) *Key {
	t.Helper()
	out, err := NewKey(k, 7, []byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pair are two sessions with a wire between them that loses nothing unless cut.
type pair struct {
	t    testing.TB
	now  time.Duration
	s    [2]*Session
	cut  [2]bool // what the one sends is lost
	sent [2][]Packet
	at   [2][]time.Duration
	errs [2][]error
}

func newPair(t testing.TB, a, b Timers, ka, kb *Key) *pair {
	return &pair{t: t, s: [2]*Session{NewSession(11, a, ka, random(), 0), NewSession(22, b, kb, rand.New(rand.NewPCG(3, 4)), 0)}}
}

// run lets time pass.
func (p *pair) run(d time.Duration) {
	p.t.Helper()
	end := p.now + d
	for {
		next := min(p.s[0].Next(), p.s[1].Next())
		if next > end {
			p.now = end
			return
		}
		p.now = max(p.now, next)
		for i, s := range p.s {
			s.Advance(p.now)
			var b [MaxLen]byte
			n := s.Send(b[:], p.now)
			if n == 0 {
				continue
			}
			var pkt Packet
			if err := pkt.Decode(b[:n]); err != nil {
				p.t.Fatal(err)
			}
			p.sent[i], p.at[i] = append(p.sent[i], pkt), append(p.at[i], p.now)
			if p.cut[i] {
				continue
			}
			if err := p.s[1-i].Receive(&pkt, b[:n], p.now); err != nil {
				p.errs[1-i] = append(p.errs[1-i], err)
			}
		}
	}
}

func (p *pair) up() {
	p.t.Helper()
	p.run(5 * time.Second)
	if p.s[0].State() != Up || p.s[1].State() != Up {
		p.t.Fatalf("states %v and %v, want both up", p.s[0].State(), p.s[1].State())
	}
}

var fast, slow = Timers{50 * msec, 50 * msec, 3}, Timers{300 * msec, 200 * msec, 5}

// TestNegotiation: what is sent and expected is what the slower of both asks for (RFC 5880 §6.8.4, §6.8.7), after a poll
// that begins when the session comes up (§6.8.3).
func TestNegotiation(t *testing.T) {
	p := newPair(t, fast, slow, nil, nil)
	p.up()
	for i, want := range []struct{ interval, detection time.Duration }{{200 * msec, 5 * 300 * msec}, {300 * msec, 3 * 200 * msec}} {
		if got := p.s[i].Interval(); got != want.interval {
			t.Errorf("session %d sends every %v, want %v", i, got, want.interval)
		}
		if got := p.s[i].Detection(); got != want.detection {
			t.Errorf("session %d goes down after %v, want %v", i, got, want.detection)
		}
	}
	polls, finals := 0, 0
	for _, s := range p.sent {
		for _, pkt := range s {
			if pkt.Poll && pkt.Final {
				t.Error("a packet with poll and final (RFC 5880 §6.5)")
			}
			if pkt.Poll {
				polls++
			}
			if pkt.Final {
				finals++
			}
			if pkt.State != Up && pkt.DesiredMinTx < time.Second {
				t.Errorf("a session that is %v asks for %v, less than a second (RFC 5880 §6.8.3)", pkt.State, pkt.DesiredMinTx)
			}
		}
	}
	if polls == 0 || finals == 0 {
		t.Errorf("%d polls and %d finals, want both", polls, finals)
	}
}

// TestJitter: intervals are 75 to 100 % of what was negotiated, 75 to 90 % with a multiplier of 1 (RFC 5880 §6.8.7).
func TestJitter(t *testing.T) {
	for mult, most := range map[uint8]time.Duration{1: 90, 3: 100} {
		p := newPair(t, Timers{100 * msec, 100 * msec, mult}, Timers{100 * msec, 100 * msec, mult}, nil, nil)
		p.up()
		p.at[0] = nil
		p.run(60 * time.Second)
		least, longest := time.Hour, time.Duration(0)
		for i := 1; i < len(p.at[0]); i++ {
			d := p.at[0][i] - p.at[0][i-1]
			least, longest = min(least, d), max(longest, d)
		}
		if least < 75*msec || least > 78*msec || longest > most*msec || longest < (most-3)*msec {
			t.Errorf("multiplier %d: intervals of %v to %v, want 75ms to %vms", mult, least, longest, int(most))
		}
	}
}

// TestDetection: a cut one way takes both down: who hears nothing by its detection time, and the other by being told. It
// comes up again by itself.
func TestDetection(t *testing.T) {
	p := newPair(t, fast, fast, nil, nil)
	p.up()
	p.cut[1] = true
	last := p.now
	for p.s[0].State() == Up {
		p.run(msec)
	}
	if d := p.now - last; d < 100*msec || d > 151*msec {
		t.Errorf("down after %v, want at most 150ms after the last packet", d)
	}
	if p.s[0].Diag() != DetectionExpired {
		t.Errorf("diagnostic %v, want %v", p.s[0].Diag(), DetectionExpired)
	}
	p.run(100 * msec)
	if p.s[1].State() == Up || p.s[1].Diag() != NeighborDown {
		t.Errorf("the other side is %v, %v; want it not up, %v", p.s[1].State(), p.s[1].Diag(), NeighborDown)
	}
	if last := p.sent[0][len(p.sent[0])-1]; last.State != Down || last.YourDiscr != 0 {
		t.Errorf("after the detection time it says %v with your discriminator %d; want down and 0 (RFC 5880 §6.8.1)", last.State, last.YourDiscr)
	}
	p.cut[1] = false
	p.up()
}

// TestAdminDown: the other side learns of it and does not take it for a failure of the path (RFC 5880 §6.8.16).
func TestAdminDown(t *testing.T) {
	p := newPair(t, fast, fast, nil, nil)
	p.up()
	p.s[0].SetAdminDown(true, p.now)
	p.run(50 * msec)
	if st, _ := p.s[1].Remote(); p.s[1].State() != Down || st != AdminDown || p.s[1].Diag() != NeighborDown {
		t.Errorf("the other side is %v, %v, and knows of %v", p.s[1].State(), p.s[1].Diag(), st)
	}
	p.run(10 * time.Second)
	if p.s[0].State() != AdminDown || p.s[1].State() != Down {
		t.Errorf("states %v and %v, want admin down and down", p.s[0].State(), p.s[1].State())
	}
	p.s[0].SetAdminDown(false, p.now)
	p.up()
}

// TestTimersChange: a longer interval is not kept before the other side has agreed by its final (RFC 5880 §6.8.3).
func TestTimersChange(t *testing.T) {
	p := newPair(t, fast, fast, nil, nil)
	p.up()
	p.cut[0] = true // the poll is lost
	p.s[0].SetTimers(Timers{400 * msec, 50 * msec, 3}, p.now)
	p.run(100 * msec)
	if got := p.s[0].Interval(); got != 50*msec {
		t.Errorf("before the final it sends every %v, want 50ms", got)
	}
	p.cut[0] = false
	p.run(2 * time.Second)
	if got := p.s[0].Interval(); got != 400*msec || p.s[0].State() != Up || p.s[1].State() != Up {
		t.Errorf("it sends every %v, want 400ms; states %v and %v, want up", got, p.s[0].State(), p.s[1].State())
	}
	p.s[0].SetTimers(fast, p.now)
	p.run(2 * time.Second)
	if got := p.s[0].Interval(); got != 50*msec || p.s[0].State() != Up || p.s[1].State() != Up {
		t.Errorf("it sends every %v, want 50ms; states %v and %v, want up", got, p.s[0].State(), p.s[1].State())
	}
}

// TestAuthentication: sessions with the same key come up, with others, or with none on one side, they do not, and what was
// sent before is not taken again (RFC 5880 §6.7.4).
func TestAuthentication(t *testing.T) {
	other, err := NewKey(KeyedSHA1, 7, []byte("another"))
	if err != nil {
		t.Fatal(err)
	}
	otherID, err := NewKey(KeyedSHA1, 8, []byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		a, b *Key
		up   bool
	}{
		"keyed":           {key(t, KeyedSHA1), key(t, KeyedSHA1), true},
		"meticulous":      {key(t, MeticulousKeyedSHA1), key(t, MeticulousKeyedSHA1), true},
		"types differ":    {key(t, KeyedSHA1), key(t, MeticulousKeyedSHA1), false},
		"secrets differ":  {key(t, KeyedSHA1), other, false},
		"key ids differ":  {key(t, KeyedSHA1), otherID, false},
		"one has no key":  {key(t, KeyedSHA1), nil, false},
		"no key, one has": {nil, key(t, KeyedSHA1), false},
	} {
		p := newPair(t, fast, fast, c.a, c.b)
		p.run(20 * time.Second)
		if up := p.s[0].State() == Up && p.s[1].State() == Up; up != c.up {
			t.Errorf("%s: states %v and %v, want up: %v; %v", name, p.s[0].State(), p.s[1].State(), c.up, p.errs)
		}
	}
	for _, kind := range []AuthType{KeyedSHA1, MeticulousKeyedSHA1} {
		p := newPair(t, fast, fast, key(t, kind), key(t, kind))
		p.up()
		var b [MaxLen]byte
		old := Packet{State: Down, DetectMult: 3, MyDiscr: 22, YourDiscr: 11, Seq: p.s[0].rcvAuthSeq - 1}
		n := old.Encode(b[:], key(t, kind))
		if err := old.Decode(b[:n]); err != nil {
			t.Fatal(err)
		}
		if err := p.s[0].Receive(&old, b[:n], p.now); !errors.Is(err, ErrReplayed) || p.s[0].State() != Up {
			t.Errorf("type %d: a packet from before: %v, state %v", kind, err, p.s[0].State())
		}
		old.Seq = p.s[0].rcvAuthSeq + 10 // more than three times the multiplier ahead
		n = old.Encode(b[:], key(t, kind))
		_ = old.Decode(b[:n])
		if err := p.s[0].Receive(&old, b[:n], p.now); !errors.Is(err, ErrReplayed) {
			t.Errorf("type %d: a packet far ahead: %v", kind, err)
		}
		// The number of the last one again is what a meticulous session refuses.
		old.Seq, old.State = p.s[0].rcvAuthSeq, Up
		n = old.Encode(b[:], key(t, kind))
		_ = old.Decode(b[:n])
		if err := p.s[0].Receive(&old, b[:n], p.now); errors.Is(err, ErrReplayed) != (kind == MeticulousKeyedSHA1) {
			t.Errorf("type %d: the last number again: %v", kind, err)
		}
		old.State = Down
		// A forged packet with a good number moves nothing that a true one depends on.
		old.Seq = p.s[0].rcvAuthSeq + 1
		n = old.Encode(b[:], other)
		b[headerLen], b[headerLen+2] = byte(kind), 7
		_ = old.Decode(b[:n])
		seq := p.s[0].rcvAuthSeq
		if err := p.s[0].Receive(&old, b[:n], p.now); !errors.Is(err, ErrAuth) || p.s[0].rcvAuthSeq != seq {
			t.Errorf("type %d: a forged packet: %v, number %d, want %d", kind, err, p.s[0].rcvAuthSeq, seq)
		}
	}
}

// TestForged: what has the wrong discriminator or claims to be from the middle of a session takes nothing down.
func TestForged(t *testing.T) {
	p := newPair(t, fast, fast, nil, nil)
	p.up()
	for name, pkt := range map[string]Packet{
		"discriminator":    {State: Down, DetectMult: 3, MyDiscr: 22, YourDiscr: 12},
		"no discriminator": {State: Up, DetectMult: 3, MyDiscr: 22},
		"authenticated":    {State: Down, DetectMult: 3, MyDiscr: 22, YourDiscr: 11, Auth: KeyedSHA1},
	} {
		if err := p.s[0].Receive(&pkt, make([]byte, MaxLen), p.now); err == nil || p.s[0].State() != Up {
			t.Errorf("%s: %v, state %v", name, err, p.s[0].State())
		}
	}
}

// TestDecode: what RFC 5880 §6.8.6 refuses.
func TestDecode(t *testing.T) {
	good := func() []byte {
		b := make([]byte, MaxLen)
		p := Packet{State: Up, Diag: NeighborDown, Poll: true, ControlPlaneIndependent: true, DetectMult: 3, MyDiscr: 1, YourDiscr: 2, DesiredMinTx: time.Second, RequiredMinRx: 2 * time.Second, RequiredMinEcho: 3 * time.Second, Auth: KeyedSHA1, KeyID: 7, Seq: 9}
		n := p.Encode(b, key(t, KeyedSHA1))
		var back Packet
		if err := back.Decode(b[:n]); err != nil || back != p {
			t.Fatalf("%v: %+v came back as %+v", err, p, back)
		}
		return b[:n]
	}
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"short":            {func(b []byte) []byte { return b[:23] }, ErrShort},
		"version":          {func(b []byte) []byte { b[0] = 2<<5 | b[0]&0x1f; return b }, ErrVersion},
		"length too small": {func(b []byte) []byte { b[1] &^= flagAuth; b[3] = 23; return b }, ErrLength},
		"no room for auth": {func(b []byte) []byte { b[3] = 25; return b }, ErrLength},
		"cut":              {func(b []byte) []byte { return b[:len(b)-1] }, ErrLength},
		"multiplier":       {func(b []byte) []byte { b[2] = 0; return b }, ErrMult},
		"multipoint":       {func(b []byte) []byte { b[1] |= flagMultipoint; return b }, ErrMultipoint},
		"my discriminator": {func(b []byte) []byte { b[4], b[5], b[6], b[7] = 0, 0, 0, 0; return b }, ErrMyDiscr},
		"auth type":        {func(b []byte) []byte { b[24] = 1; return b }, ErrAuth},
		"auth length":      {func(b []byte) []byte { b[25] = 27; return b }, ErrAuth},
		"auth of length 2": {func(b []byte) []byte { b[3] = 26; return b }, ErrAuth},
	} {
		var p Packet
		if err := p.Decode(c.change(good())); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// FuzzDecode: what is decoded says the same once it is encoded again.
func FuzzDecode(f *testing.F) {
	b := make([]byte, MaxLen)
	p := Packet{State: Up, DetectMult: 3, MyDiscr: 1, YourDiscr: 2}
	f.Add(append([]byte(nil), b[:p.Encode(b, nil)]...))
	f.Add(append([]byte(nil), b[:p.Encode(b, key(f, KeyedSHA1))]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		var p, back Packet
		if p.Decode(in) != nil {
			return
		}
		out := make([]byte, MaxLen)
		var k *Key
		if p.Auth != NoAuth {
			k = &Key{Type: p.Auth, ID: p.KeyID}
		}
		n := p.Encode(out, k)
		if err := back.Decode(out[:n]); err != nil || back != p {
			t.Fatalf("%+v came back as %+v: %v", p, back, err)
		}
		s := NewSession(p.YourDiscr|1, fast, k, random(), 0)
		_ = s.Receive(&p, in, time.Second)
		s.Advance(time.Hour)
		s.Send(out, time.Hour)
		_, _ = Reflect(in, p.YourDiscr, msec)
	})
}

// TestSeamless: an initiator is up as long as a reflector answers, knows round trip and loss, and takes nothing for an
// answer that is none.
func TestSeamless(t *testing.T) {
	vtep := SeamlessDiscr(netip.MustParseAddr("200.200.0.2"))
	i := NewInitiator(50*msec, 3, random(), 0)
	var b [MaxLen]byte
	now, lose, rtt := time.Duration(0), false, 4*msec
	var last []byte
	run := func(d time.Duration) {
		for end := now + d; ; {
			next := i.Next()
			if next > end {
				now = end
				return
			}
			now = max(now, next)
			i.Advance(now)
			id := i.Ask(now)
			if id == 0 {
				continue
			}
			n := i.Request(b[:], id, vtep)
			m, err := Reflect(b[:n], vtep, msec)
			if err != nil {
				t.Fatal(err)
			}
			last = append(last[:0], b[:m]...)
			if lose {
				continue
			}
			if err := i.Reply(b[:m], vtep, now+rtt); err != nil {
				t.Fatal(err)
			}
			if err := i.Reply(last, vtep, now+rtt); err == nil {
				t.Fatal("an answer is taken twice")
			}
		}
	}
	run(10 * time.Second)
	if st, _ := i.State(); st != Up {
		t.Fatalf("state %v, want up", st)
	}
	if got, loss, n := i.Stats(now); got != rtt || loss != 0 || n < 100 {
		t.Errorf("round trip %v, loss %v of %d; want %v and none of over 100", got, loss, n, rtt)
	}
	lose = true
	begin := now
	for st := Up; st == Up; st, _ = i.State() {
		run(msec)
	}
	if d := now - begin; d < 100*msec || d > 155*msec {
		t.Errorf("down after %v, want 150ms after the last answer", d)
	}
	sent, _ := i.Counts()
	run(10 * time.Second)
	if after, _ := i.Counts(); after-sent > 14 {
		t.Errorf("%d questions in 10 s of silence, want one a second (RFC 5880 §6.8.3)", after-sent)
	}
	if _, loss, _ := i.Stats(now); loss < 0.05 {
		t.Errorf("loss %v of what was not answered", loss)
	}
	for name, change := range map[string]func(p *Packet){
		"number":        func(p *Packet) { p.YourDiscr ^= 1 << 20 },
		"discriminator": func(p *Packet) { p.MyDiscr++ },
		"a question":    func(p *Packet) { p.Demand = true },
		"down":          func(p *Packet) { p.State = Down },
	} {
		var p Packet
		if err := p.Decode(last); err != nil {
			t.Fatal(err)
		}
		change(&p)
		n := p.Encode(b[:], nil)
		if err := i.Reply(b[:n], vtep, now); err == nil {
			t.Errorf("an answer with the wrong %s is taken", name)
		}
	}
	p := Packet{State: AdminDown, DetectMult: 3, MyDiscr: vtep}
	if err := p.Decode(last); err != nil {
		t.Fatal(err)
	}
	p.State = AdminDown
	n := p.Encode(b[:], nil)
	if err := i.Reply(b[:n], vtep, now); err != nil || !i.RemoteAdminDown() {
		t.Errorf("admin down: %v", err)
	}
}

// TestReflect: only a question to this discriminator, without authentication, is answered; an answer is not (two reflectors
// would else answer each other for ever).
func TestReflect(t *testing.T) {
	for name, c := range map[string]struct {
		p  Packet
		k  *Key
		ok bool
	}{
		"question":      {Packet{State: Down, Demand: true, DetectMult: 3, MyDiscr: 5, YourDiscr: 9}, nil, true},
		"poll":          {Packet{State: Up, Demand: true, Poll: true, DetectMult: 3, MyDiscr: 5, YourDiscr: 9}, nil, true},
		"answer":        {Packet{State: Up, DetectMult: 3, MyDiscr: 5, YourDiscr: 9}, nil, false},
		"discriminator": {Packet{State: Down, Demand: true, DetectMult: 3, MyDiscr: 5, YourDiscr: 8}, nil, false},
		"authenticated": {Packet{State: Down, Demand: true, DetectMult: 3, MyDiscr: 5, YourDiscr: 9}, key(t, KeyedSHA1), false},
	} {
		b := make([]byte, MaxLen)
		n := c.p.Encode(b, c.k)
		m, err := Reflect(b[:n], 9, 10*msec)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !c.ok {
			continue
		}
		var got Packet
		if err := got.Decode(b[:m]); err != nil {
			t.Fatal(err)
		}
		want := Packet{State: Up, Final: c.p.Poll, DetectMult: 3, MyDiscr: 9, YourDiscr: 5, RequiredMinRx: 10 * msec}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestNoGarbage: none of what happens all the time allocates memory.
func TestNoGarbage(t *testing.T) {
	var b [MaxLen]byte
	k := key(t, MeticulousKeyedSHA1)
	x, y := NewSession(11, fast, k, random(), 0), NewSession(22, fast, k, random(), 0)
	i := NewInitiator(50*msec, 3, random(), 0)
	now := time.Duration(0)
	var p Packet
	if n := testing.AllocsPerRun(1000, func() {
		now += 50 * msec
		for _, way := range [2][2]*Session{{x, y}, {y, x}} {
			way[0].Advance(now)
			if n := way[0].Send(b[:], now); n > 0 && p.Decode(b[:n]) == nil {
				_ = way[1].Receive(&p, b[:n], now)
			}
		}
		if id := i.Ask(now); id != 0 {
			n := i.Request(b[:], id, 9)
			n, _ = Reflect(b[:n], 9, msec)
			_ = i.Reply(b[:n], 9, now)
		}
		i.Advance(now)
	}); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
	if st, _ := i.State(); x.State() != Up || st != Up {
		t.Errorf("states %v and %v, want up", x.State(), st)
	}
}
