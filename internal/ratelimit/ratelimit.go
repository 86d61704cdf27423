// Package ratelimit keeps each of many clients to a rate: a token bucket for each,
// in a table of bounded size.
package ratelimit

import (
	"container/list"
	"math"
	"net/netip"
	"sync"
	"time"
)

// maxClients bounds the table. The client that has been away longest is forgotten
// first; back again, it has a full bucket, as it would have had after a while.
const maxClients = 16_384

// Limiter keeps clients to a rate. The nil Limiter keeps nobody. Its methods may be
// called from many goroutines.
type Limiter struct {
	rate, burst float64
	now         func() time.Time

	mu      sync.Mutex
	clients map[string]*list.Element
	order   *list.List // of *bucket, the latest client first
}

type bucket struct {
	client string
	tokens float64
	at     time.Time // when tokens was right
}

// New makes a Limiter: rate requests a second, burst at once. A rate of 0 is no
// limit: it makes nil. now is the clock; nil: time.Now.
func New(rate float64, burst int, now func() time.Time) *Limiter {
	if rate <= 0 {
		return nil
	}
	if now == nil {
		now = time.Now
	}
	return &Limiter{rate: rate, burst: math.Max(float64(burst), 1), now: now, clients: map[string]*list.Element{}, order: list.New()}
}

// Take takes a token from the client's bucket. Where there is none, it says after
// how long there will be one.
func (l *Limiter) Take(client string) (wait time.Duration, ok bool) {
	if l == nil {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	e := l.clients[client]
	if e == nil {
		if l.order.Len() >= maxClients {
			last := l.order.Back()
			delete(l.clients, last.Value.(*bucket).client)
			l.order.Remove(last)
		}
		e = l.order.PushFront(&bucket{client: client, tokens: l.burst, at: now})
		l.clients[client] = e
	} else {
		l.order.MoveToFront(e)
	}
	b := e.Value.(*bucket)
	if past := now.Sub(b.at); past > 0 {
		b.tokens = math.Min(l.burst, b.tokens+past.Seconds()*l.rate)
	}
	b.at = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / l.rate * float64(time.Second)), false
	}
	b.tokens--
	return 0, true
}

// Give gives a token back that Take has taken, for a request that turned out to be
// another client's.
func (l *Limiter) Give(client string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.clients[client]; e != nil { // else it is forgotten, and its bucket full
		b := e.Value.(*bucket)
		b.tokens = math.Min(l.burst, b.tokens+1)
	}
}

// Origin is the client that an address stands for: with IPv6 all addresses of a /64,
// which whoever is in it may take as they like.
func Origin(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}

// Clients is how many the table holds.
func (l *Limiter) Clients() int {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.order.Len()
}
