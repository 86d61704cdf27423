package controller

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/store"
)

// httpServer bounds what a client can hold: header and body must come in time,
// and an idle connection ends.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Description is the OpenAPI document of the API that a controller serves, as it
// gives it at /openapi.json.
func Description() []byte {
	return neutronapi.New(nil, neutronapi.Options{Extra: extra(tracer{}, prober{}, switches{})}).Description()
}

// extra is what the API serves beside the resources.
func extra(t tracer, p prober, s switches) []neutronapi.Extra {
	return append(t.extra(), p.extra(), s.extra())
}

// keyed describes a body, which has one key.
func keyed(name string, s *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{openapi.Map}, Properties: map[string]*openapi.Schema{name: s}, Required: []string{name}, Closed: true}
}

func serveHTTP(s *http.Server, l net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}

func metricsMux(counts *metrics.Controller) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", counts.Handler())
	return mux
}

// measured counts and, at debug level, logs each request.
func measured(h http.Handler, counts *metrics.Controller, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		rec := &statusRecorder{ResponseWriter: w, code: http.StatusOK}
		defer func() {
			took := time.Since(begin)
			counts.Request(methodOf(r.Method), routeOf(r.URL.Path), rec.code, took)
			log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.code,
				"took", took, "from", r.RemoteAddr, "request_id", w.Header().Get("X-Openstack-Request-Id"))
		}()
		h.ServeHTTP(rec, r)
	})
}

type statusRecorder struct {
	http.ResponseWriter
	code  int
	wrote bool
}

func (w *statusRecorder) WriteHeader(code int) {
	if !w.wrote {
		w.code, w.wrote = code, true
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusRecorder) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func methodOf(m string) string {
	switch m {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead:
		return m
	}
	return "other"
}

// routeOf is the path with ids replaced; a metric must not have a label for
// whatever a client asks for.
func routeOf(p string) string {
	parts := strings.Split(strings.TrimPrefix(strings.TrimSuffix(path.Clean("/"+p), ".json"), "/"), "/")
	if parts[0] == "" {
		return "/"
	}
	if parts[0] != "v2.0" {
		return "other"
	}
	parts = parts[1:]
	route := "/v2.0"
	if len(parts) > 0 && parts[0] == "gw" {
		route, parts = route+"/gw", parts[1:]
	}
	for i, part := range parts {
		switch {
		case i > 3:
			return "other"
		case i%2 == 1 && !known(part):
			route += "/{id}"
		case known(part):
			route += "/" + part
		default:
			return "other"
		}
	}
	return route
}

func known(part string) bool {
	switch part {
	case "networks", "subnets", "ports", "routers", "gateway_devices", "remote_mac_entries", "l2-gateways",
		"l2-gateway-connections", "subnetpools", "address-scopes", "rbac-policies", "quotas", "default", "details", "add_prefixes", "remove_prefixes", "extensions", "tags", "trace", "probe", "switch", "add_router_interface", "remove_router_interface",
		"add_extraroutes", "remove_extraroutes":
		return true
	}
	return false
}

// countedStore counts transactions and how often they ran again.
type countedStore struct {
	store.Store
	counts *metrics.Controller
}

func (s countedStore) Update(ctx context.Context, fn func(store.Tx) error) (int64, error) {
	runs := 0
	rev, err := s.Store.Update(ctx, func(tx store.Tx) error {
		runs++
		return fn(tx)
	})
	s.counts.Transaction(runs)
	return rev, err
}
