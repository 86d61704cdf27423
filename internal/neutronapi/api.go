package neutronapi

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/policy"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

const (
	// DefaultProject owns what a request without tenant_id and project_id
	// creates, where nobody authenticates.
	DefaultProject model.ProjectID = "default"

	// maxBody bounds a request's body, in bytes.
	maxBody = 4 << 20

	requestIDHeader = "X-Openstack-Request-Id"
)

// Options configure the API. The zero value is usable.
type Options struct {
	// Logger is slog.Default if nil.
	Logger *slog.Logger
	// Project is DefaultProject if empty.
	Project model.ProjectID
	// Authenticator says who asks; nil: everybody is an admin of Project.
	Authenticator Authenticator
	// Policy gives the rules in force; nil: the defaults. It is asked with each
	// request, and only where there is an Authenticator.
	Policy func() *policy.Rules
	// Extra are further handlers by pattern, as in http.ServeMux. They are given
	// the API for its error bodies. They look beyond one project's resources, so
	// policy asks for use_diagnostics.
	Extra map[string]func(*API) http.Handler
}

// API is the HTTP handler.
type API struct {
	site    *site.Site
	log     *slog.Logger
	project model.ProjectID
	auth    Authenticator
	policy  func() *policy.Rules
	mux     *http.ServeMux
	// sees tells, for each kind of resource, whether a caller may know of one.
	sees     map[store.Kind]func(view, store.Object) bool
	networks *resource[model.Network, model.Network] // whose attributes policy asks for
	routes   []Route
	// collections are the top-level resources, for the version document.
	collections []collection
}

type collection struct{ name, plural, path string }

// New makes the handler for s.
func New(s *site.Site, opts Options) *API {
	a := &API{site: s, log: opts.Logger, project: opts.Project, auth: opts.Authenticator, policy: opts.Policy,
		sees: map[store.Kind]func(view, store.Object) bool{}, mux: http.NewServeMux()}
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
	register(a, gatewayDevices(a))
	register(a, remoteMACs(a))
	register(a, l2Gateways(a))
	register(a, connections(a))
	a.registerRouterActions()
	a.registerPoolActions()
	a.registerQuotas()
	a.registerInfo()
	for pattern, h := range opts.Extra {
		a.extra(pattern, h(a))
	}
	return a
}

// methods is a handler for each method that a path takes.
type methods map[string]func(http.ResponseWriter, *http.Request) error

// Route is one path that the API serves, as a pattern of http.ServeMux.
type Route struct {
	Pattern string
	Methods []string
}

// Routes lists what the API serves.
func (a *API) Routes() []Route { return slices.Clone(a.routes) }

// extra serves what is no resource's.
func (a *API) extra(pattern string, h http.Handler) {
	method, path, _ := strings.Cut(pattern, " ")
	a.routes = append(a.routes, Route{path, []string{method}})
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := permitted(r.Context(), policy.UseDiagnostics); err != nil {
			a.WriteError(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// handle serves a path.
func (a *API) handle(pattern string, m methods) {
	a.routes = append(a.routes, Route{pattern, slices.Sorted(maps.Keys(m))})
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet // net/http leaves the body out
		}
		h, ok := m[method]
		if !ok {
			var allow []string
			for k := range m {
				allow = append(allow, k)
			}
			w.Header().Set("Allow", strings.Join(allow, ", "))
			a.WriteError(w, r, errMethod)
			return
		}
		if err := h(w, r); err != nil {
			a.WriteError(w, r, err)
		}
	})
}

// ServeHTTP gives each request an id, bounds its body and keeps a defect in one
// request from the others.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(requestIDHeader, "req-"+uuid.NewString())
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.WriteError(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	// Real servers take a .json suffix and doubled slashes; ServeMux would
	// answer the latter with a redirect that clients do not follow for a POST.
	if p := cleanPath(r.URL.Path); p != r.URL.Path || r.URL.RawPath != "" && strings.Contains(r.URL.RawPath, "//") {
		u := *r.URL
		u.Path, u.RawPath = p, ""
		r2 := *r
		r2.URL = &u
		r = &r2
	}
	r, err := a.identify(w, r)
	if err != nil {
		a.WriteError(w, r, err)
		return
	}
	a.mux.ServeHTTP(w, r)
}

func cleanPath(p string) string {
	p = strings.TrimSuffix(p, ".json")
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
