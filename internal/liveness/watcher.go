package liveness

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/bfd"
)

// watched is a remote.
type watched struct {
	remote Remote
	set    Settings
	begun  time.Duration
	retry  time.Duration // when sockets that could not be opened are tried again
	// problem is why they could not.
	problem error

	sb     *bfd.Initiator // nil where S-BFD is not used
	sbFD   int
	sbLast time.Duration // when it was answered last
	echo   *bfd.Initiator
	echoTo *unix.SockaddrInet4

	session *bfd.Session
	bfdFD   int
	everUp  bool

	now   judged
	since time.Duration
	flaps uint64
}

// local is a tunnel IP of this host.
type local struct {
	ip      netip.Addr
	discr   uint32
	remotes int
	// File descriptors, -1 where there is none.
	reflector, single, multi, icmp int
	problem                        error // why the reflector has none
}

// end is what a file descriptor is for; one of the two is nil.
type end struct {
	local *local
	of    *watched
}

// change of a remote's state, for the log.
type change struct {
	remote Remote
	was    judged
	now    judged
}

// Watcher watches remotes.
type Watcher struct {
	log   *slog.Logger
	begin time.Time
	ep    int
	wake  int // eventfd
	ident uint16
	rand  *rand.Rand

	mu        sync.Mutex
	rules     Rules
	list      []*watched
	remotes   map[Remote]*watched
	locals    map[netip.Addr]*local
	discrs    map[uint32]*watched // sessions of BFD
	ends      map[int32]end
	unwatched int
	problem   error

	in                 *inbox
	out                [bfd.MaxLen]byte
	echoOut            [echoLen]byte
	to                 unix.SockaddrInet4
	refused, reflected uint64
	latest             time.Duration
	came               time.Duration // when the loop came round last
	changes            chan change
	packet             bfd.Packet
}

// drainMost is how many packets of a socket are taken at once: about what its queue can hold, so that a flood at one
// socket keeps no timer waiting for good.
const drainMost = 256

// retryEvery is how often sockets are tried that could not be opened.
const retryEvery = time.Second

// NewWatcher makes one that watches nothing yet.
func NewWatcher(log *slog.Logger) (*Watcher, error) {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // it never fails
	w := &Watcher{
		log: log, begin: time.Now(), rand: rand.New(rand.NewChaCha8(seed)), //nolint:gosec // ChaCha8 with a random seed
		remotes: map[Remote]*watched{}, locals: map[netip.Addr]*local{}, discrs: map[uint32]*watched{}, ends: map[int32]end{},
		in: newInbox(), changes: make(chan change, 4*MaxRemotes),
	}
	w.ident = uint16(w.rand.Uint32())
	var err error
	if w.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(w.ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := unix.EpollCtl(w.ep, unix.EPOLL_CTL_ADD, w.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.wake)}); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return w, nil
}

func (l *Watcher) clock() time.Duration { return time.Since(l.begin) }

// Watch has these remotes watched by these rules, and no others. What is watched already goes on as it is.
func (l *Watcher) Watch(remotes []Remote, rules Rules, problem error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.kick()
	l.problem = problem
	if problem == nil {
		want := map[Remote]bool{}
		slices.SortFunc(remotes, Remote.compare)
		remotes = slices.Compact(remotes)
		l.unwatched = max(0, len(remotes)-MaxRemotes)
		for _, r := range remotes[:min(len(remotes), MaxRemotes)] {
			want[r] = true
		}
		for r, w := range l.remotes {
			if !want[r] {
				l.drop(w)
			}
		}
		for r := range want {
			if l.remotes[r] == nil {
				l.add(r, rules.of(r.VTEP))
			}
		}
	}
	l.rules = rules
	for _, w := range l.remotes {
		l.change(w, rules.of(w.remote.VTEP))
	}
	l.list = l.list[:0]
	for _, w := range l.remotes {
		l.list = append(l.list, w)
	}
	slices.SortFunc(l.list, func(a, b *watched) int { return a.remote.compare(b.remote) })
}

func (l *Watcher) kick() {
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// add begins to watch.
func (l *Watcher) add(r Remote, set Settings) {
	now := l.clock()
	w := &watched{remote: r, sbFD: -1, bfdFD: -1, begun: now, since: now, echoTo: sockaddr(netip.AddrPortFrom(r.VTEP, 0))}
	l.remotes[r] = w
	lo := l.locals[r.TunnelIP]
	if lo == nil {
		lo = &local{ip: r.TunnelIP, discr: bfd.SeamlessDiscr(r.TunnelIP), reflector: -1, single: -1, multi: -1, icmp: -1}
		l.locals[r.TunnelIP] = lo
	}
	lo.remotes++
	l.setUp(w, set, now)
}

// setUp makes what the settings ask for; sockets follow.
func (l *Watcher) setUp(w *watched, set Settings, now time.Duration) {
	w.set, w.begun, w.retry, w.problem = set, now, now, nil
	every, mult := echoTimers(set)
	switch set.Means {
	case Auto, SBFD:
		w.sb = bfd.NewInitiator(set.Interval, set.Mult, l.rand, now)
	case BFD, BFDMultihop:
		discr := l.rand.Uint32()
		for discr == 0 || l.discrs[discr] != nil {
			discr = l.rand.Uint32()
		}
		var key *bfd.Key
		if set.Key != (bfd.Key{}) {
			key = &set.Key
		}
		w.session = bfd.NewSession(discr, timers(set), key, l.rand, now)
		l.discrs[discr] = w
	case ICMP, None:
	}
	if set.Means != None && set.Means != SBFD {
		w.echo = bfd.NewInitiator(every, mult, l.rand, now)
	}
	w.now = w.judge(now)
	w.since = now
}

func timers(s Settings) bfd.Timers {
	return bfd.Timers{DesiredMinTx: s.Interval, RequiredMinRx: s.Interval, DetectMult: s.Mult}
}

func echoTimers(s Settings) (time.Duration, uint8) {
	return max(s.Interval, echoInterval), max(s.Mult, echoMult)
}

// change of settings: timers change on the run, all else begins anew.
func (l *Watcher) change(w *watched, set Settings) {
	if w.set == set {
		return
	}
	now := l.clock()
	was := w.set
	was.Interval, was.Mult = set.Interval, set.Mult
	if was != set {
		l.takeDown(w)
		l.setUp(w, set, now)
		return
	}
	w.set = set
	if w.sb != nil {
		w.sb.SetTimers(set.Interval, set.Mult, now)
	}
	if w.echo != nil {
		every, mult := echoTimers(set)
		w.echo.SetTimers(every, mult, now)
	}
	if w.session != nil {
		w.session.SetTimers(timers(set), now)
	}
}

// takeDown ends how w is watched.
func (l *Watcher) takeDown(w *watched) {
	l.shut(&w.sbFD)
	if w.session != nil {
		// The other side is told, so that it takes nobody for dead.
		w.session.SetAdminDown(true, l.clock())
		l.sendBFD(w, l.clock())
		delete(l.discrs, w.session.Discr())
	}
	l.shut(&w.bfdFD)
	w.sb, w.echo, w.session, w.everUp = nil, nil, nil, false
}

func (l *Watcher) drop(w *watched) {
	l.takeDown(w)
	delete(l.remotes, w.remote)
	lo := l.locals[w.remote.TunnelIP]
	if lo.remotes--; lo.remotes == 0 {
		for _, fd := range []*int{&lo.reflector, &lo.single, &lo.multi, &lo.icmp} {
			l.shut(fd)
		}
		delete(l.locals, lo.ip)
	}
}

func (l *Watcher) shut(fd *int) {
	if *fd >= 0 {
		delete(l.ends, int32(*fd))
		unix.Close(*fd)
		*fd = -1
	}
}

// open opens a socket that is not open yet.
func (l *Watcher) open(fd *int, e end, how func() (int, error)) error {
	if *fd >= 0 {
		return nil
	}
	n, err := how()
	if err != nil {
		return err
	}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, n, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(n)}); err != nil {
		unix.Close(n)
		return fmt.Errorf("epoll: %w", err)
	}
	*fd, l.ends[int32(n)] = n, e
	return nil
}

// reopen opens what is missing of w's sockets, and of those of its tunnel IP.
func (l *Watcher) reopen(w *watched, now time.Duration) {
	w.retry = never
	if w.set.Means == None {
		return
	}
	lo := l.locals[w.remote.TunnelIP]
	bound := func(port uint16) func() (int, error) {
		return func() (int, error) { return udpSocket(netip.AddrPortFrom(lo.ip, port), netip.AddrPort{}) }
	}
	var err error
	note := func(e error) {
		if err == nil {
			err = e
		}
	}
	if w.sb != nil {
		note(l.open(&w.sbFD, end{of: w}, func() (int, error) {
			return udpSocket(netip.AddrPortFrom(lo.ip, 0), netip.AddrPortFrom(w.remote.VTEP, bfd.SeamlessPort))
		}))
	}
	if w.echo != nil {
		note(l.open(&lo.icmp, end{local: lo}, func() (int, error) { return icmpSocket(lo.ip, l.ident) }))
	}
	if w.session != nil {
		port, fd := uint16(bfd.MultihopPort), &lo.multi
		if w.set.Means == BFD {
			port, fd = bfd.SingleHopPort, &lo.single
		}
		note(l.open(fd, end{local: lo}, bound(port)))
		note(l.open(&w.bfdFD, end{of: w}, func() (int, error) { return bfdSocket(lo.ip, w.remote.VTEP, port, l.rand) }))
	}
	lo.problem = l.open(&lo.reflector, end{local: lo}, bound(bfd.SeamlessPort))
	if w.problem = err; err != nil || lo.problem != nil {
		w.retry = now + retryEvery
	}
}

const never = time.Duration(1<<63 - 1)

// Run watches until ctx ends.
func (l *Watcher) Run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, l.kick)
	defer stop()
	var events [128]unix.EpollEvent
	n := 0
	for ctx.Err() == nil {
		wait := l.round(events[:n])
		var err error
		if n, err = unix.EpollWait(l.ep, events[:], wait); err != nil {
			n = 0 // interrupted
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.remotes {
		l.drop(w)
	}
	unix.Close(l.ep)
	unix.Close(l.wake)
	close(l.changes)
}

// round takes what has come, then does what is due, and returns for how many milliseconds nothing is.
func (l *Watcher) round(events []unix.EpollEvent) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		l.drain(int(events[i].Fd))
	}
	now := l.clock()
	next := now + time.Second
	for _, w := range l.list {
		next = min(next, l.turn(w, now))
	}
	l.came = l.clock()
	left := next - l.came
	if left <= 0 {
		return 0
	}
	return int((left + time.Millisecond - 1) / time.Millisecond)
}

// turn does what is due of w, and returns when something is next.
func (l *Watcher) turn(w *watched, now time.Duration) time.Duration {
	if now >= w.retry {
		l.reopen(w, now)
	}
	next := w.retry
	if w.sb != nil {
		l.late(w.sb.Next(), now)
		w.sb.Advance(now)
		if id := w.sb.Ask(now); id != 0 && w.sbFD >= 0 {
			n := w.sb.Request(l.out[:], id, bfd.SeamlessDiscr(w.remote.VTEP))
			_, _ = unix.Write(w.sbFD, l.out[:n]) // what cannot be sent is not answered
		}
		next = min(next, w.sb.Next())
	}
	if w.echo != nil {
		w.echo.Advance(now)
		// Where S-BFD is answered, nobody needs the echo.
		if w.sb == nil || w.now.means != SBFD || w.now.state != Up {
			l.sendEcho(w, now)
			next = min(next, w.echo.Next())
		}
	}
	if w.session != nil {
		l.late(w.session.Next(), now)
		w.session.Advance(now)
		l.sendBFD(w, now)
		next = min(next, w.session.Next())
	}
	l.judge(w, now)
	return next
}

// late keeps how late the process came to a timer; 0 stands for "at once".
func (l *Watcher) late(due, now time.Duration) {
	if due > 0 && due < now {
		l.latest = max(l.latest, now-due)
	}
}

func (l *Watcher) sendEcho(w *watched, now time.Duration) {
	id := w.echo.Ask(now)
	if id == 0 {
		return
	}
	if fd := l.locals[w.remote.TunnelIP].icmp; fd >= 0 {
		echo(&l.echoOut, l.ident, uint16(id%bfd.Asked), id)
		_ = unix.Sendto(fd, l.echoOut[:], unix.MSG_DONTWAIT, w.echoTo)
	}
}

func (l *Watcher) sendBFD(w *watched, now time.Duration) {
	for {
		n := w.session.Send(l.out[:], now)
		if n == 0 {
			return
		}
		if w.bfdFD >= 0 {
			_, _ = unix.Write(w.bfdFD, l.out[:n])
		}
	}
}

// judge notes a new state.
func (l *Watcher) judge(w *watched, now time.Duration) {
	j := w.judge(now)
	if j == w.now {
		return
	}
	was := w.now
	w.now = j
	if was.state == j.state {
		return
	}
	w.since = now
	if was.state == Up && j.state == Down {
		w.flaps++
	}
	select {
	case l.changes <- change{remote: w.remote, was: was, now: j}:
	default: // the log is behind
	}
}

// drain takes what is in a socket.
func (l *Watcher) drain(fd int) {
	if fd == l.wake {
		var b [8]byte
		_, _ = unix.Read(fd, b[:])
		return
	}
	e := l.ends[int32(fd)]
	if e == (end{}) {
		return
	}
	for range drainMost {
		ok, more := l.in.receive(fd)
		if ok {
			l.take(e, fd, l.clock())
		}
		if !more {
			return
		}
	}
}

func (l *Watcher) take(e end, fd int, now time.Duration) {
	switch {
	case e.of != nil && fd == e.of.sbFD:
		if e.of.sb.Reply(l.in.data(), bfd.SeamlessDiscr(e.of.remote.VTEP), now) != nil {
			l.refused++
			return
		}
		e.of.sbLast = now
	case e.of != nil: // BFD is taken at its port alone
	case fd == e.local.icmp:
		w := l.remotes[Remote{e.local.ip, l.in.from}]
		if id, ok := echoed(l.in.data(), l.ident); ok && w != nil && w.echo != nil {
			w.echo.Answer(id, bfd.Up, now)
		}
	case fd == e.local.reflector:
		l.reflect(e.local, fd)
	default:
		l.takeBFD(e.local, fd == e.local.single, now)
	}
}

// minReflected is what the reflector says that it takes.
const minReflected = 10 * time.Millisecond

// reflect answers a remote's S-BFD, and nobody else's.
func (l *Watcher) reflect(lo *local, fd int) {
	if l.remotes[Remote{lo.ip, l.in.from}] == nil {
		l.refused++
		return
	}
	n, err := bfd.Reflect(l.in.data(), lo.discr, minReflected)
	if err != nil {
		l.refused++
		return
	}
	l.reflected++
	l.in.reply(fd, l.in.buf[:n], &l.to)
}

// takeBFD finds the session of a control packet (RFC 5880 §6.8.6). Its addresses must be the session's, whatever its
// discriminator; and a single-hop one comes from the link alone (RFC 5881 §5).
func (l *Watcher) takeBFD(lo *local, single bool, now time.Duration) {
	err := l.packet.Decode(l.in.data())
	w := l.remotes[Remote{lo.ip, l.in.from}]
	if err != nil || w == nil || w.session == nil || single != (w.set.Means == BFD) || single && l.in.ttl != bfd.TTL {
		l.refused++
		return
	}
	if err := w.session.Receive(&l.packet, l.in.data(), now); err != nil {
		l.refused++
		return
	}
	if w.session.State() == bfd.Up {
		w.everUp = true
	}
}

// Log writes changes down until Run has ended.
func (l *Watcher) Log() {
	for c := range l.changes {
		l.mu.Lock()
		text := ""
		if w := l.remotes[c.remote]; w != nil {
			text = w.words(c.now)
		}
		l.mu.Unlock()
		l.log.Info("remote VTEP", "vtep", c.remote.VTEP, "tunnel_ip", c.remote.TunnelIP, "was", c.was.state, "is", c.now.state, "why", text)
	}
}

// patience is how long the loop, which comes round once a second at least, may take for the process to be healthy.
const patience = 10 * time.Second

// Alive tells whether the loop comes round.
func (l *Watcher) Alive(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if late := l.clock() - l.came; late > patience {
		return fmt.Errorf("the loop has not come round for %v", late.Round(time.Second))
	}
	return nil
}

// Status is what is known now.
func (l *Watcher) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, at := l.clock(), time.Now()
	s := Status{Refused: l.refused, Reflected: l.reflected, LatestMS: ms(l.latest), Unwatched: l.unwatched, Remotes: make([]RemoteStatus, 0, len(l.list))}
	if l.problem != nil {
		s.Problem = l.problem.Error()
	}
	for _, w := range l.list {
		s.Remotes = append(s.Remotes, w.status(now, at))
		if p := l.locals[w.remote.TunnelIP].problem; p != nil && s.Problem == "" {
			s.Problem = "S-BFD of others is not answered: " + p.Error()
		}
	}
	return s
}
