package controller

import (
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/causeway-net/causeway/internal/audit"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/neutronapi"
)

// observer counts requests, logs them at debug level, and writes down those that
// ask for a change.
type observer struct {
	counts *metrics.Controller
	log    *slog.Logger
	audit  *audit.Log // nil: none
}

// openAudit opens the audit log of the settings; nil where there is none.
func openAudit(path string, log *slog.Logger, counts *metrics.Controller) (*audit.Log, error) {
	switch path {
	case "":
		return nil, nil
	case config.AuditStderr:
		return audit.To(os.Stderr, log, counts.AuditFailed), nil
	}
	return audit.Open(path, log, counts.AuditFailed)
}

func (o observer) see(r neutronapi.Observation) {
	route := routeLabel(r.Route)
	o.counts.Request(methodLabel(r.Method), route, r.Status, r.Took)
	if r.Status == http.StatusTooManyRequests {
		o.counts.Limited()
	}
	o.log.Debug("request", "method", r.Method, "path", r.Path, "status", r.Status, "took", r.Took, "from", r.Client, "request_id", r.RequestID)
	if o.audit == nil || !asksForChange(r) {
		return
	}
	o.audit.Write(audit.Entry{
		Time: r.Begin.UTC(), RequestID: r.RequestID, UserID: r.Caller.UserID, User: r.Caller.UserName, ProjectID: string(r.Caller.ProjectID),
		Roles: r.Caller.Roles, Authentication: r.Caller.Method, Method: r.Method, Route: route, Resource: r.Resource, IDs: r.IDs,
		Status: r.Status, Outcome: audit.OutcomeOf(r.Status), Client: r.Client.String(), Certificate: r.Certificate,
	})
}

// asksForChange tells whether a request was for a change; one for what does not
// exist, or that no path takes, was for none.
func asksForChange(r neutronapi.Observation) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodDelete:
		return r.Route != "" && r.Status != http.StatusMethodNotAllowed || r.Status == http.StatusUnauthorized
	}
	return false
}

func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead:
		return m
	}
	return "other"
}

// routeLabel is a pattern as people write it; a metric must not have a label for
// whatever a client asks for.
func routeLabel(pattern string) string {
	if pattern == "" {
		return "other"
	}
	return strings.TrimSuffix(pattern, "{$}")
}
