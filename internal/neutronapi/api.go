package neutronapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/policy"
	"github.com/causeway-net/causeway/internal/ratelimit"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

const (
	// DefaultProject owns what a request without tenant_id and project_id
	// creates, where nobody authenticates.
	DefaultProject model.ProjectID = "default"

	// DefaultMaxBody bounds a request's body, in bytes.
	DefaultMaxBody = 4 << 20

	requestIDHeader = "X-Openstack-Request-Id"
)

// Options configure the API. The zero value is usable.
type Options struct {
	// Logger is slog.Default if nil.
	Logger *slog.Logger
	// Project is DefaultProject if empty.
	Project model.ProjectID
	// Certificates says who asks where there is no Authenticator and clients show
	// certificates; nil: nobody is asked. An error refuses the request.
	Certificates func(*http.Request) (identity.Caller, error)
	// Vet looks at a request's connection before anything else; an error refuses the
	// request. nil: every connection is good.
	Vet func(*http.Request) error
	// Authenticator says who asks; nil: everybody is an admin of Project.
	Authenticator Authenticator
	// Policy gives the rules in force; nil: the defaults. It is asked with each
	// request, and only where there is an Authenticator.
	Policy func() *policy.Rules
	// MaxBody bounds a request's body, in bytes; DefaultMaxBody if 0.
	MaxBody int64
	// Limiter keeps each client to a rate; nil: nobody.
	Limiter *ratelimit.Limiter
	// TrustedProxies may say how a client reached the API, and who it is; see forwarded.
	TrustedProxies []netip.Prefix
	// Observe is told of each request once it is answered; nil: nobody is.
	Observe func(Observation)
	// Extra is served beside the resources. It looks beyond one project's
	// resources, so policy asks for use_diagnostics.
	Extra []Extra
	// Heard is when the agent of a host that is connected to this controller was heard
	// last; zero for others. Nil: none is.
	Heard func(model.HostName) time.Time
}

// API is the HTTP handler.
type API struct {
	site    *site.Site
	log     *slog.Logger
	project model.ProjectID
	auth    Authenticator
	certs   func(*http.Request) (identity.Caller, error)
	vet     func(*http.Request) error
	policy  func() *policy.Rules
	maxBody int64
	limiter *ratelimit.Limiter
	observe func(Observation)
	heard   func(model.HostName) time.Time
	proxies []netip.Prefix
	gates   gates
	mux     *http.ServeMux
	// sees tells, for each kind of resource, whether a caller may know of one.
	sees     map[store.Kind]func(view, store.Object) bool
	networks *resource[model.Network, model.Network] // whose attributes policy asks for
	// collections are the top-level resources, for the version document.
	collections []collection
	// operations are what is served, by pattern, and schemas what they refer to by
	// name: what description is made of.
	operations  map[string]methods
	schemas     map[string]*openapi.Schema
	description []byte
}

type collection struct{ name, plural, path string }

// New makes the handler for s.
func New(s *site.Site, opts Options) *API {
	a := &API{site: s, log: opts.Logger, project: opts.Project, auth: opts.Authenticator, certs: opts.Certificates, policy: opts.Policy,
		sees: map[store.Kind]func(view, store.Object) bool{}, mux: http.NewServeMux(),
		operations: map[string]methods{}, schemas: map[string]*openapi.Schema{}}
	a.maxBody, a.limiter, a.observe = opts.MaxBody, opts.Limiter, opts.Observe
	a.proxies, a.vet, a.heard = opts.TrustedProxies, opts.Vet, opts.Heard
	if a.heard == nil {
		a.heard = func(model.HostName) time.Time { return time.Time{} }
	}
	if a.maxBody == 0 {
		a.maxBody = DefaultMaxBody
	}
	a.gates = newGates(a.maxBody)
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.project == "" {
		a.project = DefaultProject
	}
	if a.policy == nil {
		rules := policy.Defaults()
		a.policy = func() *policy.Rules { return rules }
	}
	a.networks = networks(a)
	register(a, a.networks)
	register(a, subnets(a))
	register(a, ports(a))
	register(a, routers(a))
	register(a, subnetPools(a))
	register(a, addressScopes(a))
	register(a, rbacPolicies(a))
	register(a, gatewayDevices(a))
	register(a, remoteMACs(a))
	register(a, l2Gateways(a))
	register(a, connections(a))
	register(a, agents(a))
	a.registerRouterActions()
	a.registerPoolActions()
	a.registerQuotas()
	a.registerInfo()
	for _, e := range opts.Extra {
		a.extra(e)
	}
	if err := a.describe(); err != nil {
		panic(err) // of tables that never change
	}
	return a
}

// ServeHTTP gives each request an id, bounds its body and keeps a defect in one
// request from the others.
func (a *API) ServeHTTP(writer http.ResponseWriter, r *http.Request) {
	r = forwarded(r, a.proxies)
	w := newRecorder(writer, r)
	w.Header().Set(requestIDHeader, w.seen.RequestID)
	if a.observe != nil {
		defer w.tell(a.observe)
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			if w.wrote {
				a.log.Error("request failed in the middle of its answer", "path", r.URL.Path, "request_id", w.seen.RequestID, "error", err)
				panic(http.ErrAbortHandler)
			}
			a.WriteError(w, r, err)
		}
	}()
	r.Body = http.MaxBytesReader(writer, r.Body, a.maxBody)
	// Real servers take a .json suffix, doubled slashes and one at the end; ServeMux
	// would answer with a redirect that clients do not follow for a POST, or with 404.
	if p := cleanPath(r.URL.Path); p != r.URL.Path || r.URL.RawPath != "" && strings.Contains(r.URL.RawPath, "//") {
		u := *r.URL
		u.Path, u.RawPath = p, ""
		r2 := *r
		r2.URL = &u
		r = &r2
	}
	r, err := a.admit(w, r)
	if err != nil {
		if w.seen.Route = a.routeOf(r); w.seen.Route != "" {
			about(w, a.subjectOf(w.seen.Route))
		}
		a.WriteError(w, r, err)
		return
	}
	w.load = &load{g: a.gates, who: a.nameOf(r, w.seen), limit: a.maxBody}
	defer w.load.done()
	a.mux.ServeHTTP(w, r.WithContext(fair.As(context.WithValue(r.Context(), loadKey{}, w.load), w.load.who)))
}

func cleanPath(p string) string {
	if p = strings.TrimRight(p, "/"); p != descriptionPath {
		p = strings.TrimSuffix(p, ".json")
	}
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	return path.Clean(p)
}
