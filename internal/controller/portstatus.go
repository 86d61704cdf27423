package controller

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// portStatuses answers how it stands with ports, and why.
type portStatuses struct {
	rules *site.Site
	hub   *hub
}

// portStatus is all that the site knows of how it stands with a port.
type portStatus struct {
	PortID model.PortID     `json:"port_id"`
	Status model.PortStatus `json:"status"`
	Reason string           `json:"reason"` // why it is not ACTIVE, in words; empty: it is
	Host   model.HostName   `json:"host"`   // that it is bound to
	// Interface is its name on the host.
	Interface string `json:"interface"`
	HostAlive bool   `json:"host_alive"`
	// AgentConnected is whether the agent is connected to the site, as far as this controller
	// can tell; AgentSince, since when. Where it is not, that is when it was heard last.
	AgentConnected bool   `json:"agent_connected"`
	AgentSince     string `json:"agent_since"` // empty: never
	// Of an agent that is connected to this controller: the revision of the last change that
	// it was sent, and of the last that it has applied. 0: it is not connected here.
	WantedRevision  int64 `json:"wanted_revision"`
	AppliedRevision int64 `json:"applied_revision"`
}

func (s portStatuses) extra() neutronapi.Extra {
	return neutronapi.Extra{
		Method: http.MethodGet, Path: "/v2.0/ports/{id}/causeway_status", Name: "show_port_status",
		Summary: "Say how it stands with a port, and why it is not ACTIVE.",
		Reply:   keyed("causeway_status", openapi.Written[portStatus]()),
		Answer: func(r *http.Request) (any, error) {
			v, err := s.of(r.Context(), r.PathValue("id"))
			if err != nil {
				return nil, err
			}
			return map[string]any{"causeway_status": v}, nil
		},
	}
}

func (s portStatuses) of(ctx context.Context, id string) (portStatus, error) {
	snap, err := s.rules.View(ctx)
	if err != nil {
		return portStatus{}, err
	}
	p := store.Get(snap, store.Ports, id)
	if p == nil {
		return portStatus{}, site.PortNotFound(id)
	}
	v := portStatus{PortID: p.ID, Status: site.PortStatus(snap, p), Reason: site.PortReason(snap, p), Host: p.HostID, Interface: p.InterfaceName()}
	h := store.Get(snap, store.Hosts, string(p.HostID))
	if h != nil {
		v.HostAlive = !h.Gone
		sent, acked, here, heard := s.hub.standing(h.Name)
		elsewhere := h.Controller != s.hub.id && h.Controller != "" && !h.Gone
		v.AgentConnected, v.WantedRevision, v.AppliedRevision = here || elsewhere, sent, acked
		since := h.StartedAt
		if !v.AgentConnected {
			if since = h.HeardAt; heard.After(since) {
				since = heard
			}
		}
		if !since.IsZero() {
			v.AgentSince = since.UTC().Format(time.RFC3339)
		}
	}
	if v.Status != model.PortActive && v.Reason == "" {
		v.Reason = whyNotActive(p, v)
	}
	return v, nil
}

// whyNotActive is why a port is not ACTIVE of which no host says anything.
func whyNotActive(p *model.Port, v portStatus) string {
	switch {
	case !p.AdminStateUp:
		return "admin_state_up of the port is false"
	case p.HostID == "":
		return "the port is bound to no host: bind it (causeway port bind), or set binding:host_id"
	case !v.AgentConnected:
		return fmt.Sprintf("the agent of host %s is not connected", p.HostID)
	case v.AppliedRevision < v.WantedRevision:
		return fmt.Sprintf("host %s has not applied the last change that it was sent: revision %d, of which it has %d", p.HostID, v.WantedRevision, v.AppliedRevision)
	case v.Interface == "":
		return "the binding names no interface: interface_name in binding:profile"
	}
	return fmt.Sprintf("host %s has not reported of the port yet", p.HostID)
}

// standing is what a host that is connected here was sent and has applied, and when it was
// heard last.
func (h *hub) standing(name model.HostName) (sent, acked int64, here bool, heard time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if host := h.hosts[name]; host != nil {
		return host.sent, host.acked, true, time.Now()
	}
	return 0, 0, false, h.life.heard[name]
}
