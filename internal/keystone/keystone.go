// Package keystone asks an OpenStack Keystone (Identity API v3) who a token is.
//
// What Keystone says of a token is believed for Options.CacheTime from the moment
// it was asked, and for no longer than the token itself is valid. So a token that is
// revoked, or whose roles change, works on for CacheTime at most, while Keystone
// answers. While it does not, tokens that it has vouched for before are believed for
// Options.OutageTime beyond, up to their own end, and others cannot be judged: who
// brings one is told to come again.
//
// Tokens are kept as keyed hashes only, and are in no log.
package keystone

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/ratelimit"
)

const (
	// negativeTime is how long a token stays refused. It is short: a client whose
	// token was made at another Keystone node, before all of them know of it, must
	// get in soon.
	negativeTime = 5 * time.Second
	// maxTokens and maxRefused bound the cache. Refused tokens have a part of their
	// own, so that a flood of them does not push out good ones.
	maxTokens, maxRefused = 20_000, 2_000
	// maxToken is the longest token; Keystone's own are a few hundred bytes, those
	// with a certificate's signature up to 8 KiB.
	maxToken = 8 << 10
	// maxCalls bounds the questions to Keystone at a time, and callsEach those about
	// tokens that one address brings, or about one user's.
	maxCalls, callsEach = 16, 8
	// maxQueue and queueEach bound the questions that wait for a place among maxCalls,
	// and queueTime how long they do: longer than callTimeout, after which those that
	// Keystone does not answer make room.
	maxQueue, queueEach = 1024, 64
	queueTime           = callTimeout + time.Second
	// callTimeout bounds one question, from when it has its place.
	callTimeout = 5 * time.Second
	// pause lies between the begins of two questions while Keystone does not answer.
	// Without it every request would wait for callTimeout; with it the first answer is
	// seen at once.
	pause = 250 * time.Millisecond
	// patience is how long a token that can be believed for OutageTime waits for the
	// answer to such a question.
	patience = time.Second
	// logPause is how long an outage is not logged again.
	logPause = 30 * time.Second
)

// Options configure a Validator.
type Options struct {
	// URL is Keystone's, with or without /v3.
	URL string
	// PublicURL is what clients without a token are pointed to; URL if empty.
	PublicURL string
	// The service user, who must be allowed to validate tokens, and the project
	// that it has its role in.
	User, UserDomain, Password, Project, ProjectDomain string

	CacheTime, OutageTime time.Duration

	// HTTP sends the requests; nil for a client with the system's authorities.
	HTTP *http.Client
	// Metrics may be nil.
	Metrics Metrics
	// Logger is slog.Default if nil.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Metrics counts what a Validator does. Its methods may be called from many
// goroutines.
type Metrics interface {
	// TokenValidated counts a question to Keystone: its result is "valid",
	// "invalid", "unavailable", or "busy" for one that found no place among others.
	TokenValidated(result string, took time.Duration)
	// TokenFromCache counts an answer without one: "valid", "invalid", or "stale"
	// for a token that Keystone should have been asked about and could not.
	TokenFromCache(result string)
}

// Validator knows tokens. Its methods may be called from many goroutines.
type Validator struct {
	opts   Options
	client *client
	log    *slog.Logger
	key    [32]byte // of the hashes; this process's own
	flight singleflight.Group
	calls  *fair.Gate

	work context.Context // of questions, which outlive whoever asked first
	stop context.CancelFunc
	busy sync.WaitGroup

	mu      sync.Mutex
	known   lru
	refused lru
	away    bool      // the last question had no answer
	last    time.Time // when the last question began
	quiet   time.Time // its failures are not logged until then
}

// New makes a Validator, which is to be closed. It asks Keystone nothing yet.
func New(opts Options) (*Validator, error) {
	v := &Validator{opts: opts, log: opts.Logger, known: newLRU(maxTokens), refused: newLRU(maxRefused)}
	v.calls = fair.NewGate(fair.Options{Capacity: maxCalls, Each: callsEach, Waiting: maxQueue, WaitingEach: queueEach, Wait: queueTime})
	if v.log == nil {
		v.log = slog.Default()
	}
	if v.opts.Now == nil {
		v.opts.Now = time.Now
	}
	if v.opts.Metrics == nil {
		v.opts.Metrics = noMetrics{}
	}
	if _, err := rand.Read(v.key[:]); err != nil {
		return nil, fmt.Errorf("make a key for the token cache: %w", err)
	}
	c, err := newClient(opts)
	if err != nil {
		return nil, err
	}
	v.client = c
	v.work, v.stop = context.WithCancel(context.Background())
	if v.opts.PublicURL == "" {
		v.opts.PublicURL = c.base
	}
	return v, nil
}

// Close ends the questions under way and waits for them. No call may come after it.
func (v *Validator) Close() {
	v.stop()
	v.busy.Wait()
}

type noMetrics struct{}

func (noMetrics) TokenValidated(string, time.Duration) {}
func (noMetrics) TokenFromCache(string)                {}

// Challenge is the WWW-Authenticate header of a 401, as Keystone's middleware has it.
func (v *Validator) Challenge() string { return fmt.Sprintf("Keystone uri=%q", v.opts.PublicURL) }

// Authenticate knows the caller by the request's X-Auth-Token, of which there must be
// one: what stands before the API may have looked at another of several.
func (v *Validator) Authenticate(r *http.Request) (identity.Caller, error) {
	token, ok := tokenOf(r)
	if !ok {
		return identity.Caller{}, unauthenticated()
	}
	return v.validate(r.Context(), token, addressOf(r))
}

// Recognize is Authenticate for a token that need not be asked about; of others it says
// nothing.
func (v *Validator) Recognize(r *http.Request) (identity.Caller, bool) {
	token, ok := tokenOf(r)
	if !ok {
		return identity.Caller{}, false
	}
	key := v.hashOf(token)
	v.mu.Lock()
	e, known := v.known.get(key)
	v.mu.Unlock()
	if now := v.opts.Now(); !known || !now.Before(e.caller.Expires) || now.Sub(e.asked) >= v.opts.CacheTime {
		return identity.Caller{}, false
	}
	v.opts.Metrics.TokenFromCache("valid")
	return e.caller, true
}

func tokenOf(r *http.Request) (string, bool) {
	tokens := r.Header.Values("X-Auth-Token")
	if len(tokens) != 1 || !plausible(tokens[0]) {
		return "", false
	}
	return tokens[0], true
}

// addressOf is in whose name a question about a token is put that nobody has vouched
// for.
func addressOf(r *http.Request) string {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return "address " + ratelimit.Origin(a.Addr()).String()
}

func (v *Validator) hashOf(token string) hash {
	mac := hmac.New(sha256.New, v.key[:])
	mac.Write([]byte(token))
	return hash(mac.Sum(nil))
}

// plausible tells whether a text can be a token at all. What cannot is not sent to
// Keystone.
func plausible(token string) bool {
	if token == "" || len(token) > maxToken {
		return false
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return true
}

func unauthenticated() error {
	return model.Errf(model.KindUnauthenticated, "Unauthorized", "The request you have made requires authentication.")
}

func unavailable(words string) error {
	return model.Errf(model.KindUnavailable, "ServiceUnavailable", "%s", words)
}

// entry is what Keystone said of a token.
type entry struct {
	caller identity.Caller
	asked  time.Time // when the question was sent: what it says was true then
}

func (v *Validator) validate(ctx context.Context, token, from string) (identity.Caller, error) {
	key := v.hashOf(token)
	v.mu.Lock()
	now := v.opts.Now()
	e, known := v.known.get(key)
	no, refused := v.refused.get(key)
	away := v.away
	v.mu.Unlock()

	switch {
	case known && !now.Before(e.caller.Expires):
		return identity.Caller{}, unauthenticated() // its own end has come
	case known && now.Sub(e.asked) < v.opts.CacheTime:
		v.opts.Metrics.TokenFromCache("valid")
		return e.caller, nil
	case refused && now.Sub(no.asked) < negativeTime:
		v.opts.Metrics.TokenFromCache("invalid")
		return identity.Caller{}, unauthenticated()
	case away && !v.tries(now):
		return v.without(e, known, now, errResting)
	}
	if known {
		from = "user " + e.caller.UserID // whom a flood of other tokens is not to keep out
	}
	// The question outlives whoever asked first, for those who wait for it too.
	answer := v.flight.DoChan(string(key[:]), func() (any, error) {
		v.busy.Add(1)
		defer v.busy.Done()
		return v.ask(key, token, from)
	})
	var late <-chan time.Time
	if away && v.believed(e, known, now) {
		t := time.NewTimer(patience)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ctx.Done():
		return identity.Caller{}, ctx.Err()
	case <-late:
		return v.without(e, known, v.opts.Now(), errResting)
	case a := <-answer:
		switch {
		case a.Err == nil:
			return a.Val.(identity.Caller), nil
		case errors.Is(a.Err, errInvalid):
			return identity.Caller{}, unauthenticated()
		}
		return v.without(e, known, v.opts.Now(), a.Err)
	}
}

// tries tells whether Keystone, which did not answer, is to be asked again now: one
// question finds out whether it does for all.
func (v *Validator) tries(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.away && now.Before(v.last.Add(pause)) {
		return false
	}
	v.last = now
	return true
}

// errResting is why Keystone is not asked shortly after it did not answer.
var errResting = errors.New("keystone did not answer a moment ago")

// without decides where Keystone was not asked or did not answer. Where it only was not
// asked because others were, nothing says that it would not vouch for a token no longer.
func (v *Validator) without(e entry, known bool, now time.Time, why error) (identity.Caller, error) {
	v.mu.Lock()
	away := v.away
	v.mu.Unlock()
	busy := errors.Is(why, errBusy) && !away
	if !busy && v.believed(e, known, now) {
		v.opts.Metrics.TokenFromCache("stale")
		return e.caller, nil
	}
	switch {
	case busy:
		return identity.Caller{}, unavailable("Too many tokens are being validated. Try again later.")
	case errors.Is(why, errCredentials):
		return identity.Caller{}, unavailable("Keystone does not accept this service's own credentials, so that no token can be validated.")
	}
	return identity.Caller{}, unavailable("Keystone does not answer, so that the token cannot be validated. Try again later.")
}

// believed tells whether a token is good enough while Keystone does not answer.
func (v *Validator) believed(e entry, known bool, now time.Time) bool {
	return known && now.Sub(e.asked) < v.opts.CacheTime+v.opts.OutageTime && now.Before(e.caller.Expires)
}

// ask asks Keystone in somebody's name, and keeps the answer. It runs once at a time
// for each token. That a question had to wait for its place says nothing of Keystone.
func (v *Validator) ask(key hash, token, from string) (identity.Caller, error) {
	begin := time.Now()
	release, err := v.calls.Acquire(v.work, from, 1)
	if err != nil {
		v.opts.Metrics.TokenValidated("busy", time.Since(begin))
		return identity.Caller{}, fmt.Errorf("%w: %w", errBusy, err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(v.work, callTimeout)
	defer cancel()
	asked := v.opts.Now()
	c, err := v.client.validate(ctx, token)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil || errors.Is(err, errInvalid) {
		v.away = false
	}
	switch {
	case errors.Is(err, errInvalid), err == nil && !asked.Before(c.Expires): // ended by this machine's clock
		v.known.remove(key)
		v.refused.put(key, entry{asked: asked})
		v.opts.Metrics.TokenValidated("invalid", time.Since(begin))
		return identity.Caller{}, errInvalid
	case err != nil:
		v.opts.Metrics.TokenValidated("unavailable", time.Since(begin))
		now := v.opts.Now()
		if !errors.Is(err, errAnswer) { // which comes at once, and may be about this token alone
			v.away = true
			if v.last.Before(asked) {
				v.last = asked
			}
		}
		if !now.Before(v.quiet) {
			v.quiet = now.Add(logPause)
			v.log.Error("keystone cannot be asked about tokens", "url", v.client.base, "error", err)
		}
		return identity.Caller{}, err
	}
	v.refused.remove(key)
	v.known.put(key, entry{c, asked})
	v.opts.Metrics.TokenValidated("valid", time.Since(begin))
	return c, nil
}

var errBusy = errors.New("too many tokens are being validated")
