package keystone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// cloud is a Keystone in this process: of its v3 API, authentication by password
// and the validation of tokens.
type cloud struct {
	t   *testing.T
	srv *httptest.Server

	mu       sync.Mutex
	tokens   map[string]map[string]any
	service  string // the service user's present token
	password string
	made     int // service tokens
	asked    map[string]int
	odd      map[string]int // tokens that are answered a status
	fail     int            // status of all answers, if not 0
	hold     chan struct{}  // answers wait for it to close, if not nil
	holding  chan struct{}  // gets one for each that waits
	running  atomic.Int32
	most     atomic.Int32
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{t: t, tokens: map[string]map[string]any{}, password: "secret", asked: map[string]int{}, holding: make(chan struct{}, 1000)}
	c.srv = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.srv.Close)
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	n := c.running.Add(1)
	defer c.running.Add(-1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	c.mu.Lock()
	hold, fail := c.hold, c.fail
	c.mu.Unlock()
	if hold != nil {
		c.holding <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if fail != 0 {
		w.WriteHeader(fail)
		return
	}
	if r.URL.Path != "/v3/auth/tokens" {
		c.t.Errorf("asked for %s", r.URL)
	}
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), fmt.Sprintf(`"password":%q`, c.password)) || !strings.Contains(string(body), `"name":"service"`) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		c.made++
		c.service = fmt.Sprint("service-", c.made)
		w.Header().Set("X-Subject-Token", c.service)
		w.WriteHeader(http.StatusCreated)
		return
	}
	if r.Header.Get("X-Auth-Token") != c.service || c.service == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	subject := r.Header.Get("X-Subject-Token")
	c.asked[subject]++
	if status, odd := c.odd[subject]; odd {
		w.WriteHeader(status)
		return
	}
	token, ok := c.tokens[subject]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token})
}

// grant makes a token.
func (c *cloud) grant(token, project string, expires time.Time, roles ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []map[string]string
	for _, r := range roles {
		list = append(list, map[string]string{"id": "x", "name": r})
	}
	t := map[string]any{"expires_at": expires.UTC().Format("2006-01-02T15:04:05.000000Z"), "roles": list,
		"user": map[string]any{"id": "u1", "name": "alice", "domain": map[string]any{"id": "default", "name": "Default"}}}
	if project != "" {
		t["project"] = map[string]any{"id": project, "name": "demo", "domain": map[string]any{"id": "default", "name": "Default"}}
	}
	c.tokens[token] = t
}

func (c *cloud) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *cloud) askedFor(token string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[token]
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type counts struct {
	mu        sync.Mutex
	asked     map[string]int
	fromCache map[string]int
}

func (c *counts) TokenValidated(result string, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[result]++
}

func (c *counts) TokenFromCache(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fromCache[result]++
}

type setup struct {
	*cloud
	*Validator
	*clock
	counts *counts
}

func start(t *testing.T, edit ...func(*Options)) *setup {
	s := &setup{cloud: newCloud(t), clock: &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		counts: &counts{asked: map[string]int{}, fromCache: map[string]int{}}}
	opts := Options{URL: s.srv.URL, User: "neutron", UserDomain: "Default", Password: "secret", Project: "service", ProjectDomain: "Default",
		CacheTime: time.Minute, OutageTime: 10 * time.Minute, Now: s.now, Metrics: s.counts,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for _, e := range edit {
		e(&opts)
	}
	v, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Validator = v
	t.Cleanup(v.Close)
	return s
}

func (s *setup) request(token string) (identity.Caller, error) {
	return s.requestFrom("192.0.2.1:1234", token)
}

func (s *setup) requestFrom(address, token string) (identity.Caller, error) {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = address
	r.Header.Set("X-Auth-Token", token)
	return s.Authenticate(r)
}

// wants checks what a token comes to: 200, 401 or 503.
func (s *setup) wants(token string, want int) {
	s.t.Helper()
	_, err := s.request(token)
	got := 200
	switch model.KindOf(err) {
	case model.KindUnauthenticated:
		got = 401
	case model.KindUnavailable:
		got = 503
	default:
		if err != nil {
			got = 500
		}
	}
	if got != want {
		s.t.Errorf("%s: %d (%v), want %d", token, got, err, want)
	}
}

func TestCaller(t *testing.T) {
	s := start(t)
	end := s.now().Add(time.Hour)
	s.grant("good", "p1", end, "member", "reader")
	c, err := s.request("good")
	if err != nil {
		t.Fatal(err)
	}
	if c.UserID != "u1" || c.UserName != "alice" || c.ProjectID != "p1" || c.ProjectName != "demo" || c.UserDomainID != "default" ||
		c.ProjectDomainID != "default" || !c.HasRole("member") || c.HasRole("admin") || c.Admin || c.System || c.Method != "keystone" || !c.Expires.Equal(end) {
		t.Errorf("%+v", c)
	}
	s.grant("unscoped", "", end)
	if c, err := s.request("unscoped"); err != nil || c.ProjectID != "" || len(c.Roles) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	s.do(func() {
		s.tokens["system"] = map[string]any{"expires_at": end.Format(time.RFC3339), "system": map[string]any{"all": true},
			"user": map[string]any{"id": "u2"}, "roles": []any{map[string]any{"name": "admin"}}}
	})
	if c, err := s.request("system"); err != nil || !c.System || !c.HasRole("admin") {
		t.Errorf("%+v, %v", c, err)
	}
	if got := s.Challenge(); got != fmt.Sprintf("Keystone uri=%q", s.srv.URL+"/v3") {
		t.Error(got)
	}
}

// What cannot be a token is never sent to Keystone.
func TestImplausible(t *testing.T) {
	s := start(t)
	for _, token := range []string{"", "a b", "a\nb", "ü", strings.Repeat("x", maxToken+1)} {
		s.wants(token, 401)
	}
	if s.made != 0 {
		t.Error("Keystone was asked")
	}
}

func TestCached(t *testing.T) {
	s := start(t)
	s.grant("good", "p1", s.now().Add(time.Hour), "member")
	for range 5 {
		s.wants("good", 200)
		s.wants("bad", 401)
	}
	if s.askedFor("good") != 1 || s.askedFor("bad") != 1 {
		t.Errorf("asked %v", s.asked)
	}
	if s.counts.fromCache["valid"] != 4 || s.counts.fromCache["invalid"] != 4 || s.counts.asked["valid"] != 1 || s.counts.asked["invalid"] != 1 {
		t.Errorf("%+v", s.counts)
	}
	// A token that comes into being after it was refused is taken soon.
	s.grant("bad", "p1", s.now().Add(time.Hour))
	s.pass(negativeTime)
	s.wants("bad", 200)
}

// A token that is revoked, or whose roles change, stops working within CacheTime.
func TestRevoked(t *testing.T) {
	s := start(t)
	s.grant("good", "p1", s.now().Add(time.Hour), "admin")
	s.wants("good", 200)
	s.grant("good", "p1", s.now().Add(time.Hour), "member")
	s.pass(time.Minute)
	if c, err := s.request("good"); err != nil || c.HasRole("admin") {
		t.Errorf("a role taken away is still there: %+v, %v", c, err)
	}
	s.do(func() { delete(s.tokens, "good") })
	s.wants("good", 200)
	s.pass(time.Minute)
	s.wants("good", 401)
	s.do(func() { s.fail = 500 })
	s.pass(negativeTime)
	s.wants("good", 503) // and an outage does not bring it back
}

// A token never outlives its own end, by whatever way.
func TestExpired(t *testing.T) {
	s := start(t)
	s.grant("short", "p1", s.now().Add(20*time.Second), "member")
	s.wants("short", 200)
	s.pass(20 * time.Second)
	s.wants("short", 401)
	s.grant("long", "p1", s.now().Add(3*time.Minute), "member")
	s.wants("long", 200)
	s.srv.Close()
	s.pass(2 * time.Minute)
	s.wants("long", 200)
	s.pass(time.Minute)
	s.wants("long", 401)
	over := start(t)
	over.grant("over", "p1", over.now(), "member") // Keystone's clock is behind
	over.wants("over", 401)
}

// While Keystone is away, known tokens go on for OutageTime; others are told to
// come again; and nobody waits for it each time.
func TestOutage(t *testing.T) {
	s := start(t)
	s.grant("good", "p1", s.now().Add(24*time.Hour), "member")
	s.wants("good", 200)
	s.srv.Close()
	s.pass(59 * time.Second)
	s.wants("good", 200)
	s.wants("new", 503)
	s.pass(2 * time.Second)
	s.wants("good", 200)
	if s.counts.fromCache["stale"] != 1 {
		t.Errorf("%+v", s.counts)
	}
	before := s.counts.asked["unavailable"]
	for range 10 {
		s.wants("good", 200)
		s.wants("new", 503)
	}
	if n := s.counts.asked["unavailable"] - before; n != 0 {
		t.Errorf("asked %d times while it is left alone", n)
	}
	s.pass(10*time.Minute - 2*time.Second)
	s.wants("good", 200)
	s.pass(2 * time.Second)
	s.wants("good", 503)
}

func TestErrorsOfKeystone(t *testing.T) {
	for _, status := range []int{500, 503, 429, 302, 400} {
		s := start(t)
		s.grant("good", "p1", s.now().Add(time.Hour), "member")
		s.wants("good", 200)
		s.do(func() { s.fail = status })
		s.pass(2 * time.Minute)
		s.wants("good", 200)
		s.wants("new", 503)
		s.do(func() { s.fail = 0 })
		s.grant("new", "p1", s.now().Add(time.Hour), "member")
		s.wants("new", 200) // at once: it had answered
	}
}

func TestNonsense(t *testing.T) {
	s := start(t)
	for name, token := range map[string]map[string]any{
		"empty": {}, "no user": {"expires_at": "2030-01-01T00:00:00Z"}, "no end": {"user": map[string]any{"id": "u"}},
		"bad end": {"user": map[string]any{"id": "u"}, "expires_at": "soon"}, "odd": {"user": "u", "roles": 7},
	} {
		key := strings.ReplaceAll(name, " ", "-")
		s.do(func() { s.tokens[key] = token })
		s.wants(key, 503)
	}
}

// The service user's own token may end or be revoked; its password may be wrong.
func TestServiceUser(t *testing.T) {
	s := start(t)
	s.grant("one", "p1", s.now().Add(time.Hour))
	s.grant("two", "p1", s.now().Add(time.Hour))
	s.wants("one", 200)
	s.do(func() { s.service = "another" })
	s.wants("two", 200)
	if s.made != 2 || s.askedFor("two") != 1 {
		t.Errorf("%d service tokens, asked %v", s.made, s.asked)
	}
	s.do(func() { s.service, s.password = "another", "changed" })
	s.wants("three", 503)
	_, err := s.request("three")
	if err == nil || !strings.Contains(err.Error(), "Keystone does not answer") {
		t.Errorf("%v", err)
	}
	s.pass(pause)
	if _, err := s.request("three"); err == nil || !strings.Contains(err.Error(), "own credentials") {
		t.Errorf("%v", err)
	}
	s.wants("one", 200)
	s.do(func() { s.password = "secret" })
	s.pass(pause)
	s.wants("three", 401)
}

// Many requests with one token are one question; whoever gives up waiting does not
// end it for the others.
func TestOneQuestion(t *testing.T) {
	s := start(t)
	s.grant("first", "p", s.now().Add(time.Hour))
	s.wants("first", 200) // the service token is there
	hold := make(chan struct{})
	s.do(func() { s.hold = hold })
	s.grant("good", "p1", s.now().Add(time.Hour), "member")
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		r.Header.Set("X-Auth-Token", "good")
		_, err := s.Authenticate(r)
		gone <- err
	}()
	testutil.Receive(t, "a question", s.holding)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { s.wants("good", 200) })
	}
	cancel()
	if err := testutil.Receive(t, "the end of who gave up", gone); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s.do(func() { s.hold = nil })
	close(hold)
	testutil.Wait(t, "the answers", wg.Wait)
	if n := s.askedFor("good"); n > 2 {
		t.Errorf("asked %d times", n) // whoever came between answer and cache asks again
	}
}

// Keystone is not asked more than maxCalls questions at a time.
func TestBoundedQuestions(t *testing.T) {
	s := start(t)
	s.grant("first", "p", s.now().Add(time.Hour))
	s.wants("first", 200)
	hold := make(chan struct{})
	s.do(func() { s.hold = hold })
	var wg sync.WaitGroup
	for i := range 3 * maxCalls {
		wg.Go(func() {
			if _, err := s.requestFrom(fmt.Sprintf("192.0.2.%d:1", i%3), fmt.Sprint("t", i)); model.KindOf(err) != model.KindUnauthenticated {
				t.Error(err)
			}
		})
	}
	for range maxCalls {
		testutil.Receive(t, "a question", s.holding)
	}
	s.do(func() { s.hold = nil })
	close(hold)
	testutil.Wait(t, "the answers", wg.Wait)
	if n := s.most.Load(); n > maxCalls {
		t.Errorf("%d questions at a time", n)
	}
}

// Nothing that is kept or logged has a token in it, or the password.
func TestNoTokensKept(t *testing.T) {
	var log strings.Builder
	s := start(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	s.grant("tok-secret-1", "p1", s.now().Add(time.Hour), "member")
	s.wants("tok-secret-1", 200)
	s.srv.Close()
	s.wants("tok-secret-2", 503)
	if kept := fmt.Sprintf("%+v", s.known.order.Front().Value) + log.String(); strings.Contains(kept, "tok-secret") || strings.Contains(log.String(), "password") || log.Len() == 0 {
		t.Errorf("kept or logged: %s", kept)
	}
}

func TestLRU(t *testing.T) {
	l := newLRU(2)
	l.put(hash{1}, entry{})
	l.put(hash{2}, entry{})
	l.get(hash{1})
	l.put(hash{3}, entry{})
	if _, ok := l.get(hash{2}); ok {
		t.Error("2 was used longest ago and is kept")
	}
	if _, ok := l.get(hash{1}); !ok || len(l.items) != 2 || l.order.Len() != 2 {
		t.Error("1 was used and is gone")
	}
}

func TestURLs(t *testing.T) {
	for in, want := range map[string]string{
		"http://k:5000": "http://k:5000/v3", "http://k:5000/": "http://k:5000/v3", "https://k/identity/v3/": "https://k/identity/v3",
		"k:5000": "", "ftp://k": "", "": "", "http://": "",
	} {
		c, err := newClient(Options{URL: in})
		if (err == nil) != (want != "") || err == nil && c.base != want {
			t.Errorf("%q: %v, %v", in, c, err)
		}
	}
}
