package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

const (
	chains  = 4 // controllers at a time
	writers = 4 // clients of each
)

// chain is one controller's life of many deaths.
type chain struct {
	t           *testing.T
	dir, listen string
	rng         *rand.Rand
	base        *model // what all writers share
	writers     []*writer
	models      []*model

	kills, atStart, unanswered, done int
	serving                          time.Duration // from start to answer, all together
	served                           int
}

func newChain(t *testing.T, number int) (*chain, error) {
	seed := rand.Uint64()
	c := &chain{
		t: t, dir: tempDir(t), listen: fmt.Sprintf("127.0.1.%d:0", number+1), rng: rand.New(rand.NewPCG(seed, 0)),
		base: &model{objects: map[string]*object{}},
	}
	p, err := launch(c.dir, c.listen)
	if err != nil {
		return nil, err
	}
	url, err := p.Serving(t.Context())
	if err != nil {
		return nil, err
	}
	a := newAPI(url)
	defer a.close()
	make := func(coll string, in attrs) (string, error) {
		status, out, err := a.call(t.Context(), "POST", coll, attrs{single(coll): in})
		if err != nil || status != 201 {
			return "", fmt.Errorf("make the shared %s: %d %v %w", coll, status, out, err)
		}
		id := str(one(out, coll), "id")
		c.base.put(coll, id, one(out, coll))
		return id, nil
	}
	net, err := make("networks", attrs{"name": "shared"})
	if err != nil {
		return nil, err
	}
	sub, err := make("subnets", attrs{"network_id": net, "ip_version": 4, "cidr": "10.255.0.0/22"})
	if err != nil {
		return nil, err
	}
	c.models = []*model{c.base}
	for i := range writers {
		w := &writer{model: model{objects: map[string]*object{}}, number: i + 1,
			rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), sharedNet: net, sharedSubnet: sub, acked: map[string]int{}}
		c.writers, c.models = append(c.writers, w), append(c.models, &w.model)
	}
	return c, p.Kill()
}

// cycle starts the controller, compares, writes, and kills it.
func (c *chain) cycle(ctx context.Context) error {
	begin := time.Now()
	p, err := launch(c.dir, c.listen)
	if err != nil {
		return err
	}
	if c.rng.IntN(7) == 0 { // while it starts
		time.Sleep(time.Duration(c.rng.Int64N(int64(300 * time.Millisecond))))
		c.kills++
		c.atStart++
		return p.Kill()
	}
	url, err := p.Serving(ctx)
	if err != nil {
		return err
	}
	c.serving += time.Since(begin)
	c.served++
	a := newAPI(url)
	defer a.close()
	if err := c.compare(ctx, a); err != nil {
		return errors.Join(err, p.Kill())
	}
	// It dies after so many answers, and a moment: on a machine of any speed.
	var left atomic.Int64
	left.Store(1 + c.rng.Int64N(100))
	enough, cut := context.WithCancel(ctx)
	defer cut()
	var wg sync.WaitGroup
	errs := make([]error, len(c.writers))
	for i, w := range c.writers {
		w.answered = func() {
			if left.Add(-1) == 0 {
				cut()
			}
		}
		wg.Go(func() {
			if errs[i] = w.run(ctx, a); errs[i] != nil {
				cut()
			}
		})
	}
	testutil.Wait(c.t, "the answers", func() { <-enough.Done() })
	time.Sleep(time.Duration(c.rng.Int64N(int64(10 * time.Millisecond))))
	if c.rng.IntN(10) == 0 { // while it ends
		p.Terminate()
		time.Sleep(time.Duration(c.rng.Int64N(int64(20 * time.Millisecond))))
		if err = p.Kill(); err != nil && p.Succeeded() {
			err = nil // it was quicker, which is no kill
		} else {
			c.kills++
		}
	} else {
		err = p.Kill()
		c.kills++
	}
	testutil.Wait(c.t, "the writers", wg.Wait)
	for _, w := range c.writers {
		if w.pending != nil {
			c.unanswered++
		}
	}
	return errors.Join(append(errs, err)...)
}

func (c *chain) compare(ctx context.Context, a *api) error {
	there, err := a.readAll(ctx)
	if err != nil {
		return err
	}
	done, err := verify(there, c.models)
	c.done += done
	return err
}

// sound looks into the store that a killed controller left. Another process does so: the
// lock on a store that is open here would pass to the children of other chains, until
// they have become controllers, and keep this chain's next one out.
func (c *chain) sound(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), asChecker+"="+filepath.Join(c.dir, "data"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("look into what a killed controller left: %w\n%s", err, out)
	}
	return nil
}

// check is the work of that process.
func check(ctx context.Context, dir string) error {
	s, err := etcdstore.Open(ctx, etcdstore.Options{DataDir: dir, Migrations: site.Migrations()})
	if err != nil {
		return fmt.Errorf("open it: %w", err)
	}
	snap, err := s.View(ctx)
	if err == nil {
		if found := site.Check(snap); len(found) > 0 {
			err = fmt.Errorf("the state is not sound:\n%s", strings.Join(found, "\n"))
		}
	}
	return errors.Join(err, s.Close())
}

// TestKill kills controllers at random moments: as they start, as clients write to
// them at once, as they end. After each, everything that was acknowledged is there
// as it was acknowledged, the requests without an answer were done wholly or not at
// all, and nothing else is there; and index entries, references and keys fit the
// resources.
func TestKill(t *testing.T) {
	deaths := 60 // of each
	if testing.Short() {
		deaths = 5
	}
	begin := time.Now()
	var all []*chain
	var wg sync.WaitGroup
	for n := range chains {
		c, err := newChain(t, n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		wg.Go(func() {
			if err := c.live(t.Context(), deaths); err != nil {
				t.Errorf("chain %d, after %d kills: %v", n, c.kills, err)
			}
		})
	}
	testutil.Wait(t, "the chains", wg.Wait)
	if t.Failed() {
		return
	}
	var sum chain
	acked, acks, refused := map[string]int{}, 0, 0
	for _, c := range all {
		sum.kills += c.kills
		sum.atStart += c.atStart
		sum.unanswered += c.unanswered
		sum.done += c.done
		sum.serving += c.serving
		sum.served += c.served
		for _, w := range c.writers {
			refused += w.refused
			for what, n := range w.acked {
				acked[what] += n
				acks += n
			}
		}
	}
	t.Logf("%d kills (%d at start); %d writes acknowledged, %d refused, %d without an answer, %d of these done; %v from start to answer; %v",
		sum.kills, sum.atStart, acks, refused, sum.unanswered, sum.done,
		(sum.serving / time.Duration(sum.served)).Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	t.Log(acked)
	if testing.Short() {
		return
	}
	if sum.kills < 200 {
		t.Errorf("only %d kills", sum.kills)
	}
	if acks < 10*sum.kills || sum.unanswered < sum.kills/2 || sum.done == 0 {
		t.Error("too little was written for this to prove anything")
	}
	for _, what := range []string{
		"POST networks", "POST subnets", "POST ports", "POST routers", "POST gw gateway_devices", "POST gw gateway_devices remote_mac_entries",
		"POST l2-gateways", "POST l2-gateway-connections", "PUT networks", "PUT ports", "PUT routers", "PUT gw gateway_devices",
		"PUT routers add_router_interface", "PUT routers remove_router_interface", "PUT routers add_extraroutes", "PUT routers remove_extraroutes",
		"DELETE networks", "DELETE subnets", "DELETE ports", "DELETE routers", "DELETE gw gateway_devices", "DELETE gw gateway_devices remote_mac_entries",
		"DELETE l2-gateways", "DELETE l2-gateway-connections",
	} {
		if acked[what] == 0 {
			t.Errorf("no %s was ever acknowledged", what)
		}
	}
}

// live dies that many times, and ends in order.
func (c *chain) live(ctx context.Context, deaths int) error {
	for i := 0; c.kills < deaths; i++ {
		if err := c.cycle(ctx); err != nil {
			return err
		}
		// Not always: opening the store mends what it can, which the controller
		// must be able to do alone.
		if i%2 == 0 {
			if err := c.sound(ctx); err != nil {
				return err
			}
		}
	}
	p, err := launch(c.dir, c.listen)
	if err != nil {
		return err
	}
	url, err := p.Serving(ctx)
	if err != nil {
		return err
	}
	a := newAPI(url)
	defer a.close()
	return errors.Join(c.compare(ctx, a), stop(p), c.sound(ctx))
}
