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
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
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
	// maxCalls bounds the questions to Keystone at a time.
	maxCalls = 16
	// callTimeout bounds one question, with the wait for a place among maxCalls.
	callTimeout = 5 * time.Second
	// pause is how long Keystone is left alone after it did not answer. Without it
	// every request would wait for callTimeout.
	pause = 2 * time.Second
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
	// "invalid" or "unavailable".
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
	calls  chan struct{}

	work context.Context // of questions, which outlive whoever asked first
	stop context.CancelFunc
	busy sync.WaitGroup

	mu      sync.Mutex
	known   lru
	refused lru
	resume  time.Time // Keystone is left alone until then
	quiet   time.Time // its failures are not logged until then
}

// New makes a Validator, which is to be closed. It asks Keystone nothing yet.
func New(opts Options) (*Validator, error) {
	v := &Validator{opts: opts, log: opts.Logger, calls: make(chan struct{}, maxCalls), known: newLRU(maxTokens), refused: newLRU(maxRefused)}
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
	tokens := r.Header.Values("X-Auth-Token")
	if len(tokens) != 1 || !plausible(tokens[0]) {
		return identity.Caller{}, unauthenticated()
	}
	return v.validate(r.Context(), tokens[0])
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

func (v *Validator) validate(ctx context.Context, token string) (identity.Caller, error) {
	mac := hmac.New(sha256.New, v.key[:])
	mac.Write([]byte(token))
	key := hash(mac.Sum(nil))

	v.mu.Lock()
	now := v.opts.Now()
	e, known := v.known.get(key)
	no, refused := v.refused.get(key)
	resting := now.Before(v.resume)
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
	case resting:
		return v.without(e, known, now, errResting)
	}
	// The question outlives whoever asked first, for those who wait for it too.
	answer := v.flight.DoChan(string(key[:]), func() (any, error) {
		v.busy.Add(1)
		defer v.busy.Done()
		return v.ask(key, token)
	})
	select {
	case <-ctx.Done():
		return identity.Caller{}, ctx.Err()
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

// errResting is why Keystone is not asked shortly after it did not answer.
var errResting = errors.New("keystone did not answer a moment ago")

// without decides while Keystone cannot be asked.
func (v *Validator) without(e entry, known bool, now time.Time, why error) (identity.Caller, error) {
	if known && now.Sub(e.asked) < v.opts.CacheTime+v.opts.OutageTime && now.Before(e.caller.Expires) {
		v.opts.Metrics.TokenFromCache("stale")
		return e.caller, nil
	}
	if errors.Is(why, errCredentials) {
		return identity.Caller{}, unavailable("Keystone does not accept this service's own credentials, so that no token can be validated.")
	}
	return identity.Caller{}, unavailable("Keystone does not answer, so that the token cannot be validated. Try again later.")
}

// ask asks Keystone, and keeps the answer. It runs once at a time for each token.
func (v *Validator) ask(key hash, token string) (identity.Caller, error) {
	ctx, cancel := context.WithTimeout(v.work, callTimeout)
	defer cancel()
	begin := time.Now()
	select {
	case v.calls <- struct{}{}:
		defer func() { <-v.calls }()
	case <-ctx.Done():
		v.opts.Metrics.TokenValidated("unavailable", time.Since(begin))
		return identity.Caller{}, errBusy
	}
	asked := v.opts.Now()
	c, err := v.client.validate(ctx, token)
	v.mu.Lock()
	defer v.mu.Unlock()
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
			v.resume = now.Add(pause)
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
