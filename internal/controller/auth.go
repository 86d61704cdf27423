package controller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/keystone"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/policy"
)

// gate is how the API knows who asks and what they may do. The zero gate asks
// nobody.
type gate struct {
	tokens *keystone.Validator
	policy *policyFile
}

// openGate reads what the settings name. It asks Keystone nothing yet: a controller
// starts while Keystone is away.
func openGate(c config.Controller, counts *metrics.Controller, log *slog.Logger) (gate, error) {
	var g gate
	if c.Auth.Method != config.AuthKeystone {
		return g, nil
	}
	k := c.Auth.Keystone
	password, err := os.ReadFile(k.Password)
	if err != nil {
		return g, fmt.Errorf("--keystone-password-file: %w", err)
	}
	client, err := keystoneClient(k)
	if err != nil {
		return g, fmt.Errorf("--keystone-ca: %w", err)
	}
	if g.policy, err = newPolicyFile(c.Auth.PolicyFile, counts, log); err != nil {
		return g, fmt.Errorf("--policy-file: %w", err)
	}
	g.tokens, err = keystone.New(keystone.Options{
		URL: k.URL, PublicURL: k.PublicURL,
		User: k.User, UserDomain: k.UserDomain, Password: strings.TrimRight(string(password), "\r\n"),
		Project: k.Project, ProjectDomain: k.ProjectDomain,
		CacheTime: k.CacheTime, OutageTime: k.OutageTime, HTTP: client, Metrics: counts, Logger: log,
	})
	if err != nil {
		return g, fmt.Errorf("--keystone-url: %w", err)
	}
	if k.InTheClear() {
		log.Warn("tokens and the service user's password go to Keystone in the clear", "url", k.URL)
	}
	return g, nil
}

// guard puts the gate into the API's options.
func (g gate) guard(o *neutronapi.Options) {
	if g.tokens != nil {
		o.Authenticator, o.Policy = g.tokens, g.policy.rules.Load
	}
}

// watch follows the policy file until ctx ends.
func (g gate) watch(ctx context.Context) error {
	if g.policy == nil {
		return nil
	}
	return g.policy.watch(ctx, policyInterval)
}

func (g gate) close() {
	if g.tokens != nil {
		g.tokens.Close()
	}
}

// keystoneClient keeps connections for as many questions as there are at a time.
func keystoneClient(k config.Keystone) (*http.Client, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 3 * time.Second, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 16, MaxConnsPerHost: 32, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if k.CA != "" {
		pem, err := os.ReadFile(k.CA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", k.CA)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: t}, nil
}

// policyInterval is how often the policy file is looked at. A look is one stat.
const policyInterval = 2 * time.Second

// policyFile is the policy in force. A file that is changed for the worse leaves it
// as it is.
type policyFile struct {
	path   string
	counts *metrics.Controller
	log    *slog.Logger
	rules  atomic.Pointer[policy.Rules]
	seen   fileState     // what the rules were read from, or refused
	last   fileState     // at the last look
	now    chan struct{} // asks for a look; has room for one
}

// fileState tells one content of a file from another, as far as that shows outside.
type fileState struct {
	inode, size int64
	modified    time.Time
	failed      string
}

func newPolicyFile(path string, counts *metrics.Controller, log *slog.Logger) (*policyFile, error) {
	p := &policyFile{path: path, counts: counts, log: log, now: make(chan struct{}, 1)}
	if path == "" {
		p.rules.Store(policy.Defaults())
		return p, nil
	}
	p.seen = p.look()
	p.last = p.seen
	data, err := p.read()
	if err != nil {
		return p, err
	}
	return p, p.load(data)
}

func (p *policyFile) look() fileState {
	st, err := os.Stat(p.path)
	if err != nil {
		return fileState{failed: err.Error()}
	}
	s := fileState{size: st.Size(), modified: st.ModTime()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		s.inode = int64(sys.Ino) // another file under the name
	}
	return s
}

func (p *policyFile) read() ([]byte, error) {
	f, err := os.Open(p.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, policy.MaxFile+1))
}

func (p *policyFile) load(data []byte) error {
	rules, err := policy.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	p.rules.Store(rules)
	p.counts.PolicyLoaded("loaded")
	if unused := rules.Unused(); len(unused) > 0 {
		p.log.Warn("the policy file has rules that nothing asks for", "file", p.path, "rules", unused)
	}
	return nil
}

// watch reads the file again when it changes, until ctx ends.
func (p *policyFile) watch(ctx context.Context, interval time.Duration) error {
	if p.path == "" {
		return nil
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.now:
			p.last = p.look() // who asks has written all of it
		}
		p.follow()
	}
}

// follow looks at the file. A changed one is taken when it has stayed as it is since
// the look before: half a file that is being written is a policy too, and one that
// forbids less.
func (p *policyFile) follow() {
	now := p.look()
	if now != p.last || now == p.seen {
		p.last = now
		return
	}
	data, err := p.read()
	if p.last = p.look(); p.last != now {
		return
	}
	p.seen = now
	if err == nil {
		err = p.load(data)
	}
	if err != nil {
		p.counts.PolicyLoaded("refused")
		p.log.Error("the policy file is refused; the rules before stay in force", "error", err)
		return
	}
	p.log.Info("the policy file was read again", "file", p.path)
}
