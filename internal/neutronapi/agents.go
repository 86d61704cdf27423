package neutronapi

import (
	"context"
	"net/http"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// What Neutron's agents have as texts that are the same for all of ours.
const (
	agentType   = "Causeway agent"
	agentBinary = "causeway-agent"
	agentTopic  = "N/A" // nobody sends it messages
)

// agents are the site's hosts, one each, as Neutron has its agents.
func agents(a *API) *resource[model.Agent, model.Agent] {
	type agent = model.Agent
	// of is an attribute of the host, as the site has it.
	host := func(s store.Snapshot, g *agent) *model.Host {
		if h := store.Get(s, store.Hosts, string(g.Host)); h != nil {
			return h
		}
		return &model.Host{Name: g.Host, Gone: true}
	}
	words := openapi.Of(openapi.String)
	same := func(name, value string) attribute[agent, agent] {
		return readOnly[agent](name, words, func(store.Snapshot, *agent) any { return value })
	}
	return &resource[agent, agent]{
		name: "agent", plural: "agents", path: "/v2.0/agents", table: store.Agents,
		attrs: []attribute[agent, agent]{
			idAttr[agent](func(g *agent) model.AgentID { return g.ID }),
			same("agent_type", agentType),
			same("binary", agentBinary),
			same("topic", agentTopic),
			readOnly[agent]("host", words, func(_ store.Snapshot, g *agent) any { return string(g.Host) }),
			readOnly[agent]("availability_zone", openapi.Of(openapi.Null), func(store.Snapshot, *agent) any { return nil }),
			readOnly[agent]("alive", openapi.Of(openapi.Boolean), func(s store.Snapshot, g *agent) any { return !host(s, g).Gone }),
			{name: "admin_state_up", put: true,
				takes: into(boolean(), func(g *agent) *bool { return &g.AdminStateUp }),
				get:   func(_ store.Snapshot, g *agent) any { return g.AdminStateUp }},
			{name: "description", put: true,
				takes: into(nullable(label()), func(g *agent) *string { return &g.Description }),
				get:   func(_ store.Snapshot, g *agent) any { return g.Description }},
			readOnly[agent]("created_at", words, func(_ store.Snapshot, g *agent) any { return agentTime(g.CreatedAt) }),
			readOnly[agent]("started_at", words, func(s store.Snapshot, g *agent) any {
				h := host(s, g)
				return agentTime(later(h.StartedAt, h.FirstSeen))
			}),
			readOnly[agent]("heartbeat_timestamp", words, func(s store.Snapshot, g *agent) any {
				h := host(s, g)
				return agentTime(later(later(h.HeardAt, h.FirstSeen), a.heard(g.Host)))
			}),
			readOnly[agent]("configurations", openapi.Of(openapi.Map), func(s store.Snapshot, g *agent) any {
				h := host(s, g)
				c := map[string]any{
					"version": g.Version, "underlay_mtu": h.UnderlayMTU,
					"gateway": h.GatewayPriority > 0, "gateway_devices": site.DevicesOn(s, g.Host),
				}
				if h.GatewayPriority > 0 {
					c["gateway_priority"] = h.GatewayPriority
				}
				if h.Fabric.On() {
					c["fabric_address"], c["fabric_port"], c["fabric_mtu"] = h.Fabric.Addr.String(), h.Fabric.Port, h.Fabric.MTU
				}
				return c
			}),
			readOnly[agent]("resource_versions", openapi.Of(openapi.Map), func(store.Snapshot, *agent) any { return map[string]any{} }),
		},
		fresh:    func(*http.Request) *agent { return &agent{} },
		id:       func(g *agent) string { return string(g.ID) },
		notFound: site.AgentNotFound,
		update:   a.site.UpdateAgent,
		remove: func(ctx context.Context, r *http.Request, id string, _ func(*agent) error) error {
			off, err := queryTruth(r, "off")
			if err != nil {
				return err
			}
			return a.site.DeleteAgent(ctx, id, off)
		},
		removeParams: []openapi.Parameter{inQuery("off", "The host is switched off, whatever was heard of it.", pattern(truthPattern))},
	}
}

// queryTruth is a truth value of a query; false where it is not given.
func queryTruth(r *http.Request, name string) (bool, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return false, nil
	}
	v, err := toBool(s)
	if err != nil {
		return false, named(name, err)
	}
	return v, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// agentTime writes a time as Neutron does for agents, other than for resources.
func agentTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }
