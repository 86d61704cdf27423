package neutronapi_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
)

// readCounter counts the reads that ask the store for its newest state.
type readCounter struct {
	*sitetest.Store
	views atomic.Int64
}

func (c *readCounter) View(ctx context.Context) (store.Snapshot, error) {
	c.views.Add(1)
	return c.Store.View(ctx)
}

// TestWritesDoNotReadAgain: a write's answer is made from what its transaction led to,
// without another read.
func TestWritesDoNotReadAgain(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st := &readCounter{Store: sitetest.New()}
	rules := site.New(st, site.Options{Logger: log})
	s := &server{t: t, st: st.Store, site: rules, h: neutronapi.New(rules, neutronapi.Options{Logger: log})}
	write := func(status int, method, path, body string) object {
		t.Helper()
		before := st.views.Load()
		o := s.want(status, method, path, body)
		if n := st.views.Load() - before; n != 0 {
			t.Errorf("%s %s reads the store %d times", method, path, n)
		}
		return o
	}
	net := write(201, "POST", "/v2.0/networks", `{"network":{"name":"n"}}`)["id"]
	sub := write(201, "POST", "/v2.0/subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/24"}}`, net))["id"]
	write(201, "POST", "/v2.0/ports", fmt.Sprintf(`{"ports":[{"network_id":%q},{"network_id":%q}]}`, net, net))
	port := write(201, "POST", "/v2.0/ports", fmt.Sprintf(`{"port":{"network_id":%q}}`, net))["id"]
	if p := write(200, "PUT", fmt.Sprint("/v2.0/ports/", port), `{"port":{"name":"new"}}`); p["name"] != "new" || p["status"] != "DOWN" {
		t.Errorf("the port is %v", p)
	}
	router := fmt.Sprint("/v2.0/routers/", write(201, "POST", "/v2.0/routers", `{"router":{}}`)["id"])
	write(200, "PUT", router+"/add_router_interface", fmt.Sprintf(`{"subnet_id":%q}`, sub))
	write(200, "PUT", router+"/add_extraroutes", `{"router":{"routes":[{"destination":"10.9.0.0/24","nexthop":"10.0.0.9"}]}}`)
	write(200, "PUT", router+"/tags", `{"tags":["a"]}`)
	write(200, "PUT", "/v2.0/quotas/p", `{"quota":{"port":5}}`)
	write(204, "DELETE", fmt.Sprint("/v2.0/ports/", port), "")
}
