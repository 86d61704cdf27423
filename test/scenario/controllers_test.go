package scenario

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testutil"
)

// soak is for how long faults follow one another, in pairs drawn at random (make soak); 0: the fixed ones alone.
var soak = flag.Duration("scenario.soak", 0, "how long controllers, etcd members and agents fail in pairs")

// writer makes networks through one controller, one after another, and remembers which were acknowledged.
type writer struct {
	api   *client.Client
	mu    sync.Mutex
	acked []string // ids
}

func (w *writer) run(ctx context.Context) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		n, err := w.api.Create(one, client.Networks, client.Attrs{"name": "written"})
		cancel()
		if err == nil {
			w.mu.Lock()
			w.acked = append(w.acked, client.ID(n))
			w.mu.Unlock()
		}
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// TestControllersAndEtcdMembers: a site of three controllers on three etcd members. Under writes through all
// controllers and traffic, a controller and a member are killed, and a controller is cut off: no acknowledged write is
// lost, no packet is lost, and probes of both hosts are answered through each controller, before and after. In the end, and in
// make soak after each pair of faults, each host has the rows that it should have.
func TestControllersAndEtcdMembers(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	f, err := testbed.ReadFile("../../examples/controllers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f.Lab = fmt.Sprintf("t%d-%d", os.Getpid()%100000, labs.Add(1))
	if err := f.UseFreePorts(); err != nil {
		t.Fatal(err)
	}
	l := upLab(t, f)
	s := l.sites[0]
	s.awaitHosts(3)
	var writers []*writer
	for _, k := range f.Sites[0].Controllers {
		api, err := l.Client(t.Context(), k.Name)
		if err != nil {
			t.Fatal(err)
		}
		writers = append(writers, &writer{api: api})
	}
	network := s.create(client.Networks, client.Attrs{"name": "n"})
	subnet := s.create(client.Subnets, client.Attrs{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})
	router := s.create(client.Routers, client.Attrs{"name": "r"})
	s.addInterface(router, "subnet_id", subnet)
	s.attachOn("a1", "vm1", network, "10.0.0.11")
	s.attachOn("a2", "vm2", network, "10.0.0.12")
	l.reach("vm1", "10.0.0.12")
	probes := func() {
		t.Helper()
		for i, w := range writers {
			for _, vm := range []string{"10.0.0.11", "10.0.0.12"} {
				testutil.Succeeds(t, fmt.Sprintf("a probe of %s through controller %d", vm, i+1), func() error {
					out, err := exec.CommandContext(t.Context(), program, "probe", "--router", router, "--to", vm, "--count", "1", "--endpoint", w.api.Endpoint()).CombinedOutput()
					if err != nil {
						return fmt.Errorf("%w: %s", err, out)
					}
					return nil
				})
			}
		}
	}
	probes()

	ping := exec.Command("ping", "-q", "-n", "-i", "0.02", "10.0.0.12")
	var pinged strings.Builder
	ping.Stdout, ping.Stderr = &pinged, &pinged
	if err := l.Start("vm1", ping); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writing sync.WaitGroup
	for _, w := range writers {
		writing.Go(func() { w.run(ctx) })
	}
	// Each of the named controllers is to acknowledge some more.
	goOn := func(when string, which ...int) {
		t.Helper()
		for _, i := range which {
			before := writers[i].count()
			testutil.Succeeds(t, fmt.Sprintf("%s: writes through controller %d", when, i+1), func() error {
				if n := writers[i].count(); n < before+5 {
					return fmt.Errorf("%d", n-before)
				}
				return nil
			})
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cut := func(a, b string) { t.Helper(); _, err := l.Cut(ctx, a, b); do(err) }
	goOn("at first", 0, 1, 2)
	do(l.Kill("a-c1"))
	goOn("a controller killed", 1, 2)
	do(l.Kill("a-e1"))
	goOn("a member killed too", 1, 2)
	do(l.Restart(ctx, "a-e1"))
	do(l.Restart(ctx, "a-c1"))
	goOn("both back", 0, 1, 2)
	for _, m := range f.Sites[0].Etcd {
		cut("a-c2", m)
	}
	goOn("a controller cut off", 0, 2)
	s.awaitHosts(3) // those of the one that was cut off have gone on
	_, err = l.Heal(ctx, "", "")
	do(err)
	goOn("all mended", 0, 1, 2)
	for begin, round := time.Now(), 1; time.Since(begin) < *soak; round++ {
		// One controller stays as it is, and two members.
		spared := rand.IntN(3)
		hurt := f.Sites[0].Controllers[(spared+1+rand.IntN(2))%3].Name
		member := f.Sites[0].Etcd[rand.IntN(3)]
		agent := f.Sites[0].Hosts[rand.IntN(len(f.Sites[0].Hosts))].Name
		faults := []func(){
			func() { do(l.Kill(hurt)) },
			func() { do(l.Kill(member)) },
			func() { do(l.Kill(agent)) },
			func() { cut(hurt, "") },
			func() { cut(member, "") },
		}
		pair := rand.Perm(len(faults))[:2]
		for _, i := range pair {
			faults[i]()
		}
		when := fmt.Sprintf("round %d, faults %v of %s, %s, %s", round, pair, hurt, member, agent)
		goOn(when, spared)
		_, err := l.Heal(ctx, "", "")
		do(err)
		for _, server := range []string{member, hurt, agent} {
			do(l.Restart(ctx, server))
		}
		goOn(when+", all mended", 0, 1, 2)
		s.awaitHosts(3)
		s.rowsAgree()
		t.Log(when)
	}
	stop()
	testutil.Wait(t, "the writers", writing.Wait)
	probes()
	s.rowsAgree()
	do(ping.Process.Signal(syscall.SIGINT))
	do(testutil.Exit(t, ping))
	if !strings.Contains(pinged.String(), " 0% packet loss") {
		t.Errorf("traffic: %s", pinged.String())
	}
	all := 0
	for i, w := range writers {
		list, err := w.api.List(t.Context(), client.Networks, url.Values{"fields": {"id"}}) // a soak writes many
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		for _, n := range list {
			there[client.ID(n)] = true
		}
		for _, o := range writers {
			for _, id := range o.acked {
				if all++; !there[id] {
					t.Errorf("controller %d does not show network %s, which was acknowledged", i+1, id)
				}
			}
		}
	}
	t.Logf("%d acknowledged writes; %s", all/len(writers), strings.TrimSpace(pinged.String()))
}
