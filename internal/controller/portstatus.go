package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/reason"
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
	// HostState is one of the hostStates; HostGoneSince, since when the host's agent is away.
	HostState     string `json:"host_state"`
	HostGoneSince string `json:"host_gone_since"` // empty: it is not
	HostAlive     bool   `json:"host_alive"`
	// AgentConnected is whether the agent is connected to the site, as far as this controller
	// can tell; AgentSince, since when. Where it is not, that is when it was heard last.
	AgentConnected bool   `json:"agent_connected"`
	AgentSince     string `json:"agent_since"` // empty: never
	// The revision of the last change that the agent was sent, and of the last that it has applied, as this
	// controller or the agent itself says. 0: neither does.
	WantedRevision  int64 `json:"wanted_revision"`
	AppliedRevision int64 `json:"applied_revision"`
	// What the host has said just now: whether the interface is there, with its program and its row, and what has been counted
	// of the port since it came to the host. null: the host has not said.
	InterfaceThere *bool        `json:"interface_there"`
	Traffic        *portTraffic `json:"traffic"`
	Drops          []portDrop   `json:"drops"`
	// Unanswered is why the host has not said, or what it does not count; empty: it has said all.
	Unanswered string `json:"unanswered"`
}

// hostStates of a port.
const (
	hostNone    = "unbound" // the port is bound to no host
	hostUnknown = "unknown" // the site has never heard of the host
	hostAway    = "away"    // its agent has been away for longer than it may be
	hostAlive   = "alive"
)

// portTraffic is what a port's workload has sent (rx) and was sent (tx), in frames and their bytes.
type portTraffic struct {
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxBytes   uint64 `json:"tx_bytes"`
}

// portDrop is how many packets of a port's workload were dropped for a reason.
type portDrop struct {
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
	Meaning string `json:"meaning"` // in words
}

// askPortTimeout bounds the wait for a host's answer about a port.
const askPortTimeout = 5 * time.Second

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
	v.HostState = hostState(p, h)
	if h != nil {
		v.HostAlive = !h.Gone
		if h.Gone {
			v.HostGoneSince = h.GoneAt.UTC().Format(time.RFC3339)
		}
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
	s.ask(ctx, p, &v)
	if v.Status != model.PortActive && v.Reason == "" {
		v.Reason = whyNotActive(p, v)
	}
	return v, nil
}

func hostState(p *model.Port, h *model.Host) string {
	switch {
	case p.HostID == "":
		return hostNone
	case h == nil:
		return hostUnknown
	case h.Gone:
		return hostAway
	}
	return hostAlive
}

// ask has the port's host say what it has of the port.
func (s portStatuses) ask(ctx context.Context, p *model.Port, v *portStatus) {
	switch {
	case v.HostState == hostNone:
		v.Unanswered = "the port is bound to no host"
		return
	case v.HostState == hostUnknown:
		v.Unanswered = fmt.Sprintf("no agent of host %s has connected yet", p.HostID)
		return
	case !v.AgentConnected:
		v.Unanswered = fmt.Sprintf("the agent of host %s is not connected", p.HostID)
		return
	}
	asking, cancel := context.WithTimeout(ctx, askPortTimeout)
	defer cancel()
	res, err := s.hub.probe(asking, p.HostID, probe.Request{Port: p.Key})
	switch {
	case errors.Is(err, probe.ErrRequest), errors.Is(err, hostsync.ErrNoProbes), err == nil && res.Port == nil:
		v.Unanswered = fmt.Sprintf("the agent of host %s is of a release that cannot say: upgrade it", p.HostID)
	case errors.Is(err, context.DeadlineExceeded):
		v.Unanswered = fmt.Sprintf("the agent of host %s has not answered within %v", p.HostID, askPortTimeout)
	case err != nil:
		v.Unanswered = fmt.Sprintf("host %s: %v", p.HostID, err)
	default:
		v.take(res.Port)
	}
}

// take notes what the host says.
func (v *portStatus) take(s *probe.PortState) {
	v.InterfaceThere = &s.There
	if v.WantedRevision == 0 {
		v.WantedRevision, v.AppliedRevision = s.WantedRevision, s.AppliedRevision
	}
	if !s.Known {
		v.Unanswered = fmt.Sprintf("host %s has not been told of the port yet", v.Host)
		return
	}
	if s.TrafficUncounted {
		v.Unanswered = fmt.Sprintf("host %s has no room to count the port's traffic (--max-counters)", v.Host)
	} else {
		v.Traffic = &portTraffic{s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes}
	}
	if s.DropsUncounted {
		v.Unanswered = fmt.Sprintf("host %s has no room to count the port's drops (--max-ports)", v.Host)
		return
	}
	v.Drops = []portDrop{}
	for _, name := range slices.Sorted(maps.Keys(s.Drops)) {
		d := portDrop{Reason: name, Packets: s.Drops[name]}
		if why, known := reason.Parse(name); known {
			d.Meaning = why.Text()
		}
		v.Drops = append(v.Drops, d)
	}
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
