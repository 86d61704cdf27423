package hostnet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Change says what has changed in the host's network since the last one was
// taken. It tells where to look, not what is there: the reader looks itself, so
// that nothing depends on the order or the number of events.
type Change struct {
	// Links are the names that an interface has got, lost or changed something
	// under. AllLinks: too many, or events were lost; look at every one.
	Links    map[string]struct{}
	AllLinks bool
	Addrs    bool // IPv4 addresses
	Routes   bool // IPv4 routes or rules
	Defaults bool // default routes, of any table
	Conf     bool // forwarding switches
}

// All says to look at everything.
func All() Change {
	return Change{AllLinks: true, Addrs: true, Routes: true, Defaults: true, Conf: true}
}

func (c Change) empty() bool {
	return len(c.Links) == 0 && !c.AllLinks && !c.Addrs && !c.Routes && !c.Defaults && !c.Conf
}

// maxChangedLinks bounds what a reader that is busy finds waiting.
const maxChangedLinks = 4096

func (c *Change) link(name string) {
	if c.AllLinks {
		return
	}
	if len(c.Links) >= maxChangedLinks {
		c.Links, c.AllLinks = nil, true
		return
	}
	if c.Links == nil {
		c.Links = make(map[string]struct{})
	}
	c.Links[name] = struct{}{}
}

// Watcher collects changes until they are taken.
type Watcher struct {
	sock  *nl.NetlinkSocket
	ready chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	pending Change
	names   map[int]string // index → name, to know the old name of a renamed one
	err     error
}

// routing netlink groups (linux/rtnetlink.h, enum rtnetlink_groups)
const (
	groupLink    = 1
	groupAddr4   = 5
	groupRoute4  = 7
	groupRule4   = 8
	groupConf4   = 24
	msgNewConf   = 80 // RTM_NEWNETCONF
	msgDelConf   = 81 // RTM_DELNETCONF
	watchRecvBuf = 4 << 20
)

// Watch begins to collect changes; what happens after its return is not missed. It ends
// with ctx, or with an error that Err tells after Ready's channel has closed.
func (h *Host) Watch(ctx context.Context) (*Watcher, error) {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, groupLink, groupAddr4, groupRoute4, groupRule4, groupConf4)
	if err != nil {
		return nil, fmt.Errorf("subscribe to netlink events: %w", err)
	}
	// An overrun is survived by looking at everything, so a refusal is not fatal.
	if err := sock.SetReceiveBufferSize(watchRecvBuf, true); err != nil {
		h.log.Debug("netlink receive buffer stays small", "err", err)
	}
	// The library's Receive does not end when the socket is closed; it wakes up
	// now and then to see whether it should.
	if err := sock.SetReceiveTimeout(&unix.Timeval{Usec: 250_000}); err != nil {
		sock.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	w := &Watcher{sock: sock, ready: make(chan struct{}, 1), done: make(chan struct{}), names: map[int]string{}}
	ls, err := h.Links()
	if err != nil {
		sock.Close()
		return nil, err
	}
	for _, l := range ls {
		w.names[l.Index] = l.Name
	}
	go w.run(ctx, h)
	return w, nil
}

// Ready gets a value when there is something to take; it is closed at the end.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Take returns what has changed and forgets it.
func (w *Watcher) Take() Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.pending
	w.pending = Change{}
	return c
}

// Wait waits until the watcher has ended.
func (w *Watcher) Wait() { <-w.done }

// Err is why the watcher ended; nil where it was told to. It waits for the end.
func (w *Watcher) Err() error {
	<-w.done
	return w.err
}

func (w *Watcher) run(ctx context.Context, h *Host) {
	defer close(w.done)
	defer close(w.ready)
	defer w.sock.Close()
	for ctx.Err() == nil {
		msgs, _, err := w.sock.Receive()
		switch {
		case err == nil:
			w.mu.Lock()
			for _, m := range msgs {
				w.note(m.Header.Type, unix.NlMsghdr(m.Header), m.Data)
			}
			w.mu.Unlock()
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			h.log.Warn("netlink events were lost, looking at everything")
			w.mu.Lock()
			w.pending = All()
			w.mu.Unlock()
		default:
			w.err = fmt.Errorf("receive netlink events: %w", err)
			return
		}
		w.mu.Lock()
		some := !w.pending.empty()
		w.mu.Unlock()
		if some {
			select {
			case w.ready <- struct{}{}:
			default: // the reader has not taken the last ones yet
			}
		}
	}
}

func (w *Watcher) note(typ uint16, hdr unix.NlMsghdr, data []byte) {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(data) < unix.SizeofIfInfomsg {
			return
		}
		l, err := netlink.LinkDeserialize(&hdr, data)
		if err != nil {
			w.pending.Links, w.pending.AllLinks = nil, true
			return
		}
		a := l.Attrs()
		old, known := w.names[a.Index]
		if known && old != a.Name {
			w.pending.link(old)
		}
		if a.Name != "" {
			w.pending.link(a.Name)
		}
		if typ == unix.RTM_DELLINK {
			// A bridge port that leaves its bridge says so with an RTM_DELLINK
			// of family AF_BRIDGE and still exists.
			if data[0] == unix.AF_UNSPEC {
				delete(w.names, a.Index)
			}
			return
		}
		w.names[a.Index] = a.Name
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		w.pending.Addrs = true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		w.pending.Routes = true
		if len(data) > 1 && data[1] == 0 { // struct rtmsg: rtm_dst_len
			w.pending.Defaults = true
		}
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		w.pending.Routes = true
	case msgNewConf, msgDelConf:
		w.pending.Conf = true
	}
}

// settle is how long a burst of events is gathered before it is looked at where
// looking is dear.
const settle = 2 * time.Millisecond

// Settle waits shortly, so that the events of one act (a device made, addressed
// and set up) are taken together.
func Settle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(settle):
	}
}
