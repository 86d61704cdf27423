package orchestrator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
)

// cloud is a site: the real API, over a store in memory unless it says otherwise,
// behind a server that can misbehave.
type cloud struct {
	t    testing.TB
	name string
	api  http.Handler
	srv  *httptest.Server

	mu sync.Mutex
	// between, if not nil, decides what becomes of a request: it calls next, or does
	// not.
	between func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter))
	// writes are the requests that change something.
	writes []string
}

func newCloud(t testing.TB, name string) *cloud { return newCloudMTU(t, name, 1500) }

func newCloudMTU(t testing.TB, name string, mtu int) *cloud {
	return newCloudOf(t, name, apiOn(sitetest.New(), mtu))
}

// apiOn is the API of a site that keeps its state in st.
func apiOn(st store.Store, mtu int) http.Handler {
	log := slog.New(slog.DiscardHandler)
	return neutronapi.New(site.New(st, site.Options{Logger: log, UnderlayMTU: mtu, Limits: site.Limits{Routes: 1000}}), neutronapi.Options{Logger: log})
}

// newCloudOf is a site that has this API.
func newCloudOf(t testing.TB, name string, api http.Handler) *cloud {
	c := &cloud{t: t, name: name, api: api}
	c.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A request that has come whole is served whole, and who has sent it is seen
		// to hang up.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		whole := r.WithContext(context.WithoutCancel(r.Context()))
		whole.Body = io.NopCloser(bytes.NewReader(body))
		c.mu.Lock()
		between := c.between
		if r.Method != http.MethodGet {
			c.writes = append(c.writes, r.Method+" "+r.URL.Path)
		}
		c.mu.Unlock()
		if between == nil {
			c.api.ServeHTTP(w, whole)
			return
		}
		between(w, r, func(w http.ResponseWriter) { c.api.ServeHTTP(w, whole) })
	}))
	t.Cleanup(c.srv.Close)
	return c
}

func (c *cloud) interpose(f func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter))) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.between = f
}

// object is what JSON makes of a resource.
type object = map[string]any

// call asks the API without the server in between. It fails the test for any other
// status than one of success.
func (c *cloud) call(method, path string, body any) object {
	c.t.Helper()
	status, out := c.try(method, path, body)
	if status >= 300 {
		c.t.Fatalf("%s: %s %s %v: %d %v", c.name, method, path, body, status, out)
	}
	return out
}

func (c *cloud) try(method, path string, body any) (int, object) {
	c.t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req := httptest.NewRequest(method, "http://site/v2.0/"+path, r)
	w := httptest.NewRecorder()
	c.api.ServeHTTP(w, req)
	var out object
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			c.t.Fatal(err)
		}
	}
	return w.Code, out
}

// make creates a resource and returns its id.
func (c *cloud) make(collection, key string, attrs object) string {
	c.t.Helper()
	out := c.call(http.MethodPost, collection, object{key: attrs})
	return out[key].(object)["id"].(string)
}

func (c *cloud) put(path, key string, attrs object) {
	c.t.Helper()
	c.call(http.MethodPut, path, object{key: attrs})
}

func (c *cloud) list(collection string) []object {
	c.t.Helper()
	out := c.call(http.MethodGet, collection, nil)
	for key, v := range out {
		if strings.HasSuffix(key, "_links") {
			continue
		}
		var list []object
		for _, x := range v.([]any) {
			list = append(list, x.(object))
		}
		return list
	}
	return nil
}

// one is the resource that has all the values.
func (c *cloud) one(collection string, want object) object {
	c.t.Helper()
	found := c.all(collection, want)
	if len(found) != 1 {
		c.t.Fatalf("%s: %d %s have %v", c.name, len(found), collection, want)
	}
	return found[0]
}

func (c *cloud) all(collection string, want object) []object {
	c.t.Helper()
	var found []object
	for _, o := range c.list(collection) {
		ok := true
		for k, v := range want {
			ok = ok && fmt.Sprint(o[k]) == fmt.Sprint(v)
		}
		if ok {
			found = append(found, o)
		}
	}
	return found
}

// tenant makes a router with a network behind it, and returns the router's id.
func (c *cloud) tenant(router string, cidrs ...string) string {
	c.t.Helper()
	id := c.make("routers", "router", object{"name": router, "tenant_id": "tenant"})
	for _, cidr := range cidrs {
		c.connect(id, router, cidr)
	}
	return id
}

func (c *cloud) connect(routerID, name, cidr string) (networkID, subnetID string) {
	c.t.Helper()
	net := c.make("networks", "network", object{"name": name + "-net", "tenant_id": "tenant"})
	sub := c.make("subnets", "subnet", object{"name": name + "-" + cidr[:strings.IndexByte(cidr, '/')], "network_id": net, "ip_version": 4, "cidr": cidr, "tenant_id": "tenant"})
	c.call(http.MethodPut, "routers/"+routerID+"/add_router_interface", object{"subnet_id": sub})
	return net, sub
}

// gateway makes a VTEP router and its gateway device.
func (c *cloud) gateway(name, tunnelIP string) string {
	c.t.Helper()
	r := c.make("routers", "router", object{"name": name + "-router"})
	return c.make("gw/gateway_devices", "gateway_device", object{"name": name, "type": "router_vtep", "resource_id": r, "tunnel_ips": []string{tunnelIP}})
}

// collections are all that a state is made of.
var collections = []string{"networks", "subnets", "ports", "routers", "gw/gateway_devices", "l2-gateways", "l2-gateway-connections"}

// state is everything in the API but what every change changes.
func (c *cloud) state() map[string]object {
	c.t.Helper()
	out := map[string]object{}
	for _, k := range collections {
		for _, o := range c.list(k) {
			delete(o, "revision_number")
			delete(o, "updated_at")
			out[k+"/"+o["id"].(string)] = o
		}
	}
	return out
}

// lab is some clouds and what orchestrates them.
type lab struct {
	t      testing.TB
	clouds []*cloud
	o      *orchestrator.Orchestrator
}

const (
	// The retries' waits are short, so that tests do not wait; the lease's term is
	// long enough for a busy machine.
	term    = 10 * time.Second
	backoff = time.Millisecond
)

func options(holder string) orchestrator.Options {
	return orchestrator.Options{
		Sites: sites.Options{Backoff: backoff, Timeout: 10 * time.Second, Attempts: 8, Getenv: func(string) string { return "" }},
		Lease: lease.Options{Term: term, Holder: holder},
	}
}

// newLab makes the sites of the chapter's example, or more like them.
func newLab(t testing.TB, n int) *lab {
	return newLabOf(t, n, func(i int) *cloud { return newCloud(t, siteName(i)) })
}

// newLabOf has sites that hold nothing yet.
func newLabOf(t testing.TB, n int, site func(i int) *cloud) *lab {
	l := &lab{t: t, o: orchestrator.New(options(""))}
	for i := range n {
		c := site(i)
		c.tenant("tenant-router", fmt.Sprintf("10.0.%d.0/24", i))
		c.gateway("gateway", tunnelIP(i))
		l.clouds = append(l.clouds, c)
	}
	return l
}

func siteName(i int) string {
	if i < 26 {
		return "site-" + string(rune('a'+i))
	}
	return fmt.Sprintf("site-%d", i)
}

func tunnelIP(i int) string { return fmt.Sprintf("200.200.%d.%d", i/250, 1+i%250) }

// peering is one of all sites.
func (l *lab) peering() *peering.Peering {
	p := &peering.Peering{Name: "acme", Network: peering.Network{CIDR: netip.MustParsePrefix("192.168.0.0/24"), VNI: 100}}
	for _, c := range l.clouds {
		p.Sites = append(p.Sites, peering.Site{Name: c.name, Access: peering.Access{Endpoint: c.srv.URL}, Gateway: peering.Gateway{Device: "gateway"}, Router: "tenant-router"})
	}
	return p
}

func (l *lab) states() []map[string]object {
	var out []map[string]object
	for _, c := range l.clouds {
		out = append(out, c.state())
	}
	return out
}

func (l *lab) writes() []string {
	var out []string
	for _, c := range l.clouds {
		c.mu.Lock()
		out = append(out, c.writes...)
		c.writes = nil
		c.mu.Unlock()
	}
	return slices.DeleteFunc(out, func(w string) bool { return strings.Contains(w, "causeway:lease:") })
}

// setMACs gives the sites the MACs of the guide's example.
func setMACs(p *peering.Peering) {
	for i, m := range []string{"16:b7:b5:a4:57:75", "6f:e4:5a:fa:8e:09"} {
		p.Sites[i].MAC, _ = model.ParseNamedMAC(m)
	}
}
