package neutronapi

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/ratelimit"
)

// Observation is what can be told of a request that has been answered.
type Observation struct {
	Begin  time.Time
	Took   time.Duration
	Method string
	// Route is the pattern of the path, without ids; empty: there is no such path.
	Route  string
	Path   string
	Status int
	// Resource is the name of what the request is about, IDs which: those that a
	// create made, that of the path otherwise.
	Resource  string
	IDs       []string
	Caller    identity.Caller // the zero Caller: nobody knows
	RequestID string
	Client    netip.AddrPort // whence the request came
	// Certificate is the subject of that which the client showed, verified.
	Certificate string
}

// recorder notes the status of an answer, and what is learned on the way to it.
type recorder struct {
	http.ResponseWriter
	seen  Observation
	wrote bool
	load  *load // nil: the request was not let in
}

func newRecorder(w http.ResponseWriter, r *http.Request) *recorder {
	rec := &recorder{ResponseWriter: w, seen: Observation{
		Begin: time.Now(), Method: r.Method, Path: r.URL.Path, Status: http.StatusOK, RequestID: "req-" + uuid.NewString(),
	}}
	rec.seen.Client, _ = netip.ParseAddrPort(r.RemoteAddr)
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		rec.seen.Certificate = identity.Subject(r.TLS.VerifiedChains[0][0])
	}
	return rec
}

func (w *recorder) tell(observe func(Observation)) {
	w.seen.Took = time.Since(w.seen.Begin)
	observe(w.seen)
}

func (w *recorder) WriteHeader(status int) {
	if !w.wrote {
		w.seen.Status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// about notes what a request is about.
func about(w http.ResponseWriter, resource string, ids ...string) {
	if rec, ok := w.(*recorder); ok {
		rec.seen.Resource, rec.seen.IDs = resource, ids
	}
}

// subjectOf is the name of what a path is about: the key of one in a body, whether the API has it or refuses it.
func (a *API) subjectOf(pattern string) string {
	group := groupOf(pattern)
	for _, c := range a.collections {
		if groupOf(c.path) == group {
			return c.name
		}
	}
	name := strings.ReplaceAll(group, "-", "_")
	if s, ok := strings.CutSuffix(name, "ies"); ok {
		return s + "y"
	}
	return strings.TrimSuffix(name, "s")
}

// admit finds out who asks and keeps each client to its rate. Who is not known is
// known by its address, whose token is taken before anybody is asked about the client's
// credentials, and given back where they are good.
func (a *API) admit(w *recorder, r *http.Request) (*http.Request, error) {
	if a.vet != nil {
		if err := a.vet(r); err != nil {
			w.Header().Set("Connection", "close")
			return r, err
		}
	}
	if c, ok := a.recognize(r); ok {
		w.seen.Caller = c
		r = a.identified(w, r, c)
		if wait, ok := a.limiter.Take(clientOf(c, w)); !ok {
			return r, tooMany(w, wait)
		}
		return r, nil
	}
	address := clientOf(identity.Caller{}, w)
	if wait, ok := a.limiter.Take(address); !ok {
		return r, tooMany(w, wait)
	}
	r, err := a.identify(w, r)
	c, known := identity.From(r.Context())
	if !known || err != nil {
		return r, err
	}
	w.seen.Caller = c
	if client := clientOf(c, w); client != address {
		a.limiter.Give(address)
		if wait, ok := a.limiter.Take(client); !ok {
			return r, tooMany(w, wait)
		}
	}
	return r, nil
}

// clientOf is whose rate a request counts for.
func clientOf(c identity.Caller, w *recorder) string {
	if c.UserID != "" {
		return "user " + c.UserID + " " + string(c.ProjectID)
	}
	return "address " + ratelimit.Origin(w.seen.Client.Addr()).String()
}

// routeOf is the pattern of a request's path; empty: there is no such path.
func (a *API) routeOf(r *http.Request) string {
	_, pattern := a.mux.Handler(r)
	if _, served := a.operations[pattern]; !served {
		return ""
	}
	return pattern
}

func tooMany(w http.ResponseWriter, wait time.Duration) error {
	retryAfter(w.Header(), wait)
	return model.Errf(model.KindTooMany, "HTTPTooManyRequests", "This client sends more requests than the site's limit for each; wait as Retry-After says.")
}
