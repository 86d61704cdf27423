package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/reconcile"
)

// Status is what an agent says of its objects.
type Status struct {
	Connected       bool  `json:"connected"` // to the controller
	WantedRevision  int64 `json:"wanted_revision"`
	AppliedRevision int64 `json:"applied_revision"`
	// Counts is how many objects of a kind are in a state.
	Counts map[string]map[reconcile.State]int `json:"counts"`
	// Objects are those that are not as wanted, or all, if asked for, by kind and name.
	Objects []reconcile.Status `json:"objects"`
}

func (a *Agent) status(all bool) Status {
	s := Status{Connected: a.ctl.Connected(), Counts: map[string]map[reconcile.State]int{}, Objects: a.objs.set.List(all)}
	s.WantedRevision, s.AppliedRevision = a.stats.revisions()
	for _, c := range a.objs.set.Counts() {
		s.Counts[c.Kind] = c.Of
	}
	return s
}

// healthPatience is how long the loop may take to come round for the agent to be healthy:
// longer than the largest state takes to be written.
const healthPatience = 10 * time.Second

// healthy tells whether the loop comes round. Objects that are not as wanted are no illness of
// the agent: starting it anew would not mend them.
func (a *Agent) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	select {
	case a.pulse <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent's loop has not come round for %v", healthPatience)
	}
}

// serveStatus adds /status and /healthz.
func (a *Agent) serveStatus(mux *http.ServeMux) {
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v) // the client has gone if this fails
	}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, a.status(r.URL.Query().Has("all")))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.healthy(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": err.Error()})
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
}

// maxStatus bounds an agent's answer.
const maxStatus = 64 << 20

// AskStatus asks the agent that serves its metrics at listen, as Config.MetricsListen names
// it, for its status.
func AskStatus(ctx context.Context, listen string, all bool) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	network, addr := "tcp", listen
	if p, ok := strings.CutPrefix(listen, "unix:"); ok {
		network, addr = "unix", p
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	defer t.CloseIdleConnections()
	url := "http://agent/status"
	if all {
		url += "?all"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return s, err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return s, fmt.Errorf("ask the agent at %s: %w", listen, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the agent at %s answers %s: it may be of an older release", listen, res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStatus)).Decode(&s); err != nil {
		return s, fmt.Errorf("read the answer of the agent at %s: %w", listen, err)
	}
	return s, nil
}
