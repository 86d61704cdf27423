package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// peeringName is that of the peering in the file.
const peeringName = "acme"

// orchestrated peers three sites by one file, with the commands that an operator has.
func (r *run) orchestrated(ctx context.Context, f *testbed.File) (err error) {
	r.p.title("Three sites on this machine, each with a tenant")
	if err := r.up(ctx, f); err != nil {
		return err
	}
	for _, s := range r.sites {
		begin := time.Now()
		if err := tenantSide(ctx, s, s.plan); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := s.create(ctx, "vtep", client.Routers, client.Attrs{"name": s.plan.name("VtepRouter"), "tenant_id": admin}); err != nil {
			return err
		}
		r.p.done(fmt.Sprintf("%s: tenant network %s behind router %s", s.name, s.plan.tenantCIDR, s.plan.name("TenantRouter")), time.Since(begin))
	}
	if err := r.attach(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "causeway-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o := &orchestration{run: r, dir: dir, made: map[string]bool{}}
	defer func() {
		if o.service != nil { // something went wrong before it was to end
			err = errors.Join(err, o.service.end())
		}
	}()
	for _, stage := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"One file", o.file},
		{"causeway peer apply", o.apply},
		{"causeway peer verify", o.verify},
		{"causeway peer run: a tenant adds a subnet", o.subnet},
		{"A site is lost, and returns", o.siteLost},
		{"causeway peer destroy", o.destroy},
	} {
		r.p.title(stage.title)
		if err := stage.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", stage.title, err)
		}
	}
	return nil
}

// orchestration is what the stages share.
type orchestration struct {
	*run
	dir     string
	path    string // of the file
	before  []map[string]bool
	made    map[string]bool // what tenants made meanwhile, by kind and id
	service *server
}

// file writes the file and says what it spares.
func (o *orchestration) file(ctx context.Context) error {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: causeway/v1\nkind: Peering\nmetadata: {name: %s}\nspec:\n  network: {cidr: %s}\n  sites:\n", peeringName, multiSiteCIDR)
	for _, s := range o.sites {
		fmt.Fprintf(&b, "  - name: %s\n    endpoint: %s\n    router: %s\n    gateway: {router: %s, tunnelIP: %s}\n",
			s.name, o.res.Endpoints[s.name], s.plan.name("TenantRouter"), s.plan.name("VtepRouter"), s.plan.tunnelIP)
	}
	o.path = filepath.Join(o.dir, "peering.yaml")
	if err := os.WriteFile(o.path, []byte(b.String()), 0o600); err != nil {
		return err
	}
	o.quote(b.String())
	for _, s := range o.sites {
		state, err := s.state(ctx)
		if err != nil {
			return err
		}
		o.before = append(o.before, state)
	}
	script, err := o.causeway(ctx, "peer", "render", "--file", o.path, "-f", "openstack")
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == cli.ExitChanges) {
		return err
	}
	o.res.Commands = commandsIn(script)
	o.check(o.res.Commands > 0, "by hand, as the chapter has it", fmt.Sprintf("%d commands at %d sites", o.res.Commands, len(o.sites)))
	return nil
}

// commandsIn counts the commands of a script that the chapter has too: it knows no tags.
func commandsIn(script string) int {
	n := 0
	for line := range strings.Lines(script) {
		isCommand := strings.Contains(line, "openstack ") || strings.Contains(line, "causeway ")
		if isCommand && !strings.HasPrefix(line, "#") && !strings.Contains(line, " --tag ") {
			n++
		}
	}
	return n
}

func (o *orchestration) quote(text string) {
	for line := range strings.Lines(text) {
		o.p.note("  " + strings.TrimRight(line, "\n"))
	}
}

func (o *orchestration) apply(ctx context.Context) error {
	begin := time.Now()
	out, err := o.causeway(ctx, "peer", "apply", "--yes", "--file", o.path)
	if err != nil {
		return err
	}
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) > 0 {
		o.p.done(lines[len(lines)-1], time.Since(begin))
	}
	_, err = o.causeway(ctx, "peer", "status", "--file", o.path)
	o.check(err == nil, "causeway peer status", "in sync")
	out, err = o.causeway(ctx, "peer", "apply", "--yes", "--file", o.path)
	o.check(err == nil && strings.Contains(out, "Everything is as the file says."), "a second apply", "does nothing")
	return nil
}

// verify proves it on packets, by the sites' own probes and by the workloads' pings.
func (o *orchestration) verify(ctx context.Context) error {
	out, err := o.causeway(ctx, "peer", "verify", "--json", "--file", o.path)
	var all []verify.Result
	if jerr := json.Unmarshal([]byte(out), &all); jerr != nil || len(all) != 1 {
		return errors.Join(err, jerr, fmt.Errorf("causeway peer verify told of %d peerings, not of one", len(all)))
	}
	res := all[0]
	var rows [][]string
	for _, w := range res.Pairs {
		row := []string{w.From, w.To, string(w.State), "", "", ""}
		if p := w.Probe; p != nil {
			row[3] = fmt.Sprintf("%d of %d", p.Received, p.Sent)
			if p.RTT != nil {
				row[4] = fmt.Sprintf("%.2f ms", p.RTT.Avg/1000)
			}
			row[5] = fmt.Sprint(p.PathMTU)
		}
		rows = append(rows, row)
	}
	o.p.table([]string{"from", "to", "state", "answered", "round trip", "path MTU"}, rows, func(i int) bool { return res.Pairs[i].State != verify.Passes })
	n := len(o.sites)
	o.check(err == nil && res.Passes && len(res.Pairs) == n*(n-1), "every peer router reaches every other", fmt.Sprintf("%d ways", len(res.Pairs)))
	return o.pings(ctx)
}

// pings has every workload ping every other site's.
func (o *orchestration) pings(ctx context.Context) error {
	for _, from := range o.sites {
		for _, to := range o.sites {
			if from != to {
				if err := o.ping(ctx, from, to); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// soon is how long something may take that the service does within seconds.
const soon = 15 * time.Second

// subnet starts the service; a tenant puts another network on its router, and nobody does
// anything else.
func (o *orchestration) subnet(ctx context.Context) error {
	var err error
	if o.service, err = o.startService(ctx); err != nil {
		return err
	}
	a := o.sites[0]
	begin := time.Now()
	if err := o.addSubnet(ctx, a, "10.8.0.0/24"); err != nil {
		return err
	}
	for _, s := range o.sites[1:] {
		took, err := o.await(ctx, begin, func() (bool, error) { return s.hasRoute(ctx, "10.8.0.0/24") })
		o.check(err == nil, s.name+" has a route to the new subnet of "+a.name, told(err, took))
	}
	port, err := a.port(ctx, "10.8.0.0/24", "10.8.0.3")
	if err != nil {
		return err
	}
	o.made["ports/"+port] = true
	if _, err := o.lab.Attach(ctx, testbed.AttachOptions{Site: a.name, Port: port, Name: "vm-a2"}); err != nil {
		return err
	}
	return o.pingFrom(ctx, o.sites[1], "10.8.0.3")
}

func told(err error, took time.Duration) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("after %.1f s", took.Seconds())
}

// siteLost kills the controller of a site: packets go on, the others go on, and the site is
// caught up with when it is back.
func (o *orchestration) siteLost(ctx context.Context) error {
	b, c := o.sites[1], o.sites[2]
	if err := o.lab.Kill(c.name); err != nil {
		return err
	}
	o.p.line("the controller of " + c.name + " is killed")
	if err := o.ping(ctx, o.sites[0], c); err != nil {
		return err
	}
	begin := time.Now()
	if err := o.addSubnet(ctx, b, "10.9.0.0/24"); err != nil {
		return err
	}
	took, err := o.await(ctx, begin, func() (bool, error) { return o.sites[0].hasRoute(ctx, "10.9.0.0/24") })
	o.check(err == nil, fmt.Sprintf("%s has a route to the new subnet of %s", o.sites[0].name, b.name), told(err, took))
	if err := o.lab.Restart(ctx, c.name); err != nil {
		return err
	}
	o.p.line("the controller of " + c.name + " is back")
	begin = time.Now()
	took, err = o.await(ctx, begin, func() (bool, error) { return c.hasRoute(ctx, "10.9.0.0/24") })
	o.check(err == nil, c.name+" is caught up with", told(err, took))
	if err := o.pings(ctx); err != nil {
		return err
	}
	err = o.service.end()
	o.service = nil
	o.check(err == nil, "the service ends on SIGTERM", "")
	return nil
}

// destroy takes the peering away, and looks that nothing else went.
func (o *orchestration) destroy(ctx context.Context) error {
	begin := time.Now()
	out, err := o.causeway(ctx, "peer", "destroy", "--yes", "--file", o.path)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	o.p.done(lines[len(lines)-1], time.Since(begin))
	for i, s := range o.sites {
		after, err := s.state(ctx)
		if err != nil {
			return err
		}
		var odd []string
		for k := range after {
			if !o.before[i][k] && !o.made[k] {
				odd = append(odd, k+" stays")
			}
		}
		for k := range o.before[i] {
			if !after[k] {
				odd = append(odd, k+" is gone")
			}
		}
		slices.Sort(odd)
		detail := "as before, but for what tenants made"
		if len(odd) > 0 {
			detail = strings.Join(odd, "; ")
		}
		o.check(len(odd) == 0, "the lists of "+s.name, detail)
	}
	o.p.good(fmt.Sprintf("What would have taken %d commands by hand was one file and one command.", o.res.Commands))
	return nil
}

// await waits until something holds that the service is to bring about.
func (o *orchestration) await(ctx context.Context, begin time.Time, holds func() (bool, error)) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := holds()
		if ok {
			return time.Since(begin), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, errors.Join(fmt.Errorf("not within %v", soon), err)
		}
	}
}

// pingFrom pings an address that is no site's own workload.
func (o *orchestration) pingFrom(ctx context.Context, from *site, to string) error {
	ns, err := o.lab.NetNS(from.plan.vm)
	if err != nil {
		return err
	}
	defer ns.Close()
	dst, err := netip.ParseAddr(to)
	if err != nil {
		return err
	}
	// The API has the route before the hosts do.
	var res probe.PingResult
	_, err = o.await(ctx, time.Now(), func() (bool, error) {
		res, err = probe.Ping(ctx, ns, dst, probe.PingOptions{Count: pings, Size: 56, Timeout: probeTimeout / 5})
		return res.OK(), err
	})
	o.check(err == nil, fmt.Sprintf("ping %s → %s", from.plan.vmIP, to), fmt.Sprintf("%d of %d answered", res.Received, res.Sent))
	return nil
}
