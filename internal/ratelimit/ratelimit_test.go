package ratelimit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(0, 0)
	l := New(2, 3, func() time.Time { return now })
	take := func(client string, want bool, wait time.Duration) {
		t.Helper()
		if w, ok := l.Take(client); ok != want || w != wait {
			t.Errorf("%s at %v: %v, %v; want %v, %v", client, now.Unix(), ok, w, want, wait)
		}
	}
	for range 3 {
		take("a", true, 0)
	}
	take("a", false, time.Second/2)
	take("b", true, 0) // another's bucket
	now = now.Add(time.Second / 2)
	take("a", true, 0)
	l.Give("a")
	take("a", true, 0) // what was given back
	take("a", false, time.Second/2)
	now = now.Add(time.Hour)
	for range 3 { // never more than the burst
		take("a", true, 0)
	}
	l.Give("b")
	l.Give("b")
	for range 3 {
		take("b", true, 0)
	}
	take("b", false, time.Second/2) // nor by what is given back
	take("a", false, time.Second/2)
	now = now.Add(-time.Hour) // a clock that goes back gives nothing
	take("a", false, time.Second/2)
}

func TestTableIsBounded(t *testing.T) {
	l := New(1, 1, nil)
	for i := range maxClients + 10 {
		l.Take(fmt.Sprint(i))
		if i%2 == 0 {
			l.Take("0") // stays, because it comes again and again
		}
	}
	if l.Clients() != maxClients || len(l.clients) != maxClients {
		t.Errorf("%d clients, want %d", l.Clients(), maxClients)
	}
	if l.clients["0"] == nil || l.clients["1"] != nil {
		t.Error("who was away longest is not who was forgotten")
	}
	if l.Give("nobody"); l.Clients() != maxClients {
		t.Error("what nobody took was given back to somebody")
	}
}

func TestNoLimit(t *testing.T) {
	l := New(0, 1, nil)
	for range 100 {
		if _, ok := l.Take("a"); !ok {
			t.Fatal("limited")
		}
	}
	l.Give("a")
	if l.Clients() != 0 {
		t.Error("no limit keeps somebody")
	}
}

func TestOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "::1": "::/64",
		"2001:db8:0:1::7": "2001:db8:0:1::/64", "2001:db8:0:1:ffff::": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Origin(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if Origin(netip.Addr{}).IsValid() {
		t.Error("no address has an origin")
	}
}
