package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
	"github.com/causeway-net/causeway/internal/testutil"
)

// orchestrated is a lab whose sites have a tenant router and workload each, and a peering
// that the orchestrator makes.
type orchestrated struct {
	*lab
	spec    *peering.Peering
	orch    *orchestrator.Orchestrator
	tenants []*tenant
}

// newOrchestrated makes the lab; the first n sites are in the peering's file.
func newOrchestrated(t *testing.T, sites, n int, opts ...labOption) *orchestrated {
	t.Helper()
	o := &orchestrated{lab: newLab(t, sites, opts...), orch: orchestrator.New(orchestrator.Options{})}
	o.spec = &peering.Peering{Name: "acme", Network: peering.Network{CIDR: netip.MustParsePrefix("192.168.0.0/24"), VNI: 100}}
	for i, s := range o.sites {
		tn := &tenant{
			site: s, name: "t", cidr: fmt.Sprintf("10.0.%d.0/24", i), workloadPorts: map[string]string{}, workloadAddresses: map[string]string{},
		}
		tn.network = s.create(client.Networks, client.Attrs{"name": "t-net"})
		tn.subnet = s.create(client.Subnets, client.Attrs{"network_id": tn.network, "ip_version": 4, "cidr": tn.cidr})
		tn.router = s.create(client.Routers, client.Attrs{"name": "t-router"})
		tn.tenantInterface = s.addInterface(tn.router, "subnet_id", tn.subnet)
		tn.vtepRouter = s.create(client.Routers, client.Attrs{"name": "vtep-router"})
		tn.attach("vm-"+s.name[len("site-"):], 3, "")
		o.tenants = append(o.tenants, tn)
		if i < n {
			o.add(i)
		}
	}
	return o
}

// add puts a site into the file.
func (o *orchestrated) add(i int) {
	o.t.Helper()
	endpoint, err := o.Endpoint(o.sites[i].name)
	if err != nil {
		o.t.Fatal(err)
	}
	o.spec.Sites = append(o.spec.Sites, peering.Site{
		Name: o.sites[i].name, Access: peering.Access{Endpoint: endpoint}, Router: "t-router",
		Gateway: peering.Gateway{Router: "vtep-router", TunnelIP: o.sites[i].tunnel},
	})
}

func (o *orchestrated) apply() {
	o.t.Helper()
	if _, err := o.orch.Run(o.t.Context(), o.spec, orchestrator.ForApply(plan.Options{}), orchestrator.RunOptions{}); err != nil {
		o.t.Fatalf("apply: %v", err)
	}
}

func (o *orchestrated) verify() *verify.Result {
	o.t.Helper()
	res, err := o.orch.Verify(o.t.Context(), o.spec, verify.Options{Count: 3, IntervalMS: 20, TimeoutMS: 300})
	if err != nil {
		o.t.Fatalf("verify: %v", err)
	}
	return res
}

func way(r *verify.Result, from, to string) verify.Way {
	for _, w := range r.Pairs {
		if w.From == from && w.To == to {
			return w
		}
	}
	return verify.Way{}
}

// file writes the peering as its user would.
func (o *orchestrated) file() string {
	o.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: causeway/v1\nkind: Peering\nmetadata: {name: %s}\nspec:\n  network: {cidr: %s, vni: %d}\n  sites:\n",
		o.spec.Name, o.spec.Network.CIDR, o.spec.Network.VNI)
	for _, s := range o.spec.Sites {
		fmt.Fprintf(&b, "  - {name: %s, endpoint: %s, router: %s, gateway: {router: %s, tunnelIP: %s}}\n",
			s.Name, s.Access.Endpoint, s.Router, s.Gateway.Router, s.Gateway.TunnelIP)
	}
	path := filepath.Join(o.t.TempDir(), "peering.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// TestVerify: a peering is proved on packets, and where one piece is missing, verify says which.
func TestVerify(t *testing.T) {
	o := newOrchestrated(t, 3, 3)
	o.apply()
	res := o.verify()
	if !res.Passes || len(res.Pairs) != 6 {
		t.Fatalf("%+v", res)
	}
	// A peering that was made a moment ago loses nothing.
	for _, w := range res.Pairs {
		if w.Probe == nil || w.Probe.Loss != 0 || w.Probe.PathMTU != 1450 || w.Probe.RTT == nil {
			t.Errorf("%s → %s: %+v", w.From, w.To, w.Probe)
		}
	}
	o.reach("vm-a", "10.0.1.3")

	o.sub("from the command line", func(t *testing.T) {
		f := o.file()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out, err := exec.CommandContext(ctx, program, "peer", "verify", "--file", f).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "all packets pass") {
			t.Errorf("%v\n%s", err, out)
		}
		if out, err = exec.CommandContext(ctx, program, "peer", "verify", "--json", "--file", f).Output(); err != nil {
			t.Error(err)
		}
		var got []verify.Result
		if err := json.Unmarshal(out, &got); err != nil || len(got) != 1 || !got[0].Passes || got[0].MTU != 1450 {
			t.Errorf("%v\n%s", err, out)
		}
	})

	a := o.sites[0]
	// brokenAs breaks site A's side and wants the words for A ⇄ B, and C untouched; apply mends it.
	brokenAs := func(name string, breaks func(), words ...string) {
		o.sub(name, func(t *testing.T) {
			breaks()
			testutil.Succeeds(t, "the way to break", func() error {
				res := o.verify()
				for _, w := range []verify.Way{way(res, "site-a", "site-b"), way(res, "site-b", "site-a")} {
					if w.State != verify.Broken {
						return fmt.Errorf("%s → %s %s", w.From, w.To, w.State)
					}
					why := strings.Join(w.Why, "\n")
					for _, word := range words {
						if !strings.Contains(why, word) {
							return fmt.Errorf("%s → %s: no %q in\n%s", w.From, w.To, word, why)
						}
					}
					if len(w.Traces) == 0 {
						return errors.New("no traces")
					}
				}
				if w := way(res, "site-b", "site-c"); w.State != verify.Passes {
					return fmt.Errorf("B → C: %s", w.State)
				}
				if res.Passes {
					return errors.New("it says that all passes")
				}
				return nil
			})
			o.apply()
			testutil.Succeeds(t, "the way to be whole again", func() error {
				if res := o.verify(); !res.Passes {
					return fmt.Errorf("%+v", res.Pairs)
				}
				return nil
			})
		})
	}
	device := func() string {
		list, err := a.api.List(t.Context(), client.GatewayDevices, nil)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		return client.ID(list[0])
	}()
	macOfB := func() string {
		for _, c := range o.status().Choices.Sites {
			if c.Site == "site-b" {
				return c.MAC.String()
			}
		}
		return ""
	}()
	find := func(k client.Collection, attr, value string) string {
		list, err := a.api.List(t.Context(), k, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			if strings.EqualFold(client.Str(x, attr), value) {
				return client.ID(x)
			}
		}
		t.Fatalf("no %s with %s %s", k.What, attr, value)
		return ""
	}
	brokenAs("remote MAC entry", func() {
		a.remove(remoteMACs(device), find(remoteMACs(device), "mac_address", macOfB))
	}, "remote_mac_missing", "remote MAC entry")
	brokenAs("remote-site port", func() { a.remove(client.Ports, find(client.Ports, "mac_address", macOfB)) }, "neighbor_unknown", "remote-site port")
	o.sub("the underlay", func(t *testing.T) {
		// A router of the underlay drops what goes to site B: both sites' tables are right.
		o.mustRun("core", "ip", "route", "replace", "blackhole", "200.200.0.2/32")
		w := way(o.verify(), "site-a", "site-b")
		if w.State != verify.Broken || !strings.Contains(strings.Join(w.Why, "\n"), "lost between the tunnel IPs 200.200.0.1 and 200.200.0.2") || len(w.Traces) != 4 {
			t.Errorf("%s %v, %d traces", w.State, w.Why, len(w.Traces))
		}
		out, err := exec.Command(program, "peer", "verify", "--file", o.file()).Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "out of the tunnel from site-a") {
			t.Errorf("%v\n%s", err, out)
		}
		o.mustRun("core", "ip", "route", "replace", "200.200.0.2/32", "via", "172.16.2.2")
	})
	o.sub("a smaller underlay", func(t *testing.T) {
		o.mustRun("core", "ip", "link", "set", "to-b1", "mtu", "1400")
		testutil.Succeeds(t, "the path MTU to be found", func() error {
			if w := way(o.verify(), "site-a", "site-b"); w.State != verify.Small || w.Probe.PathMTU != 1350 {
				return fmt.Errorf("%s %+v", w.State, w.Probe)
			}
			return nil
		})
		o.mustRun("core", "ip", "link", "set", "to-b1", "mtu", "1500")
	})
	o.sub("a site that is down", func(t *testing.T) {
		if err := o.Kill("site-c"); err != nil {
			t.Fatal(err)
		}
		res := o.verify()
		if w := way(res, "site-c", "site-a"); w.State != verify.NotMeasured || len(w.Why) == 0 {
			t.Errorf("C → A: %+v", w)
		}
		if res.Passes {
			t.Error("it says that all passes")
		}
	})
}

func (o *orchestrated) status() *plan.Status {
	o.t.Helper()
	st, err := o.orch.Status(o.t.Context(), o.spec)
	if err != nil {
		o.t.Fatal(err)
	}
	return st
}
