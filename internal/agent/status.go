package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/health"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// Status is what an agent says of its objects.
type Status struct {
	// Stuck says that the agent does nothing any more, and since when; empty: it works. The rest
	// is then what it last knew.
	Stuck     string `json:"stuck,omitempty"`
	Connected bool   `json:"connected"` // to the controller
	// Problem is why it is not, as the controller or the way to it said last; empty: not known.
	Problem         string `json:"problem,omitempty"`
	WantedRevision  int64  `json:"wanted_revision"`
	AppliedRevision int64  `json:"applied_revision"`
	// Counts is how many objects of a kind are in a state.
	Counts map[string]map[reconcile.State]int `json:"counts"`
	// Objects are those that are not as wanted, or all, if asked for, by kind and name.
	Objects []reconcile.Status `json:"objects"`
	// Fabric is that between the site's hosts; nil: this host is not on it.
	Fabric *Fabric `json:"fabric,omitempty"`
}

func (a *Agent) status(ctx context.Context, all bool) Status {
	stuck := ""
	if err := a.healthy(ctx); err != nil {
		stuck = err.Error()
	}
	s := Status{Stuck: stuck, Connected: a.ctl.Connected(), Problem: a.ctl.Problem(), Counts: map[string]map[reconcile.State]int{}, Objects: a.objs.set.List(all), Fabric: a.fabricStatus()}
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
	ctx, cancel := context.WithTimeout(ctx, a.cfg.patience)
	defer cancel()
	select {
	case a.pulse <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent's loop has not come round for %v", a.cfg.patience)
	}
}

// serveStatus adds /status, /healthz and /readyz.
func (a *Agent) serveStatus(mux *http.ServeMux) {
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a.status(r.Context(), r.URL.Query().Has("all"))) // the client has gone if this fails
	})
	loop := health.Check{Name: "loop", Of: "whether the agent's loop comes round", Look: a.healthy}
	health.Serve(mux, []health.Check{loop}, []health.Check{loop,
		{Name: "controller", Of: "whether a stream from the controller is up and has brought the whole state", Look: a.fed},
		{Name: "state", Of: "whether the maps hold the newest revision of the state that the agent knows", Look: a.applied},
		{Name: "objects", Of: "whether none of the host's objects has failed", Look: a.sound},
	})
}

func (a *Agent) fed(context.Context) error {
	if !a.ctl.Connected() {
		if why := a.ctl.Problem(); why != "" {
			return fmt.Errorf("the agent is not connected to its controller: %s", why)
		}
		return errors.New("the agent is not connected to its controller, or waits for the whole state")
	}
	return nil
}

func (a *Agent) applied(ctx context.Context) error {
	want, _ := a.stats.revisions()
	if want == 0 {
		return errors.New("no state is known: the agent waits for its controller")
	}
	// Once the loop has come round, what was wanted before has been tried.
	if err := a.healthy(ctx); err != nil {
		return err
	}
	if _, have := a.stats.revisions(); have < want {
		return fmt.Errorf("the maps hold revision %d, and revision %d is wanted", have, want)
	}
	return nil
}

// sound tells of objects that have failed, and why the first of them has. Those that wait, for
// an interface that may well come, are no failure.
func (a *Agent) sound(context.Context) error {
	failed := slices.DeleteFunc(a.objs.set.List(false), func(s reconcile.Status) bool { return s.State != reconcile.Failed })
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d have failed, such as %s %s: %s", len(failed), failed[0].Kind, failed[0].Name, failed[0].Cause)
}

// maxStatus bounds an agent's answer, and askPatience the wait for it: an agent whose loop hangs
// answers after healthPatience.
const (
	maxStatus   = 64 << 20
	askPatience = healthPatience + 5*time.Second
)

// unasked is an agent that does not answer.
type unasked struct {
	listen string
	err    error
}

func (e *unasked) Error() string { return fmt.Sprintf("ask the agent at %s: %v", e.listen, e.err) }
func (e *unasked) Unwrap() error { return e.err }

// Hint is the way out.
func (e *unasked) Hint() string {
	var late interface{ Timeout() bool }
	switch {
	case errors.Is(e.err, unix.ECONNREFUSED), errors.Is(e.err, unix.ENOENT):
		return "No agent listens there. Start one with: causeway agent; or give the --metrics-listen of the one that runs."
	case errors.Is(e.err, unix.EACCES):
		return "This user may not use the socket: ask as root."
	case errors.As(e.err, &late) && late.Timeout():
		return "It hangs, or something else listens there, or packets are lost on the way: look at the agent's log."
	}
	return "Check that it is the agent's --metrics-listen, and the way to it."
}

// AskStatus asks the agent that serves its metrics at listen, as Config.MetricsListen names
// it, for its status.
func AskStatus(ctx context.Context, listen string, all bool) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	network, addr := "tcp", listen
	if p, ok := strings.CutPrefix(listen, "unix:"); ok {
		network, addr = "unix", p
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	defer t.CloseIdleConnections()
	path := "http://agent/status"
	if all {
		path += "?all"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return s, err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return s, &unasked{listen, cause(err)}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, hinted{fmt.Errorf("the agent at %s answers %s", listen, res.Status),
			"It is of an older release, or no agent: start the agent anew with this one, or give its --metrics-listen."}
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStatus)).Decode(&s); err != nil {
		return s, hinted{fmt.Errorf("read the answer of the agent at %s: %w", listen, err),
			"Is it an agent's --metrics-listen?"}
	}
	return s, nil
}

// cause is what kept a request from its answer, without the words about the request.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		err = op.Err
	}
	return err
}

// hinted is an error with its way out.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// Hint is the way out, for the commands.
func (h hinted) Hint() string { return h.hint }
