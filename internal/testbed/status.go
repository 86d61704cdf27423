package testbed

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// Status is a lab as it is now.
type Status struct {
	Lab       string           `json:"lab"`
	OK        bool             `json:"ok"` // all servers run, all bound ports are ACTIVE, all of the underlay answers
	Sites     []SiteStatus     `json:"sites"`
	Workloads []WorkloadStatus `json:"workloads"`
	Underlay  []UnderlayStatus `json:"underlay"`
	Cuts      []Cut            `json:"cuts"` // with any, not all is well
}

// SiteStatus is a site's. Endpoint, APIUp, APIError and Controller are the first controller's.
type SiteStatus struct {
	Name       string        `json:"name"`
	Endpoint   string        `json:"endpoint"`
	APIUp      bool          `json:"api_up"`
	APIError   string        `json:"api_error,omitempty"`
	Controller ProcessStatus `json:"controller"`
	// Controllers and Etcd are those of a site with several controllers.
	Controllers []ControllerStatus `json:"controllers,omitempty"`
	Etcd        []MemberStatus     `json:"etcd,omitempty"`
	Hosts       []HostStatus       `json:"hosts"`
	Ports       []PortStatus       `json:"ports"`
}

// ControllerStatus is that of one of several controllers.
type ControllerStatus struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	APIUp    bool   `json:"api_up"`
	APIError string `json:"api_error,omitempty"`
	ProcessStatus
}

// MemberStatus is an etcd member's.
type MemberStatus struct {
	Name string `json:"name"`
	ProcessStatus
}

// HostStatus is a host's.
type HostStatus struct {
	Name          string        `json:"name"`
	NetNS         string        `json:"netns"`
	Agent         ProcessStatus `json:"agent"`
	PinDir        string        `json:"pin_dir"`
	MetricsSocket string        `json:"metrics_socket"`
}

// ProcessStatus is a server's.
type ProcessStatus struct {
	PID     int    `json:"pid"`
	Running bool   `json:"running"`
	Log     string `json:"log"`
	// Metrics is the unix socket of its /metrics; an etcd member has none.
	Metrics string `json:"metrics_socket,omitempty"`
}

// PortStatus is a bound port's.
type PortStatus struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Host      string `json:"host"`
	Interface string `json:"interface"`
	Status    string `json:"status"`
}

// WorkloadStatus is a workload's.
type WorkloadStatus struct {
	Workload
	PortStatus string `json:"port_status"`
}

// UnderlayStatus is one ping through the underlay.
type UnderlayStatus struct {
	From   string        `json:"from"`
	Source netip.Addr    `json:"source"`
	To     string        `json:"to"`
	Addr   netip.Addr    `json:"address"`
	OK     bool          `json:"ok"`
	RTT    time.Duration `json:"rtt_ns,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// statusTimeout bounds each question that Status asks.
const statusTimeout = 5 * time.Second

// Status looks at everything in the lab.
func (l *Lab) Status(ctx context.Context) (*Status, error) {
	st := &Status{Lab: l.Name(), Workloads: []WorkloadStatus{}, Underlay: []UnderlayStatus{}, Cuts: append([]Cut{}, l.st.Cuts...)}
	st.OK = len(st.Cuts) == 0
	byPort := map[string]string{}
	for _, s := range l.st.File.Sites {
		ss := l.siteStatus(ctx, s)
		st.OK = st.OK && ss.APIUp && ss.Controller.Running
		for _, k := range ss.Controllers {
			st.OK = st.OK && k.APIUp && k.Running
		}
		for _, m := range ss.Etcd {
			st.OK = st.OK && m.Running
		}
		for _, h := range ss.Hosts {
			st.OK = st.OK && h.Agent.Running
		}
		for _, p := range ss.Ports {
			byPort[p.ID] = p.Status
			st.OK = st.OK && p.Status == "ACTIVE"
		}
		st.Sites = append(st.Sites, ss)
	}
	for _, w := range l.st.Workloads {
		ws := WorkloadStatus{Workload: w, PortStatus: byPort[w.PortID]}
		if ws.PortStatus == "" {
			ws.PortStatus, st.OK = "GONE", false
		}
		st.Workloads = append(st.Workloads, ws)
	}
	var err error
	if st.Underlay, err = l.underlayStatus(ctx); err != nil {
		return nil, err
	}
	for _, u := range st.Underlay {
		st.OK = st.OK && u.OK
	}
	return st, ctx.Err()
}

func (l *Lab) processStatus(process, server string) ProcessStatus {
	it := l.st.process(process)
	return ProcessStatus{PID: it.PID, Running: it.alive(), Log: l.logPath(process), Metrics: l.MetricsSocket(server)}
}

func (l *Lab) siteStatus(ctx context.Context, s Site) SiteStatus {
	first := s.controllers()[0]
	ss := SiteStatus{
		Name: s.Name, Endpoint: "http://" + first.API, Ports: []PortStatus{}, Hosts: []HostStatus{},
		Controller: l.processStatus(controllerName(first.Name), first.Name),
	}
	for _, m := range s.Etcd {
		p := l.processStatus(memberName(m), m)
		p.Metrics = ""
		ss.Etcd = append(ss.Etcd, MemberStatus{m, p})
	}
	for _, h := range s.Hosts {
		ss.Hosts = append(ss.Hosts, HostStatus{
			Name: h.Name, NetNS: l.NetNSName(h.Name), PinDir: l.PinDir(h.Name),
			Agent: l.processStatus(agentName(h.Name), h.Name), MetricsSocket: l.MetricsSocket(h.Name),
		})
	}
	for i, k := range s.controllers() {
		ports, err := l.boundPorts(ctx, k.Name)
		up, words := err == nil, ""
		if err != nil {
			words = err.Error()
		} else if len(ss.Ports) == 0 {
			ss.Ports = ports // of the first that answers
		}
		if i == 0 {
			ss.APIUp, ss.APIError = up, words
		}
		if s.clustered() {
			ss.Controllers = append(ss.Controllers, ControllerStatus{k.Name, "http://" + k.API, up, words, l.processStatus(controllerName(k.Name), k.Name)})
		}
	}
	return ss
}

func (l *Lab) boundPorts(ctx context.Context, controller string) ([]PortStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	c, err := l.Client(ctx, controller)
	if err != nil {
		return nil, err
	}
	list, err := c.List(ctx, client.Ports, nil)
	if err != nil {
		return nil, err
	}
	out := []PortStatus{}
	for _, p := range list {
		host := client.Str(p, "binding:host_id")
		if host == "" {
			continue
		}
		profile, _ := p["binding:profile"].(map[string]any)
		out = append(out, PortStatus{
			ID: client.ID(p), Name: client.Str(p, "name"), Host: host,
			Interface: client.Str(profile, "interface_name"), Status: client.Str(p, "status"),
		})
	}
	slices.SortFunc(out, func(a, b PortStatus) int {
		if a.Host != b.Host {
			return compare(a.Host, b.Host)
		}
		return compare(a.ID, b.ID)
	})
	return out, nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// underlayStatus pings each link from both ends, from each tunnel IP that a host has by now each of
// the others, and from each host on the fabric the others of its site.
func (l *Lab) underlayStatus(ctx context.Context) ([]UnderlayStatus, error) {
	out := []UnderlayStatus{}
	for _, link := range l.st.File.Links {
		a, b := link.Ends[0], link.Ends[1]
		if !a.Address.IsValid() || !b.Address.IsValid() {
			continue // an uplink: the agent gives it its address
		}
		out = append(out,
			UnderlayStatus{From: a.Node, Source: a.Address.Addr(), To: b.Node, Addr: b.Address.Addr()},
			UnderlayStatus{From: b.Node, Source: b.Address.Addr(), To: a.Node, Addr: a.Address.Addr()})
	}
	tunnels, err := l.presentTunnelIPs()
	if err != nil {
		return nil, err
	}
	for _, a := range tunnels {
		for _, b := range tunnels {
			if a.Name != b.Name {
				out = append(out, UnderlayStatus{From: a.Name, Source: a.TunnelIP, To: b.Name, Addr: b.TunnelIP})
			}
		}
	}
	for _, s := range l.st.File.Sites {
		for _, a := range s.Hosts {
			for _, b := range s.Hosts {
				if a.Name != b.Name {
					out = append(out, UnderlayStatus{From: a.Name, Source: a.FabricAddress, To: b.Name, Addr: b.FabricAddress})
				}
			}
		}
	}
	g := new(errgroup.Group)
	g.SetLimit(8)
	for i := range out {
		g.Go(func() error {
			l.pingUnderlay(ctx, &out[i])
			return nil
		})
	}
	return out, g.Wait()
}

func (l *Lab) presentTunnelIPs() ([]Node, error) {
	var out []Node
	for _, n := range l.st.File.nodes() {
		if !n.TunnelIP.IsValid() {
			continue
		}
		ns, err := l.NetNS(n.Name)
		if err != nil {
			return nil, err
		}
		links, err := ns.Links()
		ns.Close()
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			if slices.ContainsFunc(link.Addrs, func(p netip.Prefix) bool { return p.Addr() == n.TunnelIP }) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

func (l *Lab) pingUnderlay(ctx context.Context, u *UnderlayStatus) {
	ns, err := l.NetNS(u.From)
	if err != nil {
		u.Error = err.Error()
		return
	}
	defer ns.Close()
	res, err := probe.Ping(ctx, ns, u.Addr, probe.PingOptions{Source: u.Source, Count: 1, Timeout: statusTimeout})
	switch {
	case err != nil:
		u.Error = err.Error()
	case !res.OK():
		u.Error = fmt.Sprintf("no answer within %s", statusTimeout)
	default:
		u.OK, u.RTT = true, res.RTT[0]
	}
}
