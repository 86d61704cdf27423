package keystone

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestFloodOfBadTokens: an address that brings many bad tokens, which Keystone is slow
// to refuse, keeps neither other addresses out nor users whom Keystone has vouched for
// before; that its questions wait is no outage; and a token that has been revoked stops
// after CacheTime all the same.
func TestFloodOfBadTokens(t *testing.T) {
	s := start(t)
	for _, name := range []string{"first", "known", "revoked"} {
		s.grant(name, "p1", s.now().Add(time.Hour), "member")
		s.wants(name, 200)
	}
	s.grant("new", "p1", s.now().Add(time.Hour), "member")
	s.pass(time.Minute) // CacheTime
	hold := make(chan struct{})
	s.do(func() {
		delete(s.tokens, "revoked")
		s.hold = hold
	})
	var wg sync.WaitGroup
	var full atomic.Int32
	for i := range callsEach + 3*queueEach {
		wg.Go(func() {
			_, err := s.request(fmt.Sprint("bad", i))
			switch model.KindOf(err) {
			case model.KindUnavailable:
				full.Add(1)
			case model.KindUnauthenticated:
			default:
				t.Error(err)
			}
		})
	}
	for range callsEach {
		testutil.Receive(t, "a question about a bad token", s.holding)
	}
	testutil.Eventually(t, "the rest to wait or to be sent away", func() bool {
		return s.calls.Waiting() == queueEach && full.Load() == 2*queueEach
	})
	for _, x := range []struct {
		address, token string
		good           bool
	}{
		{"198.51.100.1:1", "new", true}, {"192.0.2.1:1", "known", true}, {"192.0.2.1:1", "revoked", false},
	} {
		wg.Go(func() {
			_, err := s.requestFrom(x.address, x.token)
			if (err == nil) != x.good || err != nil && model.KindOf(err) != model.KindUnauthenticated {
				t.Errorf("%s: %v", x.token, err)
			}
		})
		testutil.Receive(t, "the question about "+x.token, s.holding)
	}
	s.do(func() { s.hold = nil })
	close(hold)
	testutil.Wait(t, "the answers", wg.Wait)
	if n := s.counts.asked["unavailable"]; n != 0 {
		t.Errorf("%d questions that waited were taken for an outage", n)
	}
	s.wants("bad0", 401)
}

// TestShortStall: Keystone is asked again soon after it did not answer, one question at
// a time, and its first answer ends the outage for all.
func TestShortStall(t *testing.T) {
	var stalled atomic.Bool
	var asked atomic.Int32
	s := rogue(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if stalled.Load() {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNotFound)
	})
	s.wants("one", 401)
	stalled.Store(true)
	s.wants("two", 503)
	asked.Store(0)
	for i := range 5 {
		s.wants(fmt.Sprint("three", i), 503)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("asked %d times at the moment that it did not answer", n)
	}
	s.pass(pause)
	s.wants("four", 503)
	s.wants("five", 503)
	if n := asked.Load(); n > 2 { // a request that the connection broke for is sent again
		t.Errorf("asked %d times", n)
	}
	stalled.Store(false)
	s.pass(time.Second / 2)
	for i := range 5 {
		s.wants(fmt.Sprint("six", i), 401)
	}
}

// TestRecognize: who need not be asked about is known without; of others nothing is
// said, nor is anybody asked.
func TestRecognize(t *testing.T) {
	s := start(t)
	s.grant("good", "p1", s.now().Add(2*time.Minute), "member")
	is := func(token string, want bool) {
		t.Helper()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Auth-Token", token)
		if c, ok := s.Recognize(r); ok != want || ok && c.UserID != "u1" {
			t.Errorf("%s: %+v, %v", token, c, ok)
		}
	}
	is("good", false)
	is("", false)
	if s.askedFor("good") != 0 {
		t.Error("Keystone was asked")
	}
	s.wants("good", 200)
	is("good", true)
	s.pass(time.Minute)
	is("good", false)
	s.wants("good", 200)
	is("good", true)
	s.pass(time.Minute) // its end
	is("good", false)
}
