package neutronapi_test

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// newQuotaServer has Neutron's default limits.
func newQuotaServer(t testing.TB) *server {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st := sitetest.New()
	s := site.New(st, site.Options{Logger: log, Quotas: site.NeutronQuotas()})
	return &server{t: t, st: st, site: s, h: neutronapi.New(s, neutronapi.Options{Logger: log})}
}

func TestQuotas(t *testing.T) {
	s := newQuotaServer(t)
	const defaults = `{"network":100,"subnet":100,"port":500,"router":10,"subnetpool":-1,"rbac_policy":10,"floatingip":50,"security_group":10,"security_group_rule":100}`
	s.wantObject(s.want(200, "GET", "/v2.0/quotas/p", ""), defaults)
	s.wantObject(s.want(200, "GET", "/v2.0/quotas/p/default", ""), defaults)
	if _, out := s.call("GET", "/v2.0/quotas", ""); fmt.Sprint(out) != "map[quotas:[]]" {
		t.Errorf("quotas that nobody set: %v", out)
	}
	if _, out := s.call("GET", "/v2.0/quotas/tenant", ""); fmt.Sprint(out) != "map[tenant:map[tenant_id:default]]" {
		t.Errorf("tenant: %v", out)
	}
	if _, out := s.call("GET", "/v2.0/quotas/project.json", ""); fmt.Sprint(out) != "map[project:map[project_id:default]]" {
		t.Errorf("project: %v", out)
	}
	q := s.want(200, "PUT", "/v2.0/quotas/p", `{"quota":{"network":"2","router":-1,"security_group":0}}`)
	if q["network"] != 2.0 || q["router"] != -1.0 || q["port"] != 500.0 {
		t.Errorf("changed quota: %v", q)
	}
	_, out := s.call("GET", "/v2.0/quotas", "")
	if l := out.list("quotas"); len(l) != 1 || l[0].(map[string]any)["project_id"] != "p" || l[0].(map[string]any)["network"] != 2.0 {
		t.Errorf("quotas: %v", out)
	}
	for range 2 {
		s.post("/v2.0/networks", `{"network":{"tenant_id":"p"}}`)
	}
	s.wantError(409, "OverQuota", "Quota exceeded for resources: ['network'].", "POST", "/v2.0/networks", `{"network":{"tenant_id":"p"}}`)
	net := s.post("/v2.0/networks", `{"network":{"tenant_id":"p/q"}}`) // another project
	d := s.want(200, "GET", "/v2.0/quotas/p/details.json", "")
	if fmt.Sprint(d["network"], d["router"]) != "map[limit:2 reserved:0 used:2] map[limit:-1 reserved:0 used:0]" {
		t.Errorf("details: %v", d)
	}
	s.wantError(400, "HTTPBadRequest", "Quota limit 1 for network must be greater than or equal to already used 2", "PUT", "/v2.0/quotas/p", `{"quota":{"network":1,"check_limit":true}}`)
	s.want(200, "PUT", "/v2.0/quotas/p", `{"quota":{"network":1}}`)
	s.wantError(409, "OverQuota", "", "POST", "/v2.0/networks", `{"network":{"tenant_id":"p"}}`)
	s.want(204, "DELETE", "/v2.0/quotas/p", "")
	s.wantError(404, "TenantQuotaNotFound", "Quota for tenant p could not be found.", "DELETE", "/v2.0/quotas/p", "")
	s.post("/v2.0/networks", `{"network":{"tenant_id":"p"}}`)

	// A bulk request counts all it makes, or makes nothing.
	s.want(200, "PUT", "/v2.0/quotas/b", `{"quota":{"port":3}}`)
	bulk := func(n int) string {
		body := ""
		for i := range n {
			if i > 0 {
				body += ","
			}
			body += fill(`{"network_id":"$N","tenant_id":"b"}`, "$N", net)
		}
		return `{"ports":[` + body + `]}`
	}
	s.wantError(409, "OverQuota", "['port']", "POST", "/v2.0/ports", bulk(4))
	s.want(201, "POST", "/v2.0/ports", bulk(3))
	s.wantError(409, "OverQuota", "['port']", "POST", "/v2.0/ports", bulk(1))
	// Routers' interfaces count as ports of the router's project.
	router := s.post("/v2.0/routers", `{"router":{"tenant_id":"b"}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	s.wantError(409, "OverQuota", "['port']", "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	checkSound(s)
}

func TestQuotaErrors(t *testing.T) {
	const bad = "HTTPBadRequest"
	runErrors(t, []errorRow{
		{400, bad, "Invalid input for port. Reason: '-2' is not in range -1 to 2147483647.", put + "quotas/p", `{"quota":{"port":-2}}`},
		{400, bad, "'2147483648' is not in range", put + "quotas/p", `{"quota":{"port":2147483648}}`},
		{400, bad, "Invalid input for port. Reason: 'x' is not an integer.", put + "quotas/p", `{"quota":{"port":"x"}}`},
		{400, bad, "Unrecognized attribute(s) 'nothing'", put + "quotas/p", `{"quota":{"nothing":1}}`},
		{400, bad, "Unable to find 'quota' in request body", put + "quotas/p", `{"network":1}`},
		{400, bad, "is not a valid project", put + "quotas/%20", `{"quota":{"port":1}}`},
		{404, "TenantQuotaNotFound", "Quota for tenant p could not be found.", del + "quotas/p", ``},
		{405, "HTTPMethodNotAllowed", "", post + "quotas", `{"quota":{}}`},
	})
}

// Quotas hold whatever comes before: limits raised and lowered, lifted and set
// again, resources made while there was no limit, and others deleted.
func TestQuotaChanges(t *testing.T) {
	s := newServer(t)
	var nets []string
	create := func() bool {
		status, out := s.call("POST", "/v2.0/networks", `{"network":{}}`)
		if status == 201 {
			nets = append(nets, out["network"].(map[string]any)["id"].(string))
		} else if status != 409 {
			t.Fatal(status, out)
		}
		return status == 201
	}
	for _, limit := range []int{5, 20, 3, -1, 30, 90, 70, 64, -1, 100, 2, 66} {
		s.want(200, "PUT", "/v2.0/quotas/default", fmt.Sprintf(`{"quota":{"network":%d}}`, limit))
		for range 40 {
			had := len(nets)
			if ok := create(); ok != (limit < 0 || had < limit) {
				t.Fatalf("limit %d with %d networks: created %v", limit, had, ok)
			}
		}
		for range 15 {
			if len(nets) > 0 {
				s.want(204, "DELETE", "/v2.0/networks/"+nets[0], "")
				nets = nets[1:]
			}
		}
		checkSound(s)
	}
}

// Creators at once, on two controllers, never exceed a quota, and get all of it.
func TestRaceQuota(t *testing.T) {
	pair := newEtcdPair(t)
	for _, limit := range []int{7, 60, 200} {
		project := fmt.Sprintf("p%d", limit)
		pair[0].call("PUT", "/v2.0/quotas/"+project, fmt.Sprintf(`{"quota":{"network":%d}}`, limit))
		var made atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range limit/8 + 3 {
					status, out := pair[i%2].call("POST", "/v2.0/networks", fmt.Sprintf(`{"network":{"tenant_id":%q}}`, project))
					switch {
					case status == 201:
						made.Add(1)
					case status != 409 || out["type"] != "OverQuota":
						t.Errorf("%d %v", status, out)
					}
				}
			})
		}
		testutil.Wait(t, "the requests", wg.Wait)
		if int(made.Load()) != limit {
			t.Errorf("%d networks were made, the quota is %d", made.Load(), limit)
		}
	}
	pair[1].checkSound()
}

// What quotas cost: 8 creators in one project, under a limit and without, with few
// and with many networks there.
func BenchmarkCreateUnderQuota(b *testing.B) {
	for _, limit := range []int{-1, 100_000} {
		for _, there := range []int{0, 10_000} {
			b.Run(fmt.Sprintf("limit=%d/there=%d", limit, there), func(b *testing.B) {
				log := slog.New(slog.NewTextHandler(io.Discard, nil))
				st, err := etcdstore.Open(b.Context(), etcdstore.Options{DataDir: b.TempDir(), Logger: log})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = st.Close() })
				s := site.New(st, site.Options{Logger: log, Quotas: map[string]int64{site.QuotaNetwork: int64(limit)}})
				srv := &server{t: b, site: s, h: neutronapi.New(s, neutronapi.Options{Logger: log})}
				for n := 0; n < there; n += 200 {
					body := `{"networks":[{}`
					for range 199 {
						body += `,{}`
					}
					srv.want(201, "POST", "/v2.0/networks", body+`]}`)
				}
				b.SetParallelism(4) // times GOMAXPROCS
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if status, out := srv.call("POST", "/v2.0/networks", `{"network":{}}`); status != 201 {
							b.Errorf("%d %v", status, out)
						}
					}
				})
			})
		}
	}
}

// Creations and deletions side by side never hold more than the quota, and the state
// stays sound.
func TestQuotaChurn(t *testing.T) {
	pair := newEtcdPair(t)
	const limit = 20
	pair[0].call("PUT", "/v2.0/quotas/p", fmt.Sprintf(`{"quota":{"network":%d}}`, limit))
	var refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a := pair[i%2]
			var mine []string
			for n := range 40 {
				if n%5 == 4 && len(mine) > 0 {
					if status, out := a.call("DELETE", "/v2.0/networks/"+mine[0], ""); status != 204 {
						t.Errorf("delete: %d %v", status, out)
					}
					mine = mine[1:]
				}
				status, out := a.call("POST", "/v2.0/networks", `{"network":{"tenant_id":"p"}}`)
				switch {
				case status == 201:
					mine = append(mine, out["id"].(string))
				case status == 409 && out["type"] == "OverQuota":
					refused.Add(1)
				default:
					t.Errorf("create: %d %v", status, out)
				}
				s, err := a.site.View(t.Context())
				if err != nil {
					t.Error(err)
				} else if used := site.Used(s, "p", site.QuotaNetwork); used > limit {
					t.Errorf("%d networks under a quota of %d", used, limit)
				}
			}
		})
	}
	testutil.Wait(t, "the requests", wg.Wait)
	if refused.Load() == 0 {
		t.Error("the quota was never reached")
	}
	pair[0].checkSound()
}
