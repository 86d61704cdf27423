package scenario

import (
	"net/url"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/trace"
)

// traceFrom asks a site for the way of a ping from a tenant's workload, and, where
// that leaves by a tunnel, the site whose tunnel IP it goes to. It returns the last
// answer and the site that gave it.
func (tn *tenant) traceFrom(workload, to string) (trace.Report, *site) {
	s := tn.site
	s.lab.t.Helper()
	r := s.trace("ports/"+tn.workloadPorts[workload]+"/trace", map[string]any{"to": to})
	if r.Next == nil {
		return r, s
	}
	for _, other := range s.lab.sites {
		list, err := other.api.List(s.lab.t.Context(), client.GatewayDevices, url.Values{})
		if err != nil {
			s.lab.t.Fatal(err)
		}
		for _, d := range list {
			if ips, ok := d["tunnel_ips"].([]any); ok && len(ips) == 1 && ips[0] == r.Next.TunnelIP.String() {
				return other.trace("gw/gateway_devices/"+client.ID(d)+"/trace", r.Next.Request), other
			}
		}
	}
	return r, s
}

func (s *site) trace(path string, question any) trace.Report {
	s.lab.t.Helper()
	var answer struct {
		Trace trace.Report `json:"trace"`
	}
	if err := s.api.Post(s.lab.t.Context(), path, map[string]any{"trace": question}, &answer); err != nil {
		s.lab.t.Fatalf("%s: trace: %v", s.name, err)
	}
	return answer.Trace
}
