// Package sites speaks to the APIs of the sites of a peering: it reads what a
// peering needs to know, and does single steps. Every request is bounded in time and
// in number, and repeated where the error may pass.
package sites

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/pause"
)

// Options bound what is done. The zero value is usable.
type Options struct {
	// Timeout bounds one request where the cloud has no api_timeout, or, with TimeoutWins, in any
	// case; 30 s if zero.
	Timeout     time.Duration
	TimeoutWins bool
	// Attempts bounds how often a request is made while its errors may pass; 6 if
	// zero. Reading makes half as many.
	Attempts int
	// Backoff is how long the second attempt waits at most; each later one waits
	// twice as long, up to 5 s. 200 ms if zero.
	Backoff time.Duration
	// Parallel bounds the requests that one site gets at once; 6 if zero.
	Parallel int
	// Getenv is os.Getenv if nil.
	Getenv func(string) string
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Attempts == 0 {
		o.Attempts = 6
	}
	if o.Backoff == 0 {
		o.Backoff = 200 * time.Millisecond
	}
	if o.Parallel == 0 {
		o.Parallel = 6
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	return o
}

const (
	maxBackoff = 5 * time.Second
	// maxBusy bounds how long one request waits for a site that is busy.
	maxBusy = 5 * time.Minute
)

// Site is one site of a peering.
type Site struct {
	Name string
	*Conn
}

// Conn is the API of a site. Any number of goroutines and peerings may use it.
type Conn struct {
	api  *client.Client
	opts Options
	// slots bounds the requests under way.
	slots chan struct{}
	// routes keeps apart the changes of extra routes where the API has no step for
	// them and they are read, changed and written.
	routes sync.Mutex

	mu         sync.Mutex
	extensions map[string]bool // nil: not asked yet
}

// Connect finds a site's API and, with Keystone, takes a token.
func Connect(ctx context.Context, a peering.Access, o Options) (*Conn, error) {
	o = o.withDefaults()
	s := &Conn{opts: o, slots: make(chan struct{}, o.Parallel)}
	err := s.retry(ctx, max(1, o.Attempts/2), func(ctx context.Context) (err error) {
		s.api, err = client.New(ctx, options(a, o))
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// options turns what the file says into what the client reads: an environment of
// its own, so that OS_* variables of the process have no part in it: a region or an
// account of one site is not another one's. They only say where clouds.yaml is.
func options(a peering.Access, o Options) client.Options {
	if a.Cloud != "" {
		where := func(k string) string {
			if strings.HasPrefix(k, "OS_") && k != "OS_CLIENT_CONFIG_FILE" && k != "OS_CLIENT_SECURE_FILE" {
				return ""
			}
			return o.Getenv(k)
		}
		return client.Options{Cloud: a.Cloud, Getenv: where, Timeout: o.Timeout, TimeoutWins: o.TimeoutWins}
	}
	vars := map[string]string{}
	for k, v := range a.Auth {
		vars["OS_"+strings.ToUpper(k)] = v
	}
	vars["OS_AUTH_TYPE"] = a.Auth["type"]
	if a.Endpoint != "" {
		vars["OS_ENDPOINT"] = a.Endpoint
		if vars["OS_AUTH_TYPE"] == "" {
			vars["OS_AUTH_TYPE"] = "none"
			if a.Auth["token"] != "" {
				vars["OS_AUTH_TYPE"] = "admin_token"
			}
		}
	}
	return client.Options{Getenv: func(k string) string { return vars[k] }, KeyName: keyName, Timeout: o.Timeout}
}

// keyName is what a variable of options is called in the file of a peering.
func keyName(variable string) string {
	switch variable {
	case "OS_ENDPOINT":
		return "endpoint"
	case "OS_AUTH_TYPE":
		return "auth.type"
	}
	return "auth." + strings.ToLower(strings.TrimPrefix(variable, "OS_"))
}

// Site is the API under the name that a peering has for it.
func (s *Conn) Site(name string) *Site { return &Site{name, s} }

// Endpoint is the API's root.
func (s *Conn) Endpoint() string { return s.api.Endpoint() }

// retry does something until it succeeds, its error is one that stays, ctx ends, or
// the attempts are used up. A step waits between none and its whole backoff, so that
// many do not come back at once.
func (s *Conn) retry(ctx context.Context, attempts int, do func(context.Context) error) error {
	return s.again(ctx, attempts, func(ctx context.Context) error { return s.once(ctx, do) })
}

func (s *Conn) again(ctx context.Context, attempts int, do func(context.Context) error) error {
	wait := s.opts.Backoff
	begin := time.Now()
	for n := 1; ; n++ {
		err := do(ctx)
		if err == nil || ctx.Err() != nil || !client.IsTemporary(err) {
			return err
		}
		// A site that only wants less at once will take it in its time.
		if after, busy := client.Busy(err); busy && time.Since(begin) < maxBusy {
			n--
			if err := pause.For(ctx, after+rand.N(wait+1)); err != nil {
				return err
			}
			wait = min(2*wait, maxBackoff)
			continue
		}
		if n >= attempts {
			return err
		}
		if err := pause.For(ctx, wait/2+rand.N(wait/2+1)); err != nil {
			return err
		}
		wait = min(2*wait, maxBackoff)
	}
}

// once takes a slot, so that a site never has more requests at once than it should.
func (s *Conn) once(ctx context.Context, do func(context.Context) error) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.slots }()
	return do(ctx)
}

// ProblemOf puts an error of a site into words, with the way out where it has one.
func ProblemOf(err error) *observed.Problem {
	p := &observed.Problem{Text: err.Error()}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		p.Hint = h.Hint()
	}
	switch client.Status(err) {
	case 401:
		p.Text = "the API does not know the account: " + p.Text
		p.Hint = "Check the site's auth, or its cloud in clouds.yaml; a token may have expired."
	case 403:
		p.Text = "the account may not see or do this: " + p.Text
		p.Hint = "Peering is for the cloud's administrator; use an account with that role."
	}
	return p
}

// Extensions are the API's, nil if it does not say.
func (s *Conn) Extensions(ctx context.Context) (map[string]bool, error) {
	s.mu.Lock()
	have := s.extensions
	s.mu.Unlock()
	if have != nil {
		return have, nil
	}
	var ext map[string]bool
	err := s.read(ctx, func(ctx context.Context) (err error) {
		ext, err = s.api.Extensions(ctx)
		return err
	})
	if client.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extensions = ext
	return ext, nil
}

// read is retry for what changes nothing.
func (s *Conn) read(ctx context.Context, do func(context.Context) error) error {
	return s.retry(ctx, max(1, s.opts.Attempts/2), do)
}

// needed are the extensions without which no peering can be.
var needed = [][]string{{"gateway-device"}, {"l2-gateway"}, {"l2-gateway-connection"}, {"standard-attr-tag", "tag-ext"}}

func missing(ext map[string]bool) error {
	if ext == nil {
		return nil
	}
	var lack []string
	for _, alternatives := range needed {
		found := false
		for _, a := range alternatives {
			found = found || ext[a]
		}
		if !found {
			lack = append(lack, alternatives[0])
		}
	}
	if len(lack) == 0 {
		return nil
	}
	return hinted{fmt.Errorf("the API lacks the extensions %s", strings.Join(lack, ", ")),
		"Enable networking-midonet's gateway devices and L2 gateways there, or use Causeway's controller."}
}

type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string { return h.hint }
