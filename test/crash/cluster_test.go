package crash

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// cluster is an etcd with several controllers on it.
type cluster struct {
	t     *testing.T
	owner *etcdstore.Store // has the etcd inside
	apis  []*api
}

// newCluster starts an etcd, in this process and at a unix socket, and n controllers,
// which let a router have as many routes as a test needs.
func newCluster(t *testing.T, n int, quota int64) *cluster {
	t.Helper()
	dir := tempDir(t)
	socket := filepath.Join(dir, "etcd.sock")
	owner, err := etcdstore.Open(testContext(t), etcdstore.Options{DataDir: filepath.Join(dir, "etcd"), ClientSocket: socket, QuotaBytes: quota})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := owner.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{t: t, owner: owner}
	for range n {
		url := start(t, "--etcd-endpoints", "unix://"+socket, "--max-routes", "65536")
		a := newAPI(url)
		t.Cleanup(a.close)
		c.apis = append(c.apis, a)
	}
	return c
}

// must calls controller i and wants the status.
func (c *cluster) must(i, status int, method, path string, body any) attrs {
	c.t.Helper()
	got, out, err := c.apis[i%len(c.apis)].call(c.t.Context(), method, path, body)
	if err != nil || got != status {
		c.t.Fatalf("%s %s: %d %v %v, want %d", method, path, got, out, err, status)
	}
	return out
}

func (c *cluster) create(i int, coll string, in attrs) string {
	c.t.Helper()
	return str(one(c.must(i, 201, "POST", coll, attrs{single(coll): in}), coll), "id")
}

// sound looks at the state behind all controllers.
func (c *cluster) sound() {
	c.t.Helper()
	snap, err := c.owner.View(testContext(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	if found := site.Check(snap); len(found) > 0 {
		c.t.Errorf("the state is not sound:\n%s", strings.Join(found, "\n"))
	}
}

// TestReadsThroughAnyController: what one controller has acknowledged, every
// controller shows to every read that begins after it; and no read shows less than
// a read that ended before it began.
func TestReadsThroughAnyController(t *testing.T) {
	c := newCluster(t, 3, 0)
	net := c.create(0, "networks", attrs{"name": "0"})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	const rounds = 150
	var acked, seen atomic.Int64 // the largest name
	raise := func(v *atomic.Int64, n int64) {
		for old := v.Load(); old < n && !v.CompareAndSwap(old, n); old = v.Load() {
		}
	}
	var readers, writing sync.WaitGroup
	var reads atomic.Int64
	for i := range 6 {
		readers.Go(func() {
			for ctx.Err() == nil {
				low := max(acked.Load(), seen.Load())
				status, out, err := c.apis[i%len(c.apis)].call(ctx, "GET", "networks/"+net, nil)
				if ctx.Err() != nil {
					return
				}
				var n int64
				_, serr := fmt.Sscan(str(one(out, "networks"), "name"), &n)
				if err != nil || status != 200 || serr != nil {
					t.Errorf("read: %d %v %v", status, out, err)
					return
				}
				if n < low {
					t.Errorf("controller %d showed %d after %d was acknowledged or seen", i%len(c.apis), n, low)
					return
				}
				raise(&seen, n)
				reads.Add(1)
			}
		})
	}
	writing.Go(func() {
		for n := 1; n <= rounds; n++ {
			if status, out, err := c.apis[n%len(c.apis)].call(ctx, "PUT", "networks/"+net, attrs{"network": attrs{"name": fmt.Sprint(n)}}); err != nil || status != 200 {
				t.Errorf("write: %d %v %v", status, out, err)
				return
			}
			raise(&acked, int64(n))
		}
	})
	// Meanwhile others make and delete, and look for it everywhere.
	for w := range 4 {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range rounds / 5 {
				a := c.apis[rng.IntN(len(c.apis))]
				status, out, err := a.call(ctx, "POST", "routers", attrs{"router": attrs{"name": "r"}})
				if err != nil || status != 201 {
					t.Errorf("create: %d %v %v", status, out, err)
					return
				}
				id := str(one(out, "routers"), "id")
				everywhere(ctx, t, c.apis, "routers/"+id, 200)
				if status, out, err := c.apis[rng.IntN(len(c.apis))].call(ctx, "DELETE", "routers/"+id, nil); err != nil || status != 204 {
					t.Errorf("delete: %d %v %v", status, out, err)
					return
				}
				everywhere(ctx, t, c.apis, "routers/"+id, 404)
			}
		})
	}
	testutil.Wait(t, "the writers", writing.Wait)
	cancel()
	testutil.Wait(t, "the readers", readers.Wait)
	t.Logf("%d reads beside %d writes", reads.Load(), rounds)
	if reads.Load() < rounds {
		t.Error("too little was read for this to prove anything")
	}
	c.sound()
}

// everywhere asks all controllers at once.
func everywhere(ctx context.Context, t *testing.T, apis []*api, path string, want int) {
	var wg sync.WaitGroup
	for i, a := range apis {
		wg.Go(func() {
			if status, out, err := a.call(ctx, "GET", path, nil); err != nil || status != want {
				t.Errorf("controller %d, GET %s: %d %v %v, want %d", i, path, status, out, err, want)
			}
		})
	}
	testutil.Wait(t, "the requests", wg.Wait)
}

// race sends n requests at once, over all controllers in turn, and wants one to win
// and the others to be told so.
func (c *cluster) race(what, typ string, n int, request func(i int) (method, path string, body any)) {
	c.t.Helper()
	var wg sync.WaitGroup
	var won atomic.Int64
	begin := make(chan struct{})
	for i := range n {
		method, path, body := request(i)
		wg.Go(func() {
			<-begin
			status, out, err := c.apis[i%len(c.apis)].call(c.t.Context(), method, path, body)
			e, _ := out["NeutronError"].(attrs)
			switch {
			case err == nil && (status == 200 || status == 201):
				won.Add(1)
			case err != nil || status != 409 || str(e, "type") != typ || str(e, "message") == "":
				c.t.Errorf("%s: %d %v %v, want 409 %s", what, status, out, err, typ)
			}
		})
	}
	close(begin)
	testutil.Wait(c.t, what, wg.Wait)
	if won.Load() != 1 {
		c.t.Errorf("%s: %d requests won", what, won.Load())
	}
}

// TestRacesAcrossControllers: the same races as through one controller.
func TestRacesAcrossControllers(t *testing.T) {
	c := newCluster(t, 2, 0)
	const n = 10
	for round := range 3 {
		net := c.create(0, "networks", attrs{})
		c.create(1, "subnets", attrs{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
		var routers, nets []string
		for i := range n {
			routers, nets = append(routers, c.create(i, "routers", attrs{})), append(nets, c.create(i, "networks", attrs{}))
		}
		post := func(coll string, in func(i int) attrs) func(int) (string, string, any) {
			return func(i int) (string, string, any) { return "POST", coll, attrs{single(coll): in(i)} }
		}
		c.race("one IP", "IpAddressAlreadyAllocated", n, post("ports", func(int) attrs {
			return attrs{"network_id": net, "fixed_ips": []any{attrs{"ip_address": "10.0.0.9"}}}
		}))
		c.race("one MAC", "MacAddressInUse", n, post("ports", func(int) attrs {
			return attrs{"network_id": net, "mac_address": "02:00:00:00:00:aa"}
		}))
		c.race("one interface of a host", "PortBindingInUse", n, post("ports", func(int) attrs {
			return attrs{"network_id": net, "binding:host_id": "h", "binding:profile": attrs{"interface_name": fmt.Sprint("tap", round)}}
		}))
		c.race("one router for two gateway devices", "DeviceInUseByGatewayDevice", n, post("gw/gateway_devices", func(i int) attrs {
			return attrs{"type": "router_vtep", "resource_id": routers[0], "tunnel_ips": []any{fmt.Sprintf("1.0.%d.%d", round, i+1)}}
		}))
		c.race("one tunnel IP", "GatewayDeviceParamDuplicate", n-1, post("gw/gateway_devices", func(i int) attrs {
			return attrs{"type": "router_vtep", "resource_id": routers[i+1], "tunnel_ips": []any{fmt.Sprintf("2.0.%d.1", round)}}
		}))
		devices, _ := c.must(0, 200, "GET", "gw/gateway_devices?resource_id="+routers[0], nil)["gateway_devices"].([]any)
		if len(devices) != 1 {
			t.Fatalf("gateway devices: %v", devices)
		}
		device := str(devices[0].(attrs), "id")
		c.race("one remote MAC", "DuplicateRemoteMacEntry", n, post(macsOf(device), func(int) attrs {
			return attrs{"mac_address": "02:00:00:00:00:01", "vtep_address": "3.0.0.1", "segmentation_id": 7}
		}))
		var gateways []string
		for i := range n {
			gateways = append(gateways, c.create(i, "l2-gateways", attrs{"devices": []any{attrs{"device_id": device, "segmentation_id": "100"}}}))
		}
		c.race("one VNI on a device", "L2GatewayConnectionVNIInUse", n, post("l2-gateway-connections", func(i int) attrs {
			return attrs{"l2_gateway_id": gateways[i], "network_id": nets[i]}
		}))
		port := c.create(0, "ports", attrs{"network_id": net})
		c.race("one port for two routers", "PortInUse", n, func(i int) (string, string, any) {
			return "PUT", "routers/" + routers[i] + "/add_router_interface", attrs{"port_id": port}
		})
		c.sound()
	}
	// The small keys behind the API are taken one after the other by all.
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if status, out, err := c.apis[i%len(c.apis)].call(t.Context(), "POST", "networks", attrs{"network": attrs{}}); err != nil || status != 201 {
				t.Errorf("create: %d %v %v", status, out, err)
			}
		})
	}
	testutil.Wait(t, "the requests", wg.Wait)
	c.sound() // no key twice
}

// refused wants an error with status, type and words.
func refused(t *testing.T, a *api, status int, typ, words, method, path string, body any) {
	t.Helper()
	got, out, err := a.call(t.Context(), method, path, body)
	e, _ := out["NeutronError"].(attrs)
	if err != nil || got != status || str(e, "type") != typ || !strings.Contains(str(e, "message"), words) {
		t.Errorf("%s %s: %d %v %v, want %d %s %q", method, path, got, out, err, status, typ, words)
	}
}

func bulk(n int) attrs {
	var l []any
	for i := range n {
		l = append(l, attrs{"name": fmt.Sprint("bulk-", i)})
	}
	return attrs{"networks": l}
}

// TestTransactionTooLarge: what does not fit into one transaction is refused before
// anything is written, with the limit named.
func TestTransactionTooLarge(t *testing.T) {
	c := newCluster(t, 1, 0)
	embedded := start(t)
	for name, x := range map[string]struct {
		a     *api
		n     int
		limit string
	}{
		"an etcd cluster":   {c.apis[0], 200, "128"},
		"the embedded etcd": {newAPI(embedded), 5000, "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			defer x.a.close()
			refused(t, x.a, http.StatusRequestEntityTooLarge, "TransactionTooLarge", x.limit, "POST", "networks", bulk(x.n))
			status, out, err := x.a.call(t.Context(), "GET", "networks", nil)
			if l, _ := out["networks"].([]any); err != nil || status != 200 || len(l) != 0 {
				t.Errorf("%d %v: %d networks are there", status, err, len(l))
			}
			if status, out, err := x.a.call(t.Context(), "POST", "networks", bulk(20)); err != nil || status != 201 {
				t.Errorf("a smaller one: %d %v %v", status, out, err)
			}
		})
	}
}

// fatRouter makes a router of about 0.7 MB.
type fatRouter struct {
	a      *api
	router string
	serial int
}

func newFatRouter(t *testing.T, a *api) *fatRouter {
	t.Helper()
	make := func(coll string, in attrs) string {
		status, out, err := a.call(t.Context(), "POST", coll, attrs{single(coll): in})
		if err != nil || status != 201 {
			t.Fatalf("create: %d %v %v", status, out, err)
		}
		return str(one(out, coll), "id")
	}
	net := make("networks", attrs{"name": "kept"})
	sub := make("subnets", attrs{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
	f := &fatRouter{a: a, router: make("routers", attrs{})}
	if status, out, err := a.call(t.Context(), "PUT", "routers/"+f.router+"/add_router_interface", attrs{"subnet_id": sub}); err != nil || status != 200 {
		t.Fatalf("interface: %d %v %v", status, out, err)
	}
	return f
}

// write gives the router other routes.
func (f *fatRouter) write(ctx context.Context, n int) (int, attrs, error) {
	f.serial++
	routes := make([]any, n)
	for i := range routes {
		routes[i] = attrs{"destination": fmt.Sprintf("%d.%d.%d.0/24", 20+f.serial%100, i/256, i%256), "nexthop": "10.0.0.7"}
	}
	return f.a.call(ctx, "PUT", "routers/"+f.router, attrs{"router": attrs{"routes": routes}})
}

// TestStoreFull fills the etcd behind a controller: writes are refused with 503 and
// words, reads go on, and once there is room, writes do.
func TestStoreFull(t *testing.T) {
	t.Run("history in a cluster", func(t *testing.T) {
		c := newCluster(t, 1, 1) // etcd's own quota is above this one, at 64 MiB
		fillAndRecover(t, c.apis[0], 10_000)
		c.sound()
	})
	t.Run("resources in the embedded etcd", func(t *testing.T) {
		st, err := etcdstore.Open(testContext(t), etcdstore.Options{DataDir: filepath.Join(tempDir(t), "data"), QuotaBytes: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		log := slog.New(slog.DiscardHandler)
		s := httptest.NewServer(neutronapi.New(site.New(st, site.Options{Logger: log}), neutronapi.Options{Logger: log}))
		defer s.Close()
		a := newAPI(s.URL)
		defer a.close()
		// Full of networks, each with a long name and description.
		var nets []string
		fill := func() (int, attrs, error) {
			status, out, err := a.call(t.Context(), "POST", "networks", fatBulk(100))
			l, _ := out["networks"].([]any)
			for _, n := range l {
				nets = append(nets, str(n.(attrs), "id"))
			}
			return status, out, err
		}
		untilFull(t, fill)
		readsGoOn(t, a)
		for _, id := range nets {
			if status, out, err := a.call(t.Context(), "DELETE", "networks/"+id, nil); err != nil || status != 204 {
				t.Fatalf("a deletion was refused: %d %v %v", status, out, err)
			}
		}
		untilRoom(t, fill)
	})
}

func fatBulk(n int) attrs {
	var l []any
	for range n {
		l = append(l, attrs{"name": strings.Repeat("n", 255), "description": strings.Repeat("d", 255)})
	}
	return attrs{"networks": l}
}

func fillAndRecover(t *testing.T, a *api, routes int) {
	t.Helper()
	f := newFatRouter(t, a)
	untilFull(t, func() (int, attrs, error) { return f.write(t.Context(), routes) })
	readsGoOn(t, a)
	untilRoom(t, func() (int, attrs, error) { return f.write(t.Context(), routes) })
}

// untilFull writes until there is no room.
func untilFull(t *testing.T, write func() (int, attrs, error)) {
	t.Helper()
	for n := 0; ; n++ {
		status, out, err := write()
		switch {
		case err != nil || n == 1000:
			t.Fatalf("write %d: %d %v", n, status, err)
		case status < 300:
			continue
		}
		e, _ := out["NeutronError"].(attrs)
		if status != http.StatusServiceUnavailable || str(e, "type") != "StoreFull" || !strings.Contains(str(e, "message"), "full") {
			t.Fatalf("write %d: %d %v", n, status, out)
		}
		t.Logf("full after %d writes: %s", n, str(e, "message"))
		return
	}
}

func readsGoOn(t *testing.T, a *api) {
	t.Helper()
	for _, coll := range collections {
		if status, out, err := a.call(t.Context(), "GET", coll, nil); err != nil || status != 200 {
			t.Errorf("read %s of a full store: %d %v %v", coll, status, out, err)
		}
	}
}

// untilRoom writes until a write goes through.
func untilRoom(t *testing.T, write func() (int, attrs, error)) {
	t.Helper()
	testutil.Succeeds(t, "room", func() error {
		status, out, err := write()
		if err == nil && status < 300 {
			return nil
		}
		if err = errors.Join(fmt.Errorf("%d %v", status, out), err); status != http.StatusServiceUnavailable {
			t.Fatal(err)
		}
		return err
	})
}
