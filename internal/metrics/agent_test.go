package metrics

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAgentHandler(t *testing.T) {
	s := Agent{
		Drops:   map[string]uint64{"no_route": 7, "hairpin": 0},
		Ports:   []PortTraffic{{"p1", "tap1", Traffic{1, 2, 3, 4}}},
		Tunnels: []TunnelTraffic{{"200.200.0.1", "200.200.0.2", 100, Traffic{5, 6, 7, 8}}},
		VLANs:   []VLANTraffic{{"eth2", 42, Traffic{13, 14, 15, 16}}},
		Paths:   []Path{{"200.200.0.1", "200.200.0.2", 1400, "proven", "tunnel"}}, PathProbes: map[string]uint64{"sent": 17},
		SlowPath: map[string]uint64{"icmp": 9}, WantedRevision: 12, AppliedRevision: 11,
		PortStatus: map[string]int{"ACTIVE": 1}, Failing: map[string]bool{"rows": true, "links": false},
		Programs: []Program{{"from_workload", 1.5, 10}}, Maps: []Map{{"routes", 3, 100, 7, 4096}},
	}
	get := func(f func() (Agent, error)) (int, string) {
		w := httptest.NewRecorder()
		AgentHandler(f).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Code, w.Body.String()
	}
	code, body := get(func() (Agent, error) { return s, nil })
	if code != 200 {
		t.Fatalf("status %d: %s", code, body)
	}
	for _, want := range []string{
		`causeway_agent_drops_total{reason="no_route"} 7`, `causeway_agent_drops_total{reason="hairpin"} 0`,
		`causeway_agent_port_receive_packets_total{interface="tap1",port="p1"} 1`,
		`causeway_agent_port_receive_bytes_total{interface="tap1",port="p1"} 2`,
		`causeway_agent_port_transmit_packets_total{interface="tap1",port="p1"} 3`,
		`causeway_agent_port_transmit_bytes_total{interface="tap1",port="p1"} 4`,
		`causeway_agent_tunnel_receive_packets_total{tunnel_ip="200.200.0.1",vni="100",vtep="200.200.0.2"} 5`,
		`causeway_agent_tunnel_receive_bytes_total{tunnel_ip="200.200.0.1",vni="100",vtep="200.200.0.2"} 6`,
		`causeway_agent_tunnel_transmit_packets_total{tunnel_ip="200.200.0.1",vni="100",vtep="200.200.0.2"} 7`,
		`causeway_agent_tunnel_transmit_bytes_total{tunnel_ip="200.200.0.1",vni="100",vtep="200.200.0.2"} 8`,
		`causeway_agent_vlan_receive_packets_total{interface="eth2",vlan="42"} 13`, `causeway_agent_vlan_receive_bytes_total{interface="eth2",vlan="42"} 14`,
		`causeway_agent_vlan_transmit_packets_total{interface="eth2",vlan="42"} 15`, `causeway_agent_vlan_transmit_bytes_total{interface="eth2",vlan="42"} 16`,
		`causeway_agent_path_mtu_bytes{tunnel_ip="200.200.0.1",vtep="200.200.0.2"} 1400`, `causeway_agent_path_mtu_probes_total{kind="sent"} 17`,
		`causeway_agent_path_mtu_state{by="tunnel",state="proven",tunnel_ip="200.200.0.1",vtep="200.200.0.2"} 1`,
		`causeway_agent_slow_path_frames_total{kind="icmp"} 9`, `causeway_agent_wanted_revision 12`, `causeway_agent_applied_revision 11`,
		`causeway_agent_ports{status="ACTIVE"} 1`, `causeway_agent_step_failing{step="rows"} 1`, `causeway_agent_step_failing{step="links"} 0`,
		`causeway_agent_program_run_seconds_total{program="from_workload"} 1.5`, `causeway_agent_program_runs_total{program="from_workload"} 10`,
		`causeway_agent_map_memory_bytes{map="routes"} 4096`, `causeway_agent_map_rows{map="routes"} 3`, `causeway_agent_map_rows_limit{map="routes"} 100`, `causeway_agent_map_rows_left_out{map="routes"} 7`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("lacks %s", want)
		}
	}
	if code, body := get(func() (Agent, error) { return s, errors.New("the maps are gone") }); code != 500 || !strings.Contains(body, "the maps are gone") {
		t.Errorf("a snapshot that fails: %d %s", code, body)
	}
}
