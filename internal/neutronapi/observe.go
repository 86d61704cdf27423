package neutronapi

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
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
}

// recorder notes the status of an answer, and what is learned on the way to it.
type recorder struct {
	http.ResponseWriter
	seen  Observation
	wrote bool
}

func newRecorder(w http.ResponseWriter, r *http.Request) *recorder {
	rec := &recorder{ResponseWriter: w, seen: Observation{
		Begin: time.Now(), Method: r.Method, Path: r.URL.Path, Status: http.StatusOK, RequestID: "req-" + uuid.NewString(),
	}}
	rec.seen.Client, _ = netip.ParseAddrPort(r.RemoteAddr)
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

// admit finds out who asks and keeps each client to its rate. Who is not known is
// known by its address; one that shows bad credentials again and again is turned
// away before anybody is asked about them.
func (a *API) admit(w *recorder, r *http.Request) (*http.Request, error) {
	address := "address " + ratelimit.Origin(w.seen.Client.Addr()).String()
	if wait, ok := a.limiter.Has(address); !ok && a.auth != nil {
		return r, tooMany(w, wait)
	}
	r, err := a.identify(w, r)
	client := address
	if c, known := identity.From(r.Context()); known && err == nil {
		w.seen.Caller = c
		if c.UserID != "" {
			client = "user " + c.UserID + " " + string(c.ProjectID)
		}
	}
	if wait, ok := a.limiter.Take(client); !ok {
		return r, tooMany(w, wait)
	}
	return r, err
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
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	return model.Errf(model.KindTooMany, "HTTPTooManyRequests", "This client sends more requests than the site's limit for each; wait as Retry-After says.")
}
