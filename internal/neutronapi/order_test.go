package neutronapi_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/testutil"
)

// checkSound fails the test if the store holds half a resource.
func checkSound(s *server) {
	s.t.Helper()
	snap, err := s.site.View(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if found := site.Check(snap); len(found) > 0 {
		s.t.Fatalf("the state is not sound:\n%s", strings.Join(found, "\n"))
	}
}

// TestDeleteInEveryOrder deletes the chapter's resources in random orders. A
// deletion succeeds or is a conflict, every order comes to its end, the state is
// sound after each step, and nothing is left.
func TestDeleteInEveryOrder(t *testing.T) {
	testutil.OneGoroutine(t)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newServer(t)
		ch := build(s, siteA)
		checkSound(s)
		steps := []struct{ method, path, body string }{
			{"DELETE", "networks/" + ch.tenantNet, ""},
			{"DELETE", "networks/" + ch.msNet, ""},
			{"DELETE", "subnets/" + ch.tenantSubnet, ""},
			{"DELETE", "subnets/" + ch.msSubnet, ""},
			{"DELETE", "routers/" + ch.peerRouter, ""},
			{"DELETE", "routers/" + ch.vtepRouter, ""},
			{"DELETE", "gw/gateway_devices/" + ch.device, ""},
			{"DELETE", "gw/gateway_devices/" + ch.device + "/remote_mac_entries/" + ch.remoteMAC, ""},
			{"DELETE", "l2-gateways/" + ch.l2gw, ""},
			{"DELETE", "l2-gateway-connections/" + ch.conn, ""},
			{"DELETE", "ports/" + ch.remotePort, ""},
			{"DELETE", "ports/" + ch.peerPort, ""},
			{"PUT", "routers/" + ch.peerRouter + "/remove_router_interface", fill(`{"port_id":"$P"}`, "$P", ch.peerPort)},
			{"PUT", "routers/" + ch.peerRouter + "/remove_router_interface", fill(`{"subnet_id":"$S"}`, "$S", ch.tenantSubnet)},
			{"PUT", "routers/" + ch.peerRouter, `{"router":{"routes":[]}}`},
		}
		done := make([]bool, len(steps))
		for left, rounds := len(steps), 0; left > 0; rounds++ {
			if rounds > 10_000 {
				t.Fatalf("seed %d: no end", seed)
			}
			i := r.IntN(len(steps))
			if done[i] {
				continue
			}
			status, out := s.call(steps[i].method, "/v2.0/"+steps[i].path, steps[i].body)
			switch status {
			case 200, 204, 404: // 404: went with something else
				done[i] = true
				left--
			case 409:
			default:
				t.Fatalf("seed %d: %s %s: %d %v", seed, steps[i].method, steps[i].path, status, out)
			}
			checkSound(s)
		}
		if err := s.site.ReclaimKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := s.st.Dump(); len(left) > 0 {
			t.Fatalf("seed %d: left behind: %q", seed, left)
		}
	}
}

// TestGatewayDeviceComesBack makes sure that a deleted device leaves its router, its
// tunnel IP and its remote MACs free.
func TestGatewayDeviceComesBack(t *testing.T) {
	s := newServer(t)
	router := s.post("/v2.0/routers", `{"router":{}}`)
	for i := range 3 {
		dev := s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["1.1.1.1"]}}`, "$R", router))
		for j := range 5 {
			s.post("/v2.0/gw/gateway_devices/"+dev+"/remote_mac_entries", fmt.Sprintf(`{"remote_mac_entry":{"mac_address":"02:00:00:00:00:%02d","vtep_address":"2.2.2.2","segmentation_id":"%d"}}`, j, i+1))
		}
		s.want(204, "DELETE", "/v2.0/gw/gateway_devices/"+dev, "")
		checkSound(s)
	}
	s.want(204, "DELETE", "/v2.0/routers/"+router, "")
}
