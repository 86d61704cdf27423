package orchestrator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/service"
	"github.com/causeway-net/causeway/internal/testutil"
)

// keeper is a running service.
type keeper struct {
	t      *testing.T
	svc    *service.Service
	log    *logBuffer
	counts *metrics.Peer
	stop   func()
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// keep runs a service with short times. stop ends it and waits.
func keep(t *testing.T, dir, holder string) *keeper {
	t.Helper()
	k := &keeper{t: t, log: &logBuffer{}, counts: metrics.NewPeer()}
	so := options(holder).Sites
	so.Attempts = 2
	k.svc = service.New(service.Options{
		Paths: []string{dir}, Poll: 20 * time.Millisecond, Full: 300 * time.Millisecond, Sites: so,
		Lease: lease.Options{Term: 5 * time.Second, Holder: holder}, Counts: k.counts, Log: slog.New(slog.NewJSONHandler(k.log, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.svc.Run(ctx) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the service does not end")
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", holder, k.log)
		}
	})
	t.Cleanup(k.stop)
	return k
}

func (k *keeper) leads(peering string) bool {
	all, err := k.svc.Healthy()
	if err != nil {
		k.t.Error(err)
	}
	return all[peering].Leader
}

// write puts the lab's peering into a file, without the sites from n on.
func (l *lab) write(dir string, n int) {
	l.t.Helper()
	var b strings.Builder
	b.WriteString("apiVersion: causeway/v1\nkind: Peering\nmetadata: {name: acme}\nspec:\n  network: {cidr: 192.168.0.0/24, vni: 100}\n  sites:\n")
	for _, c := range l.clouds[:n] {
		fmt.Fprintf(&b, "  - {name: %s, endpoint: %q, gateway: gateway, router: tenant-router}\n", c.name, c.srv.URL)
	}
	tmp := filepath.Join(dir, ".new")
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "acme.yaml")); err != nil {
		l.t.Fatal(err)
	}
}

// inSync tells whether the first n sites are as the file says, by somebody else's eyes.
func (l *lab) inSync(n int) bool {
	l.t.Helper()
	p := l.peering()
	p.Sites = p.Sites[:n]
	st, err := l.o.Status(l.t.(*testing.T).Context(), p)
	if err != nil {
		l.t.Fatal(err)
	}
	return st.InSync
}

func (c *cloud) hasRoute(cidr string) bool {
	r := c.one("routers", object{"name": "tenant-router"})
	return strings.Contains(fmt.Sprint(r["routes"]), "destination:"+cidr+" ")
}

// TestServiceKeeps: the service makes the peering, mends what somebody breaks, advertises what a
// tenant adds and withdraws what goes.
func TestServiceKeeps(t *testing.T) {
	l := newLab(t, 3)
	dir := t.TempDir()
	l.write(dir, 3)
	k := keep(t, dir, "one")
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(3) })

	a, b := l.clouds[0], l.clouds[1]
	router := a.one("routers", object{"name": "tenant-router"})["id"].(string)
	begin := time.Now()
	_, sub := a.connect(router, "more", "10.7.0.0/24")
	testutil.Eventually(t, "the new subnet at the others", func() bool { return b.hasRoute("10.7.0.0/24") && l.clouds[2].hasRoute("10.7.0.0/24") })
	t.Logf("advertised after %v", time.Since(begin))
	a.call(http.MethodPut, "routers/"+router+"/remove_router_interface", object{"subnet_id": sub})
	testutil.Eventually(t, "the subnet to go", func() bool { return !b.hasRoute("10.7.0.0/24") })

	// Somebody takes a piece away that no glance sees.
	dev := b.one("gw/gateway_devices", nil)["id"].(string)
	for _, e := range b.list("gw/gateway_devices/" + dev + "/remote_mac_entries") {
		b.call(http.MethodDelete, "gw/gateway_devices/"+dev+"/remote_mac_entries/"+e["id"].(string), nil)
	}
	testutil.Eventually(t, "the piece to be back", func() bool { return l.inSync(3) })
	if !k.leads("acme") {
		t.Error("the only instance does not lead")
	}
	// While nothing happens the tenant's routers are not written.
	untagged := func() bool {
		for _, c := range l.clouds {
			if len(c.one("routers", object{"name": "tenant-router"})["tags"].([]any)) != 0 {
				return false
			}
		}
		return true
	}
	testutil.Eventually(t, "the change's lease to be given back", untagged)
	revision := func() any { return b.one("routers", object{"name": "tenant-router"})["revision_number"] }
	was := revision()
	lease := func() string { return fmt.Sprint(a.one("routers", object{"name": "gateway-router"})["tags"]) }
	for range 2 {
		before := lease()
		testutil.Eventually(t, "the leader's lease to be renewed", func() bool { return lease() != before })
	}
	if now := revision(); now != was {
		t.Errorf("revision %v of a tenant's router became %v", was, now)
	}
	k.stop()
	for _, c := range l.clouds {
		for _, r := range c.list("routers") {
			if tags := r["tags"].([]any); len(tags) != 0 {
				t.Errorf("%s: leases stay: %v", c.name, tags)
			}
		}
	}
	for line := range strings.Lines(k.log.String()) {
		var event struct{ Msg, Peering string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.Msg == "" {
			t.Errorf("not an event: %s", line)
		}
	}
	for _, want := range []string{`"msg":"drift"`, `"msg":"step"`, `"msg":"mended"`, `"msg":"leading"`} {
		if !strings.Contains(k.log.String(), want) {
			t.Errorf("no event %s", want)
		}
	}
}

// TestServiceWithASiteDown: the others go on, the site is left alone more and more, and it is caught
// up with when it is back.
func TestServiceWithASiteDown(t *testing.T) {
	l := newLab(t, 3)
	dir := t.TempDir()
	l.write(dir, 3)
	keep(t, dir, "one")
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(3) })
	c := l.clouds[0] // where the lease of the leader is
	var asked, others atomic.Int64
	c.interpose(func(http.ResponseWriter, *http.Request, func(http.ResponseWriter)) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	})
	b := l.clouds[1]
	router := b.one("routers", object{"name": "tenant-router"})["id"].(string)
	b.connect(router, "more", "10.7.0.0/24")
	testutil.Eventually(t, "the new subnet at the site that is there", func() bool { return l.clouds[2].hasRoute("10.7.0.0/24") })
	l.clouds[2].interpose(func(w http.ResponseWriter, _ *http.Request, next func(http.ResponseWriter)) {
		others.Add(1)
		next(w)
	})
	before := asked.Load()
	testutil.Eventually(t, "many looks at a site that is there", func() bool { return others.Load() >= 200 })
	n := asked.Load() - before
	t.Logf("asked %d times, another site %d times", n, others.Load())
	if n > others.Load()/2 {
		t.Errorf("a site that is down was asked %d times, one that is there %d times", n, others.Load())
	}
	c.interpose(nil)
	testutil.Eventually(t, "the site to be caught up with", func() bool { return c.hasRoute("10.7.0.0/24") && l.inSync(3) })
}

// TestServiceFollowsItsFiles: a site that comes into the file is peered, a file that is broken
// changes nothing, one that goes leaves the peering as it is.
func TestServiceFollowsItsFiles(t *testing.T) {
	l := newLab(t, 3)
	dir := t.TempDir()
	k := keep(t, dir, "one") // nothing to do yet
	l.write(dir, 2)
	testutil.Eventually(t, "the peering of two", func() bool { return l.inSync(2) })
	l.write(dir, 3)
	testutil.Eventually(t, "the peering of three", func() bool { return l.inSync(3) })
	path := filepath.Join(dir, "acme.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: causeway/v1\nkind: Pee"), 0o600); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the broken file to be told of", func() bool { return strings.Contains(k.log.String(), "cannot be read") })
	if !k.leads("acme") || !l.inSync(3) {
		t.Error("a broken file changes something")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the peering to be left alone", func() bool { all, _ := k.svc.Healthy(); return len(all) == 0 })
	if !l.inSync(3) {
		t.Error("a file that goes changes something")
	}
}

// TestServiceLeads: of two instances one leads, and the other takes over when it has ended; what
// they do never mixes.
func TestServiceLeads(t *testing.T) {
	l := newLab(t, 2)
	dir := t.TempDir()
	l.write(dir, 2)
	one := keep(t, dir, "one")
	testutil.Eventually(t, "the first to lead", func() bool { return one.leads("acme") })
	two := keep(t, dir, "two")
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(2) })
	a, b := l.clouds[0], l.clouds[1]
	router := a.one("routers", object{"name": "tenant-router"})["id"].(string)
	a.connect(router, "more", "10.7.0.0/24")
	testutil.Eventually(t, "the subnet", func() bool { return b.hasRoute("10.7.0.0/24") })
	if two.leads("acme") || strings.Contains(two.log.String(), `"msg":"step"`) {
		t.Error("both lead")
	}
	one.stop()
	testutil.Eventually(t, "the second to lead", func() bool { return two.leads("acme") })
	a.connect(router, "yet-more", "10.8.0.0/24")
	testutil.Eventually(t, "the subnet", func() bool { return b.hasRoute("10.8.0.0/24") })
}

// TestServiceTakesOver: a leader that was killed left its lease; it is taken over when its term has
// passed. An apply by hand that is under way is waited for.
func TestServiceTakesOver(t *testing.T) {
	l := newLab(t, 2)
	dir := t.TempDir()
	l.write(dir, 2)
	router := l.clouds[0].one("routers", object{"name": "gateway-router"})["id"].(string)
	l.clouds[0].call(http.MethodPut, "routers/"+router+"/tags/causeway:lease:acme~leader:killed:7", nil)
	k := keep(t, dir, "one")
	testutil.Eventually(t, "the lease to be taken over", func() bool { return k.leads("acme") })
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(2) })
}

// TestServiceEndsInTheMiddle: SIGTERM while a change is under way ends it soon, and the next run
// completes what is left.
func TestServiceEndsInTheMiddle(t *testing.T) {
	l := newLab(t, 2)
	dir := t.TempDir()
	l.write(dir, 2)
	before := l.states()
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.clouds[1].interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/remote_mac_entries") {
			once.Do(func() { close(reached) })
			select {
			case <-release:
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		next(w)
	})
	k := keep(t, dir, "one")
	testutil.Receive(t, "a change to begin", reached)
	begin := time.Now()
	k.stop()
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("it took %v to end", d)
	}
	close(release)
	l.clouds[1].interpose(nil)
	if _, err := l.o.Run(t.Context(), l.peering(), applied, orchestrator.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if !l.inSync(2) {
		t.Error("a run by hand does not complete it")
	}
	if _, err := l.o.Run(t.Context(), l.peering(), orchestrator.ForDestroy(plan.Options{}), orchestrator.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, c := range l.clouds {
		if got := c.state(); len(got) != len(before[i]) {
			t.Errorf("%s: %d resources, %d before", c.name, len(got), len(before[i]))
		}
	}
}

// TestServiceMendsAround: where something stands in the way between two sites, all else is mended
// all the same, and what is left alone is told; when the obstacle is gone, that is caught up with.
func TestServiceMendsAround(t *testing.T) {
	l := newLab(t, 3)
	dir := t.TempDir()
	l.write(dir, 3)
	k := keep(t, dir, "one")
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(3) })
	a, b, c := l.clouds[0], l.clouds[1], l.clouds[2]
	router := func(c *cloud) string { return c.one("routers", object{"name": "tenant-router"})["id"].(string) }
	_, clash := c.connect(router(c), "clash", "10.0.0.128/25") // overlaps with site-a's
	testutil.Eventually(t, "what is left alone to be told of", func() bool {
		return strings.Contains(k.log.String(), "something stands in the way") && strings.Contains(k.log.String(), `"between":[["site-a","site-c"]]`)
	})
	unlist := func(c *cloud, vtep string) {
		dev := c.one("gw/gateway_devices", nil)["id"].(string)
		e := c.one("gw/gateway_devices/"+dev+"/remote_mac_entries", object{"vtep_address": vtep})
		c.call(http.MethodDelete, "gw/gateway_devices/"+dev+"/remote_mac_entries/"+e["id"].(string), nil)
	}
	listed := func(c *cloud, vtep string) bool {
		dev := c.one("gw/gateway_devices", nil)["id"].(string)
		return len(c.all("gw/gateway_devices/"+dev+"/remote_mac_entries", object{"vtep_address": vtep})) == 1
	}
	unlist(a, tunnelIP(2)) // between those two
	unlist(b, tunnelIP(0))
	unlist(b, tunnelIP(2))
	c.connect(router(c), "more", "10.7.0.0/24")
	testutil.Eventually(t, "the rest to be mended", func() bool { return listed(b, tunnelIP(0)) && listed(b, tunnelIP(2)) && b.hasRoute("10.7.0.0/24") })
	if listed(a, tunnelIP(2)) || a.hasRoute("10.7.0.0/24") || a.hasRoute("10.0.0.128/25") || b.hasRoute("10.0.0.128/25") {
		t.Error("something was done that the clash concerns")
	}
	st := l.status(l.peering())
	for _, p := range st.Pairs {
		if want := p.From != "site-b" && p.To != "site-b"; (p.State == plan.InTheWay) != want {
			t.Errorf("%s to %s is %s: %q", p.From, p.To, p.State, p.Why)
		}
	}
	testutil.Eventually(t, "the metrics", func() bool {
		w := httptest.NewRecorder()
		k.svc.Handler(k.counts.Handler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return strings.Contains(w.Body.String(), `causeway_peer_problems{peering="acme"} 1`) && strings.Contains(w.Body.String(), `causeway_peer_in_sync{peering="acme"} 0`)
	})
	// An operator's apply is still all or nothing.
	var blocked orchestrator.Blocked
	if _, err := l.o.Run(t.Context(), l.peering(), applied, orchestrator.RunOptions{}); !errors.As(err, &blocked) {
		t.Errorf("apply: %v", err)
	}
	c.call(http.MethodPut, "routers/"+router(c)+"/remove_router_interface", object{"subnet_id": clash})
	testutil.Eventually(t, "the rest to be caught up with", func() bool { return l.inSync(3) && a.hasRoute("10.7.0.0/24") })
}

// TestServiceIsBlocked: what stands in the way is told once, changes nothing, and when it is gone
// the peering is made.
func TestServiceIsBlocked(t *testing.T) {
	l := newLab(t, 2)
	dir := t.TempDir()
	l.write(dir, 2)
	b := l.clouds[1]
	router := b.one("routers", object{"name": "tenant-router"})["id"].(string)
	_, sub := b.connect(router, "clash", "10.0.0.0/24")
	k := keep(t, dir, "one")
	const words = "something stands in the way"
	testutil.Eventually(t, "the clash to be told of", func() bool { return strings.Contains(k.log.String(), words) })
	var looks atomic.Int64
	b.interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
		if strings.HasSuffix(r.URL.Path, "/gateway_devices") { // which only a whole look asks for
			looks.Add(1)
		}
		next(w)
	})
	testutil.Eventually(t, "four more looks at the site", func() bool { return looks.Load() >= 4 })
	if w := l.writes(); len(w) != 0 {
		t.Errorf("it did %q", w)
	}
	if n := strings.Count(k.log.String(), words); n != 1 {
		t.Errorf("told %d times", n)
	}
	b.call(http.MethodPut, "routers/"+router+"/remove_router_interface", object{"subnet_id": sub})
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(2) })
}

// TestServiceWithABadFile: a file with a mistake holds up no other, from the start on; and of a site
// that goes out of its file no metric stays.
func TestServiceWithABadFile(t *testing.T) {
	l := newLab(t, 3)
	dir := t.TempDir()
	l.write(dir, 3)
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: causeway/v1\nkind: Pee"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := keep(t, dir, "one")
	testutil.Eventually(t, "the peering of three", func() bool { return l.inSync(3) })
	metrics := func() string {
		w := httptest.NewRecorder()
		k.svc.Handler(k.counts.Handler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return w.Body.String()
	}
	const third = `causeway_peer_site_up{peering="acme",site="site-c"} 1`
	testutil.Eventually(t, "the metrics", func() bool {
		return strings.Contains(metrics(), third) && strings.Contains(metrics(), "causeway_peer_files_ok 0") && strings.Contains(metrics(), "causeway_peer_peerings 1")
	})
	if n := strings.Count(k.log.String(), "cannot be read"); n != 1 {
		t.Errorf("the bad file is told of %d times", n)
	}
	l.write(dir, 2)
	testutil.Eventually(t, "the peering of two", func() bool { return l.inSync(2) })
	if strings.Contains(metrics(), third) {
		t.Error("the metric of a site stays that is in no file")
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the files to be well", func() bool { return strings.Contains(metrics(), "causeway_peer_files_ok 1") })
}

// TestNewPassword: an account that changes in clouds.yaml is used without a restart.
func TestNewPassword(t *testing.T) {
	l := newLab(t, 2)
	p := l.peering()
	path := filepath.Join(t.TempDir(), "clouds.yaml")
	account := func(token string) {
		yaml := fmt.Sprintf("clouds:\n  east:\n    auth_type: admin_token\n    auth: {endpoint: %q, token: %s}\n", l.clouds[1].srv.URL, token)
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var valid atomic.Value
	valid.Store("first")
	l.clouds[1].interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
		if r.Header.Get("X-Auth-Token") != valid.Load() {
			refuse(w, http.StatusUnauthorized)
			return
		}
		next(w)
	})
	account("first")
	p.Sites[1].Access.Endpoint, p.Sites[1].Access.Cloud = "", "east"
	o := options("")
	o.Sites.Getenv = func(k string) string { return map[string]string{"OS_CLIENT_CONFIG_FILE": path}[k] }
	orch := orchestrator.New(o)
	problems := func() (out []string) {
		pl, _, err := orch.Plan(t.Context(), p, applied)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range pl.Blockers {
			out = append(out, b.String())
		}
		return out
	}
	if got := problems(); len(got) != 0 {
		t.Fatal(got)
	}
	valid.Store("second")
	if got := problems(); len(got) != 1 || !strings.HasPrefix(got[0], "site-b: the API does not know the account") {
		t.Errorf("the old token: %q", got)
	}
	account("second")
	if got := problems(); len(got) != 0 {
		t.Errorf("the new token: %q", got)
	}
}

// TestServiceThatMayNotLead: where the leader's lease cannot be taken the service says why, once, and
// goes on when it can.
func TestServiceThatMayNotLead(t *testing.T) {
	l := newLab(t, 2)
	dir := t.TempDir()
	l.write(dir, 2)
	var tries atomic.Int64
	l.clouds[0].interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/tags/") {
			tries.Add(1)
			refuse(w, http.StatusForbidden)
			return
		}
		next(w)
	})
	k := keep(t, dir, "one")
	testutil.Eventually(t, "it to have tried some times", func() bool { return tries.Load() >= 3 })
	if n := strings.Count(k.log.String(), "cannot lead"); n != 1 || !strings.Contains(k.log.String(), "site-a: take the lease: refused") {
		t.Errorf("told %d times", n)
	}
	l.clouds[0].interpose(nil)
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(2) })
}

func TestServiceAnswers(t *testing.T) {
	l := newLab(t, 2)
	dir := t.TempDir()
	l.write(dir, 2)
	k := keep(t, dir, "one")
	testutil.Eventually(t, "the peering", func() bool { return l.inSync(2) })
	h := k.svc.Handler(k.counts.Handler())
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	testutil.Eventually(t, "the metrics", func() bool {
		code, body := get("/metrics")
		return code == 200 && strings.Contains(body, `causeway_peer_in_sync{peering="acme"} 1`) &&
			strings.Contains(body, `causeway_peer_leader{peering="acme"} 1`) &&
			strings.Contains(body, `causeway_peer_site_up{peering="acme",site="site-a"} 1`) &&
			strings.Contains(body, `causeway_peer_applies_total{peering="acme",result="done"} 1`)
	})
	code, body := get("/healthz")
	var health struct {
		Status   string
		Peerings map[string]service.Summary
	}
	if err := json.Unmarshal([]byte(body), &health); err != nil || code != 200 || health.Status != "ok" || !health.Peerings["acme"].InSync {
		t.Errorf("%d %s %v", code, body, errors.Join(err))
	}
	if code, _ := get("/elsewhere"); code != 404 {
		t.Errorf("/elsewhere: %d", code)
	}
}
