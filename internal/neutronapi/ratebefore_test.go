package neutronapi_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/ratelimit"
	"github.com/causeway-net/causeway/internal/testutil"
)

// slowKeystone is asked about each token and takes its time; it knows "good" without.
type slowKeystone struct {
	asked chan string
	hold  chan struct{}
}

func (k slowKeystone) Authenticate(r *http.Request) (identity.Caller, error) {
	token := r.Header.Get("X-Auth-Token")
	k.asked <- token
	<-k.hold
	if token == "new" {
		return identity.Caller{UserID: "new", ProjectID: "p", Roles: []string{"member"}}, nil
	}
	return identity.Caller{}, model.Errf(model.KindUnauthenticated, "Unauthorized", "no")
}

func (k slowKeystone) Recognize(r *http.Request) (identity.Caller, bool) {
	return identity.Caller{UserID: "good", ProjectID: "p", Roles: []string{"member"}}, r.Header.Get("X-Auth-Token") == "good"
}

func (slowKeystone) Challenge() string { return "" }

// TestRateBeforeKeystone: an address takes from its bucket before anybody is asked about
// its tokens, however many it brings at once; who is known is not kept out by that, and
// who turns out to be somebody pays from the own bucket.
func TestRateBeforeKeystone(t *testing.T) {
	k := slowKeystone{make(chan string, 100), make(chan struct{})}
	s := newAuthServer(t, nil, func(o *neutronapi.Options) {
		o.Authenticator = k
		o.Limiter = ratelimit.New(0.001, 3, func() time.Time { return time.Unix(0, 0) })
	})
	get := func(token string) int {
		r := httptest.NewRequest("GET", "/v2.0/networks", nil)
		r.Header.Set("X-Auth-Token", token)
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		return w.Code
	}
	answers := make(chan int, 100)
	var wg sync.WaitGroup
	for _, token := range []string{"new", "bad", "bad", "bad", "bad", "bad", "bad"} {
		wg.Go(func() { answers <- get(token) })
		if token == "new" {
			testutil.Receive(t, "the question about it", k.asked)
		}
	}
	for range 2 {
		testutil.Receive(t, "a question", k.asked)
	}
	for range 4 {
		if status := testutil.Receive(t, "an answer", answers); status != 429 {
			t.Errorf("%d beyond the bucket", status)
		}
	}
	if len(k.asked) != 0 {
		t.Errorf("%d more were asked about", len(k.asked))
	}
	for range 3 {
		if status := get("good"); status != 200 {
			t.Errorf("who is known: %d", status)
		}
	}
	if status := get("good"); status != 429 {
		t.Errorf("who is known, beyond the own bucket: %d", status)
	}
	close(k.hold)
	testutil.Wait(t, "the answers", wg.Wait)
	got := map[int]int{}
	for range 3 {
		got[<-answers]++
	}
	if got[200] != 1 || got[401] != 2 {
		t.Errorf("%v", got)
	}
	// One place in the address's bucket was given back.
	if a, b := get("bad"), get("bad"); a != 401 || b != 429 {
		t.Errorf("%d, then %d", a, b)
	}
}
