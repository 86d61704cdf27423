package neutronapi_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// allSucceed sends n requests at once, all of which change one thing. Each must be
// done: how often the others came first is not the client's affair.
func (a *etcdAPI) allSucceed(what string, n int, request func(i int) (path, body string)) {
	a.t.Helper()
	type answer struct {
		status int
		out    map[string]any
	}
	answers := make([]answer, n)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			path, body := request(i)
			answers[i].status, answers[i].out = a.call(http.MethodPut, path, body)
		})
	}
	testutil.Wait(a.t, what, wg.Wait)
	a.t.Logf("%s: %d at once took %v", what, n, time.Since(begin).Round(time.Millisecond))
	failed := 0
	for _, x := range answers {
		if x.status != http.StatusOK {
			if failed++; failed <= 3 {
				a.t.Errorf("%s: %d %v", what, x.status, x.out)
			}
		}
	}
	if failed > 0 {
		a.t.Errorf("%s: %d of %d failed", what, failed, n)
	}
}

// TestManyRoutesToOneRouter: two hundred clients that each add a route to the same
// router meet each other again and again, and all of them get it done.
func TestManyRoutesToOneRouter(t *testing.T) {
	a := newEtcdAPI(t)
	network := a.post("networks", `{"network":{}}`)
	subnet := a.post("subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"cidr":"10.0.0.0/24","ip_version":4}}`, network))
	router := a.post("routers", `{"router":{}}`)
	path := "/v2.0/routers/" + router
	if status, out := a.call("PUT", path+"/add_router_interface", fmt.Sprintf(`{"subnet_id":%q}`, subnet)); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	const n = 200
	a.allSucceed("routes to one router", n, func(i int) (string, string) {
		return path + "/add_extraroutes", fmt.Sprintf(`{"router":{"routes":[{"destination":"10.9.%d.0/24","nexthop":"10.0.0.9"}]}}`, i)
	})
	if _, out := a.call("GET", path, ""); len(out["routes"].([]any)) != n {
		t.Errorf("the router has %d routes", len(out["routes"].([]any)))
	}
}

// TestManyInterfacesOfOneRouter is the same with subnets.
func TestManyInterfacesOfOneRouter(t *testing.T) {
	a := newEtcdAPI(t)
	router := a.post("routers", `{"router":{}}`)
	const n = 64
	var subnets [n]string
	for i := range n {
		network := a.post("networks", `{"network":{}}`)
		subnets[i] = a.post("subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"cidr":"10.0.%d.0/24","ip_version":4}}`, network, i))
	}
	a.allSucceed("interfaces of one router", n, func(i int) (string, string) {
		return "/v2.0/routers/" + router + "/add_router_interface", fmt.Sprintf(`{"subnet_id":%q}`, subnets[i])
	})
}
