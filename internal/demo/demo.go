// Package demo peers the two sites of the router peering chapter on this machine,
// step by step through their HTTP APIs, and shows with real packets that it works.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/causeway-net/causeway/examples"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// Options of a run.
type Options struct {
	// Orchestrated peers three sites by one file instead of two step by step, Hosts two of several hosts each. Hold
	// and PCAP do not go with either.
	Orchestrated, Hosts bool

	Hold   bool   // keep the lab until the context ends
	PCAP   string // file for the capture; empty: none
	JSON   string // file for the results; empty: none
	Colour bool   // the output is a terminal that wants colour
	Exe    string // the causeway program for the servers; this program if empty
}

// runLimit bounds a run, without the time of --hold.
const runLimit = 5 * time.Minute

// Results are what a run found; --json writes them.
type Results struct {
	OK        bool              `json:"ok"`
	Lab       string            `json:"lab"`
	Started   time.Time         `json:"started"`
	Seconds   float64           `json:"seconds"` // until the last check
	Endpoints map[string]string `json:"endpoints"`
	Steps     []Step            `json:"steps"`
	Checks    []Check           `json:"checks"`
	Pings     []PingReport      `json:"pings"`
	Routes    []RouteReport     `json:"traceroutes"`
	Counters  []Counters        `json:"counters"`
	Packets   []PacketReport    `json:"packets"`
	Paths     []PathReport      `json:"paths,omitempty"` // with Hosts
	// Commands is how many the chapter takes by hand for what one did; of an orchestrated run.
	Commands int `json:"commands_by_hand,omitempty"`
}

// Step is one step of the chapter at one site.
type Step struct {
	Number  int     `json:"number"`
	Site    string  `json:"site"`
	What    string  `json:"what"`
	Seconds float64 `json:"seconds"`
}

// Check is one thing that must hold.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// errNotAll says that a check did not hold; what it was has been printed.
var errNotAll = errors.New("not all of it held")

type run struct {
	o     Options
	p     *printer
	lab   *testbed.Lab
	sites []*site
	res   Results
	cap   *probe.Capture
}

// Run runs the demo and leaves nothing behind. The error says what did not hold.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	// What would fail at the end had better fail now.
	for flag, path := range map[string]string{"--pcap": o.PCAP, "--json": o.JSON} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	if err := testbed.Preflight(); err != nil {
		return err
	}
	file, all := examples.TwoSites, (*run).all
	switch {
	case o.Orchestrated:
		file, all = examples.ThreeSites, (*run).orchestrated
	case o.Hosts:
		file, all = examples.ManyHosts, (*run).hosts
	}
	f, err := testbed.Parse(file)
	if err != nil {
		return fmt.Errorf("read the lab of examples: %w", err)
	}
	f.Lab = fmt.Sprintf("demo-%d", os.Getpid())
	r := &run{o: o, p: newPrinter(out, o.Colour), res: Results{Lab: f.Lab, Started: time.Now(), Endpoints: map[string]string{}}}
	if swept, err := testbed.Sweep(); err != nil {
		return err
	} else if len(swept) > 0 {
		r.p.note("removed what a killed run had left: " + strings.Join(swept, ", "))
	}
	// Whatever happens from here on, the lab goes.
	defer func() {
		if derr := r.takeDown(f.Lab); derr != nil {
			err = errors.Join(err, derr)
		}
	}()
	limited, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	if err := all(r, limited, f); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	err = r.finish()
	if o.Hold {
		r.hold(ctx)
	}
	return err
}

func (r *run) all(ctx context.Context, f *testbed.File) error {
	r.p.title("Two sites on this machine")
	if err := r.up(ctx, f); err != nil {
		return err
	}
	r.p.title("The steps of router peering, through both sites' APIs")
	if err := r.chapter(ctx); err != nil {
		return err
	}
	r.p.title("A workload at each site")
	if err := r.attach(ctx); err != nil {
		return err
	}
	r.p.title("Does it work?")
	return r.prove(ctx)
}

func (r *run) up(ctx context.Context, f *testbed.File) error {
	begin := time.Now()
	if err := f.UseFreePorts(); err != nil {
		return err
	}
	lab, err := testbed.Up(ctx, f, testbed.Options{Exe: r.o.Exe, Owned: true})
	if err != nil {
		return err
	}
	r.lab = lab
	var hosts []string
	for i, s := range f.Sites {
		c, err := lab.Client(ctx, s.Name)
		if err != nil {
			return err
		}
		st := &site{plan: plans[i], name: s.Name, api: c, ids: map[string]string{}}
		for _, h := range s.Hosts {
			st.hosts = append(st.hosts, h.Name)
			if h.TunnelIP.IsValid() {
				st.host = h.Name
			}
		}
		hosts = append(hosts, st.hosts...)
		r.sites = append(r.sites, st)
		r.res.Endpoints[s.Name] = "http://" + s.API
		r.p.line(fmt.Sprintf("%s: controller with its own etcd, API at http://%s; %s %s", s.Name, s.API, plural(len(st.hosts), "agent on host", "agents on hosts"), strings.Join(st.hosts, ", ")))
	}
	shape := strings.Join(hosts, " ── core ── ")
	if len(hosts) > len(r.sites) {
		shape = "each host ── core"
	}
	r.p.done("the underlay: "+shape+", and the tunnel IPs share no link", time.Since(begin))
	return nil
}

// attach makes the workloads.
func (r *run) attach(ctx context.Context) error {
	for _, s := range r.sites {
		begin := time.Now()
		port, err := s.vmPort(ctx)
		if err != nil {
			return err
		}
		w, err := r.lab.Attach(ctx, testbed.AttachOptions{Site: s.name, Port: port, Name: s.plan.vm})
		if err != nil {
			return err
		}
		r.p.done(fmt.Sprintf("%s at %s: %s, %s, MTU %d; its port is ACTIVE", w.Name, s.name, w.Addresses[0], w.MAC, w.MTU), time.Since(begin))
	}
	return nil
}

// check notes and prints one thing that must hold.
func (r *run) check(ok bool, name, detail string) {
	r.res.Checks = append(r.res.Checks, Check{Name: name, OK: ok, Detail: detail})
	r.p.check(ok, name, detail)
}

// finish prints the summary and writes the files.
func (r *run) finish() error {
	var failed []string
	for _, c := range r.res.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	r.res.OK = len(failed) == 0
	r.res.Seconds = time.Since(r.res.Started).Seconds()
	r.p.title("Summary")
	if r.res.OK {
		r.p.good(fmt.Sprintf("All %d checks held, %.1f s after the start: the tenant's routers at %d sites reach each other over VXLAN.", len(r.res.Checks), r.res.Seconds, len(r.sites)))
	} else {
		r.p.bad(fmt.Sprintf("%d of %d checks did not hold: %s.", len(failed), len(r.res.Checks), strings.Join(failed, "; ")))
	}
	var errs []error
	if !r.res.OK {
		errs = append(errs, errNotAll)
	}
	if r.o.JSON != "" {
		b, err := json.MarshalIndent(r.res, "", "  ")
		if err == nil {
			err = os.WriteFile(r.o.JSON, append(b, '\n'), 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write the results: %w", err))
		} else {
			r.p.note("the results are in " + r.o.JSON)
		}
	}
	return errors.Join(errs...)
}

// hold keeps the lab and says how to look around.
func (r *run) hold(ctx context.Context) {
	lab := r.lab.Name()
	a, b := r.sites[0], r.sites[1]
	do := func(format string, args ...any) string { return os.Args[0] + " " + fmt.Sprintf(format, args...) }
	r.p.title("The lab stays until you press Ctrl-C")
	for _, l := range [][2]string{
		{"a shell in a workload", "sudo " + do("testbed exec --lab %s %s -- bash", lab, a.plan.vm)},
		{"ping by hand", "sudo " + do("testbed exec --lab %s %s -- ping %s", lab, a.plan.vm, b.plan.vmIP)},
		{"the packets between the sites", "sudo " + do("testbed exec --lab %s core -- tcpdump -nei to-%s udp port 4789", lab, a.host)},
		{"the eBPF programs", "sudo " + do("testbed exec --lab %s %s -- bpftool net", lab, a.host)},
		{"a packet explained", do("trace --endpoint %s --port %s --to %s", r.res.Endpoints[a.name], a.plan.name("VMPort"), b.plan.vmIP)},
		{"a site's tables", do("remote-mac list --endpoint %s --gateway-device %s", r.res.Endpoints[a.name], a.plan.name("GatewayDevice"))},
		{"with the OpenStack client", fmt.Sprintf("OS_AUTH_TYPE=none OS_ENDPOINT=%s openstack port list", r.res.Endpoints[b.name])},
		{"counters", fmt.Sprintf("sudo curl --unix-socket %s http://agent/metrics", r.lab.MetricsSocket(a.host))},
		{"all of it at a glance", "sudo " + do("testbed status --lab %s", lab)},
	} {
		r.p.pair(l[0], l[1])
	}
	<-ctx.Done()
}

// takeDown removes the lab. It does not heed the context: an interrupted demo
// cleans up too.
func (r *run) takeDown(lab string) error {
	if r.cap != nil {
		if _, err := r.cap.Stop(); err != nil {
			return fmt.Errorf("end the capture: %w", err)
		}
	}
	begin := time.Now()
	err := testbed.Down(lab)
	if errors.Is(err, testbed.ErrNoLab) {
		return nil // Up has failed and cleaned up
	}
	if err != nil {
		return err
	}
	r.p.done("everything is taken away again", time.Since(begin))
	return nil
}
