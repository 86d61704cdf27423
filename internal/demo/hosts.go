package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// vm is a workload of the demo of several hosts.
type vm struct {
	name, ip, gateway string
	host              string
	site              int
}

// manyHosts is what the stages of the demo of several hosts share.
type manyHosts struct {
	*orchestration
	vms [2][]vm // of each site: on its first, second and third host. The first two are on one network.
}

// hosts peers two sites of three hosts and a gateway host each, and follows packets from host to host.
func (r *run) hosts(ctx context.Context, f *testbed.File) (err error) {
	dir, err := os.MkdirTemp("", "causeway-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m := &manyHosts{orchestration: &orchestration{run: r, dir: dir, made: map[string]bool{}}}
	for _, stage := range []struct {
		title, shows string
		do           func(context.Context) error
	}{
		{"Two sites of three hosts and a gateway host each", "a controller for each site, an agent for each host",
			func(ctx context.Context) error { return m.sitesUp(ctx, f) }},
		{"A tenant at each site, with a VM on every host", "two networks behind one router; a network has VMs on several hosts", m.tenants},
		{"Between the hosts of a site", "hosts send to each other directly; who has the sender routes, so a routed packet takes no detour", m.within},
		{"One file", "a peering is written for sites: no host is named in it", m.file},
		{"causeway peer apply", "each site chooses the host that serves its gateway device, by what agents say with --gateway", m.applyHosts},
		{"Between the sites", "every VM reaches every other; only gateway hosts send to the other site, and other hosts send to them", m.between},
		{"The agent of a host is killed", "packets go on without it, also to who comes meanwhile; back again, it has what it missed", m.agentLost},
		{"causeway peer destroy", "what the peering made goes, what tenants made stays", m.destroy},
	} {
		r.p.title(stage.title)
		r.p.note("shows: " + stage.shows)
		if err := stage.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", stage.title, err)
		}
	}
	return nil
}

// sitesUp makes the lab, and waits for the agents: a device that was made before its gateway host came would be elsewhere.
func (m *manyHosts) sitesUp(ctx context.Context, f *testbed.File) error {
	if err := m.up(ctx, f); err != nil {
		return err
	}
	begin := time.Now()
	for i, s := range m.sites {
		want := len(f.Sites[i].Hosts)
		_, err := m.await(ctx, begin, func() (bool, error) {
			list, err := s.api.List(ctx, client.Agents, nil)
			alive := 0
			for _, a := range list {
				if up, _ := a["alive"].(bool); up {
					alive++
				}
			}
			return alive == want, err
		})
		m.check(err == nil, "the agents of "+s.name, fmt.Sprintf("%d have connected", want))
	}
	return nil
}

// tenants makes two networks behind a router at each site, and a VM on each host that is no gateway.
func (m *manyHosts) tenants(ctx context.Context) error {
	for i, s := range m.sites {
		begin := time.Now()
		if err := tenantSide(ctx, s, s.plan); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		second := fmt.Sprintf("10.0.%d.0/24", 60+i)
		if _, err := s.addNetwork(ctx, second); err != nil {
			return err
		}
		if err := s.create(ctx, "vtep", client.Routers, client.Attrs{"name": s.plan.name("VtepRouter"), "tenant_id": admin}); err != nil {
			return err
		}
		m.p.done(fmt.Sprintf("%s: networks %s and %s behind router %s", s.name, s.plan.tenantCIDR, second, s.plan.name("TenantRouter")), time.Since(begin))
		for j := range 3 {
			v := vm{name: "vm-" + s.hosts[j], host: s.hosts[j], site: i, ip: fmt.Sprintf("10.0.%d.%d", i, 11+j), gateway: s.plan.gateway}
			cidr := s.plan.tenantCIDR
			if j == 2 {
				v.ip, v.gateway, cidr = fmt.Sprintf("10.0.%d.%d", 60+i, 11+j), fmt.Sprintf("10.0.%d.1", 60+i), second
			}
			if err := m.attachVM(ctx, v, cidr); err != nil {
				return err
			}
			m.vms[i] = append(m.vms[i], v)
		}
	}
	return nil
}

// attachVM makes a port on a network of the tenant, and a workload on it.
func (m *manyHosts) attachVM(ctx context.Context, v vm, cidr string) error {
	s := m.sites[v.site]
	begin := time.Now()
	network := s.ids["network "+cidr]
	if cidr == s.plan.tenantCIDR {
		network = s.ids["network"]
	}
	if err := s.create(ctx, "port "+v.ip, client.Ports, client.Attrs{
		"name": v.name, "network_id": network, "tenant_id": tenant, "fixed_ips": []client.Attrs{{"ip_address": v.ip}},
	}); err != nil {
		return err
	}
	m.made["ports/"+s.ids["port "+v.ip]] = true
	w, err := m.lab.Attach(ctx, testbed.AttachOptions{Site: s.name, Host: v.host, Port: s.ids["port "+v.ip], Name: v.name})
	if err != nil {
		return err
	}
	m.p.done(fmt.Sprintf("%s on host %s: %s, MTU %d; its port is ACTIVE", v.name, v.host, w.Addresses[0], w.MTU), time.Since(begin))
	return nil
}

func (m *manyHosts) within(ctx context.Context) error {
	for i, s := range m.sites {
		if err := m.matrix(ctx, "VMs of "+s.name, m.vms[i]); err != nil {
			return err
		}
	}
	one, two, three := m.vms[0][0], m.vms[0][1], m.vms[0][2]
	for _, to := range []vm{two, three} {
		words := "one network"
		if to == three {
			words = "routed"
		}
		if err := m.path(ctx, words, one, to, leg{one.host, to.host, fabricPort}); err != nil {
			return err
		}
	}
	return errors.Join(m.hops(ctx, one, two, two.ip), m.hops(ctx, one, three, one.gateway, three.ip))
}

func (m *manyHosts) applyHosts(ctx context.Context) error {
	if err := m.apply(ctx); err != nil {
		return err
	}
	for _, s := range m.sites {
		devices, err := s.api.List(ctx, client.GatewayDevices, nil)
		if err != nil {
			return err
		}
		var at []string
		for _, d := range devices {
			at = append(at, client.Str(d, "host"))
		}
		m.check(slices.Equal(at, []string{s.host}), "the gateway device of "+s.name, "at host "+strings.Join(at, ", "))
	}
	return nil
}

func (m *manyHosts) between(ctx context.Context) error {
	if err := m.matrix(ctx, "all VMs", slices.Concat(m.vms[0], m.vms[1])); err != nil {
		return err
	}
	for i, s := range m.sites {
		from, to, other := m.vms[i][0], m.vms[1-i][2], m.sites[1-i]
		if err := m.path(ctx, "to the other site", from, to,
			leg{from.host, s.host, fabricPort}, leg{s.host, other.host, vxlanPort}, leg{other.host, to.host, fabricPort}); err != nil {
			return err
		}
	}
	one, far := m.vms[0][0], m.vms[1][2]
	router, err := m.sites[1].multiSiteAddress(ctx)
	if err != nil {
		return err
	}
	return m.hops(ctx, one, far, one.gateway, router, far.ip)
}

// multiSiteAddress is the one that the peer router of a site has on the multi-site network.
func (s *site) multiSiteAddress(ctx context.Context) (string, error) {
	list, err := s.api.List(ctx, client.Ports, map[string][]string{"device_id": {s.ids["router"]}})
	if err != nil {
		return "", err
	}
	network := netip.MustParsePrefix(multiSiteCIDR)
	for _, p := range list {
		ips, _ := p["fixed_ips"].([]any)
		for _, x := range ips {
			a, _ := x.(map[string]any)
			if ip, err := netip.ParseAddr(client.Str(a, "ip_address")); err == nil && network.Contains(ip) {
				return ip.String(), nil
			}
		}
	}
	return "", fmt.Errorf("router %s has no port on the multi-site network", s.plan.name("TenantRouter"))
}

// agentLost kills the agent of the second host of site A, and has a VM come to the first meanwhile.
func (m *manyHosts) agentLost(ctx context.Context) error {
	two := m.vms[0][1]
	if err := m.lab.Kill(two.host); err != nil {
		return err
	}
	m.p.line("the agent of " + two.host + " is killed")
	all := slices.Concat(m.vms[0], m.vms[1])
	if err := m.matrix(ctx, "all VMs, without the agent of "+two.host, all); err != nil {
		return err
	}
	late := m.vms[0][0]
	late.name, late.ip = "vm-late", "10.0.0.20"
	if err := m.attachVM(ctx, late, m.sites[0].plan.tenantCIDR); err != nil {
		return err
	}
	far := m.vms[1][0]
	if err := m.matrix(ctx, "the VM that came meanwhile, and one of the other site", []vm{late, far}); err != nil {
		return err
	}
	if err := m.lab.Restart(ctx, two.host); err != nil {
		return err
	}
	m.p.line("the agent of " + two.host + " is back")
	return m.matrix(ctx, "all VMs, and the one that came meanwhile", append(all, late))
}

// matrix has each of some VMs ping each other one, and shows the fastest answers.
func (m *manyHosts) matrix(ctx context.Context, words string, vms []vm) error {
	cells := make([][]PingReport, len(vms))
	g, gctx := errgroup.WithContext(ctx)
	for i, from := range vms {
		cells[i] = make([]PingReport, len(vms))
		g.Go(func() (err error) {
			for j, to := range vms {
				if i != j && err == nil {
					cells[i][j], err = m.pingVM(gctx, from, to)
				}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	sent, received, rows := 0, 0, [][]string{}
	header := []string{"ms, from ↓ to →"}
	for i, from := range vms {
		header = append(header, from.name)
		row := []string{from.name + " " + from.ip}
		for j := range vms {
			c := cells[i][j]
			switch {
			case i == j:
				row = append(row, "·")
				continue
			case c.Received < c.Sent:
				row = append(row, "lost")
			default:
				row = append(row, fmt.Sprintf("%.3f", slices.Min(c.Millis)))
			}
			sent, received = sent+c.Sent, received+c.Received
			m.res.Pings = append(m.res.Pings, c)
		}
		rows = append(rows, row)
	}
	m.check(sent > 0 && sent == received, words, fmt.Sprintf("%d ways, %d of %d pings answered", len(vms)*(len(vms)-1), received, sent))
	m.p.table(header, rows, func(i int) bool { return slices.Contains(rows[i], "lost") })
	return nil
}

// pingVM pings until all of a few come back: the API has answered before the last host knows.
func (m *manyHosts) pingVM(ctx context.Context, from, to vm) (PingReport, error) {
	rep := PingReport{From: from.ip, To: to.ip}
	ns, err := m.lab.NetNS(from.name)
	if err != nil {
		return rep, err
	}
	defer ns.Close()
	dst, err := netip.ParseAddr(to.ip)
	if err != nil {
		return rep, err
	}
	var res probe.PingResult
	var perr error
	_, err = m.await(ctx, time.Now(), func() (bool, error) {
		res, perr = probe.Ping(ctx, ns, dst, probe.PingOptions{Count: pings, Size: 56, Timeout: probeTimeout / 5})
		return res.OK(), perr
	})
	if err != nil && (perr != nil || ctx.Err() != nil) {
		return rep, errors.Join(perr, ctx.Err())
	}
	rep.Sent, rep.Received = res.Sent, res.Received
	for _, d := range res.RTT {
		rep.Millis = append(rep.Millis, float64(d.Microseconds())/1000)
	}
	return rep, nil
}
