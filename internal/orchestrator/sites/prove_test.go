package sites

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// TestHolder: with a further router come the networks and subnets that it is on, and whether they are
// enabled; of a router with very many interfaces it is said that they are not read.
func TestHolder(t *testing.T) {
	more := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const hop = `{"id":"p1","network_id":"n1","device_id":"r","device_owner":"network:router_interface","admin_state_up":false,"mac_address":"fa:16:3e:00:00:01","fixed_ips":[{"subnet_id":"s1","ip_address":"10.0.0.9"}]}`
		q := r.URL.Query()
		switch {
		case strings.HasSuffix(r.URL.Path, "/ports") && q.Get("device_id") == "":
			fmt.Fprintf(w, `{"ports":[%s]}`, hop)
		case strings.HasSuffix(r.URL.Path, "/ports"):
			all := []string{hop, `{"id":"p2","network_id":"n2","device_id":"r","device_owner":"network:router_interface","mac_address":"fa:16:3e:00:00:02","fixed_ips":[{"subnet_id":"s2","ip_address":"10.9.0.1"}]}`}
			for i := range more {
				all = append(all, fmt.Sprintf(`{"id":"m%d","network_id":"n2","device_id":"r","mac_address":"fa:16:3e:00:00:03"}`, i))
			}
			fmt.Fprintf(w, `{"ports":[%s]}`, strings.Join(all, ","))
		case strings.HasSuffix(r.URL.Path, "/routers"):
			fmt.Fprint(w, `{"routers":[{"id":"r","name":"far","admin_state_up":false}]}`)
		case strings.HasSuffix(r.URL.Path, "/networks") && len(q["id"]) == 2:
			fmt.Fprint(w, `{"networks":[{"id":"n1","admin_state_up":true},{"id":"n2","admin_state_up":false}]}`)
		case strings.HasSuffix(r.URL.Path, "/subnets") && len(q["id"]) == 2:
			fmt.Fprint(w, `{"subnets":[{"id":"s1","network_id":"n1","cidr":"10.0.0.0/24"},{"id":"s2","network_id":"n2","cidr":"10.9.0.0/24"}]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	c := connect(t, peering.Access{Endpoint: srv.URL}, Options{})
	ask := func() (*observed.Holder, error) {
		return c.Holder(t.Context(), []string{"n1"}, netip.MustParseAddr("10.0.0.9"))
	}
	h, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	if h.Port.AdminStateUp || h.Router.AdminStateUp || len(h.Interfaces) != 2 || !h.Interfaces[1].AdminStateUp {
		t.Errorf("%+v", h)
	}
	if n, s := h.Network("n2"), h.Subnet("s2"); n == nil || n.AdminStateUp || s == nil || s.CIDR.String() != "10.9.0.0/24" || h.Network("n3") != nil {
		t.Errorf("%+v %+v", n, s)
	}
	more = mostInterfaces
	if _, err := ask(); err == nil || !strings.Contains(err.Error(), "router r has more than 400 interfaces") {
		t.Errorf("%v", err)
	}
}
