package neutronapi_test

import (
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
)

// hosts makes hosts known whose agents have connected.
func (s *server) hosts(names ...model.HostName) {
	s.t.Helper()
	for i, name := range names {
		end := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(101 + i)}), 4798)
		if err := s.site.RegisterHost(s.t.Context(), site.Session{Host: name, Controller: "c", Number: uint64(i + 1), Version: "v9", Fabric: end}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestAgents: the site's hosts as Neutron has its agents.
func TestAgents(t *testing.T) {
	s := newServer(t)
	_, none := s.call("GET", "/v2.0/agents", "")
	if l := none["agents"].([]any); len(l) != 0 {
		t.Fatalf("%v", l)
	}
	s.hosts("h1", "h2", "h3")
	id := string(site.AgentID("h2"))
	agent := s.want(http.StatusOK, "GET", "/v2.0/agents/"+id, "")
	for k, want := range map[string]any{
		"id": id, "agent_type": "Causeway agent", "binary": "causeway-agent", "host": "h2", "topic": "N/A", "alive": true, "admin_state_up": true,
		"description": "", "availability_zone": nil,
	} {
		if got, ok := agent[k]; !ok || got != want {
			t.Errorf("%s is %v, want %v", k, got, want)
		}
	}
	for _, k := range []string{"created_at", "started_at", "heartbeat_timestamp"} {
		if text, _ := agent[k].(string); len(text) != len("2006-01-02 15:04:05") {
			t.Errorf("%s is %v", k, agent[k])
		}
	}
	if c, _ := agent["configurations"].(map[string]any); c["version"] != "v9" {
		t.Errorf("configurations: %v", agent["configurations"])
	}
	if err := s.site.RegisterHost(t.Context(), site.Session{Host: "h2", Controller: "c", Number: 20, Version: "v9", Fabric: netip.MustParseAddrPort("192.0.2.2:4798")}); err != nil {
		t.Fatal(err)
	}
	if err := s.site.SetMTUs(t.Context(), "h2", 1500, 9000); err != nil {
		t.Fatal(err)
	}
	agent = s.want(http.StatusOK, "GET", "/v2.0/agents/"+id, "")
	want := map[string]any{"version": "v9", "underlay_mtu": 1500.0, "fabric_address": "192.0.2.2", "fabric_port": 4798.0, "fabric_mtu": 9000.0,
		"gateway": false, "gateway_devices": 0.0}
	if c, _ := agent["configurations"].(map[string]any); !maps.Equal(c, want) {
		t.Errorf("configurations: %v, want %v", c, want)
	}
	if status, out := s.call("POST", "/v2.0/agents", `{"agent": {"host": "h4"}}`); status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d %v", status, out)
	}
	if status, out := s.call("PUT", "/v2.0/agents/"+id, `{"agent": {"host": "h4"}}`); status != http.StatusBadRequest {
		t.Errorf("PUT of the host: %d %v", status, out)
	}
	agent = s.want(http.StatusOK, "PUT", "/v2.0/agents/"+id, `{"agent": {"admin_state_up": false, "description": "in repair"}}`)
	if agent["admin_state_up"] != false || agent["description"] != "in repair" {
		t.Errorf("%v", agent)
	}
	names := func(query string) (out []string) {
		t.Helper()
		status, l := s.call("GET", "/v2.0/agents?"+query, "")
		if status != http.StatusOK {
			t.Fatalf("%s: %d %v", query, status, l)
		}
		for _, x := range l["agents"].([]any) {
			out = append(out, x.(map[string]any)["host"].(string))
		}
		return out
	}
	for query, want := range map[string]string{
		"sort_key=host&sort_dir=desc": "h3 h2 h1", "host=h3": "h3", "admin_state_up=False": "h2", "alive=true&sort_key=host&sort_dir=asc": "h1 h2 h3", "alive=False": "",
		"sort_key=host&sort_dir=asc&limit=1&marker=" + string(site.AgentID("h1")): "h2", "binary=neutron-l3-agent": "", "description=in+repair&fields=host": "h2",
	} {
		if got := strings.Join(names(query), " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// TestDeleteAgent: a host that may still be heard is not deleted, unless it is off.
func TestDeleteAgent(t *testing.T) {
	s := newServer(t)
	s.hosts("h1", "h2")
	one, two := "/v2.0/agents/"+string(site.AgentID("h1")), "/v2.0/agents/"+string(site.AgentID("h2"))
	if status, out := s.call("DELETE", one, ""); status != http.StatusConflict || !strings.Contains(text(out), "may still be heard") {
		t.Errorf("%d %v", status, out)
	}
	if status, out := s.call("DELETE", one+"?off=perhaps", ""); status != http.StatusBadRequest {
		t.Errorf("%d %v", status, out)
	}
	if _, err := s.site.HostGone(t.Context(), site.Signs{Host: "h1", Controller: "c", Session: 1}); err != nil {
		t.Fatal(err)
	}
	if a := s.want(http.StatusOK, "GET", one, ""); a["alive"] != false {
		t.Errorf("%v", a)
	}
	for _, path := range []string{one, two + "?off=true"} {
		if status, out := s.call("DELETE", path, ""); status != http.StatusNoContent {
			t.Errorf("%s: %d %v", path, status, out)
		}
		if status, out := s.call("DELETE", path, ""); status != http.StatusNotFound {
			t.Errorf("%s again: %d %v", path, status, out)
		}
	}
	// Another host may come now.
	if err := s.site.RegisterHost(t.Context(), site.Session{Host: "h9", Controller: "c", Number: 9, Fabric: netip.MustParseAddrPort("192.0.2.9:4798")}); err != nil {
		t.Error(err)
	}
}
