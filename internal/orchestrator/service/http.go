package service

import (
	"context"
	"encoding/json"
	"net"
	"net/http"

	"github.com/causeway-net/causeway/internal/apiserver"
)

// Handler serves /metrics, by what it is given, and /healthz: 200 while all loops go on, 503
// otherwise, with what was found of each peering. A peering that has drifted, or a site that is
// down, is no illness of the service.
func (s *Service) Handler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		peerings, err := s.Healthy()
		answer := map[string]any{"status": "ok", "peerings": peerings}
		status := http.StatusOK
		if err != nil {
			status = http.StatusServiceUnavailable
			answer["status"] = err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // the client has gone if this fails
	})
	return mux
}

// Serve answers on l until ctx ends; then it returns nil.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	return apiserver.ServeMetrics(ctx, l, h, apiserver.Options{})
}
