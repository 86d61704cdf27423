package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/model"
)

// Kinds of workload attachment.
const (
	// KindVeth: the port's interface is a veth whose peer is the workload's eth0.
	KindVeth = "veth"
	// KindVethSameNS: the port's interface is a veth whose peer is in the host's
	// namespace too, on a bridge that leads to the workload, as a hypervisor with
	// a filtering bridge plugs it.
	KindVethSameNS = "veth-same-ns"
)

// portDeadline is how long a port may take to turn ACTIVE.
const portDeadline = 60 * time.Second

// AttachOptions say what to attach.
type AttachOptions struct {
	Site string
	Host string // the site's host if empty
	Port string // name or id
	Name string // of the workload
	Kind string // KindVeth if empty
	// Client to the site's API; the lab's own, without authentication, if nil.
	Client *client.Client
}

// portInfo is what Attach needs of a port, its network and subnets.
type portInfo struct {
	ID        string `json:"id"`
	NetworkID string `json:"network_id"`
	MAC       string `json:"mac_address"`
	Status    string `json:"status"`
	HostID    string `json:"binding:host_id"`
	FixedIPs  []struct {
		SubnetID string     `json:"subnet_id"`
		IP       netip.Addr `json:"ip_address"`
	} `json:"fixed_ips"`

	mac     model.MAC
	mtu     int
	subnets map[string]subnetInfo
}

type subnetInfo struct {
	ID         string       `json:"id"`
	CIDR       netip.Prefix `json:"cidr"`
	Gateway    *netip.Addr  `json:"gateway_ip"`
	HostRoutes []struct {
		Destination netip.Prefix `json:"destination"`
		NextHop     netip.Addr   `json:"nexthop"`
	} `json:"host_routes"`
}

// into decodes attributes of the API into a struct.
func into(a any, out any) error {
	b, err := json.Marshal(a)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		return fmt.Errorf("read the API's answer: %w", err)
	}
	return nil
}

func readPort(ctx context.Context, c *client.Client, nameOrID string) (*portInfo, error) {
	id, err := c.Find(ctx, client.Ports, nameOrID)
	if err != nil {
		return nil, err
	}
	a, err := c.Get(ctx, client.Ports, id)
	if err != nil {
		return nil, err
	}
	p := &portInfo{subnets: map[string]subnetInfo{}}
	if err := into(a, p); err != nil {
		return nil, err
	}
	if p.mac, err = model.ParseMAC(p.MAC); err != nil {
		return nil, err
	}
	network, err := c.Get(ctx, client.Networks, p.NetworkID)
	if err != nil {
		return nil, err
	}
	var n struct {
		MTU int `json:"mtu"`
	}
	if err := into(network, &n); err != nil {
		return nil, err
	}
	if p.mtu = n.MTU; p.mtu == 0 {
		return nil, fmt.Errorf("network %s has no mtu", p.NetworkID)
	}
	list, err := c.List(ctx, client.Subnets, url.Values{"network_id": {p.NetworkID}})
	if err != nil {
		return nil, err
	}
	var subnets []subnetInfo
	if err := into(list, &subnets); err != nil {
		return nil, err
	}
	for _, s := range subnets {
		p.subnets[s.ID] = s
	}
	return p, nil
}

// Attach makes a workload, a namespace with the port's MAC, addresses, routes and
// MTU, binds the port to the host-side interface, and waits until it is ACTIVE.
func (l *Lab) Attach(ctx context.Context, o AttachOptions) (Workload, error) {
	w, err := l.attach(ctx, o)
	if err != nil {
		return w, fmt.Errorf("attach %s to port %s of %s: %w", o.Name, o.Port, o.Site, err)
	}
	return w, nil
}

func (l *Lab) attach(ctx context.Context, o AttachOptions) (Workload, error) {
	lock, err := lockLab(ctx, l.Name(), true)
	if err != nil {
		return Workload{}, err
	}
	defer lock.unlock()
	// Another causeway may have attached something since this one looked.
	st, err := loadState(l.Name())
	if err != nil {
		return Workload{}, err
	}
	l.st = st
	site, host, err := l.place(o)
	if err != nil {
		return Workload{}, err
	}
	if o.Client == nil {
		if o.Client, err = l.Client(ctx, site.Name); err != nil {
			return Workload{}, err
		}
	}
	p, err := readPort(ctx, o.Client, o.Port)
	if err != nil {
		return Workload{}, err
	}
	if p.HostID != "" {
		return Workload{}, fmt.Errorf("the port is bound already, to host %s", p.HostID)
	}
	if p.mac.IsGroup() {
		return Workload{}, fmt.Errorf("the port's MAC %s has the group bit: no Linux interface takes it (a router's port may have it)", p.MAC)
	}
	w := Workload{
		Name: o.Name, Site: site.Name, Host: host.Name, PortID: p.ID, Kind: o.Kind,
		Interface: "tap" + p.ID[:min(11, len(p.ID))], MAC: p.mac.String(), MTU: p.mtu, NetNS: l.NetNSName(o.Name),
	}
	for _, f := range p.FixedIPs {
		w.Addresses = append(w.Addresses, f.IP.String())
	}
	if err := l.makeWorkload(w, p); err != nil {
		return Workload{}, errors.Join(err, l.dropWorkload(w))
	}
	undo := func(err error) error {
		// ctx may be over, and the port must not stay bound to what is gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, uerr := o.Client.Bind(ctx, p.ID, "", "")
		return errors.Join(err, uerr, l.dropWorkload(w))
	}
	if _, err := o.Client.Bind(ctx, p.ID, host.Name, w.Interface); err != nil {
		return Workload{}, undo(err)
	}
	if err := l.awaitActive(ctx, o.Client, p.ID, host.Name); err != nil {
		return Workload{}, undo(err)
	}
	l.st.Workloads = append(l.st.Workloads, w)
	return w, l.st.save()
}

// place checks names and finds the host.
func (l *Lab) place(o AttachOptions) (Site, Node, error) {
	site, ok := l.st.File.Site(o.Site)
	if !ok {
		var names []string
		for _, s := range l.st.File.Sites {
			names = append(names, s.Name)
		}
		return site, Node{}, unknownf("lab %s has no site %q; it has %s", l.Name(), o.Site, strings.Join(names, ", "))
	}
	if len(site.Hosts) == 0 {
		return site, Node{}, fmt.Errorf("site %s has no host", site.Name)
	}
	i := 0
	if o.Host != "" {
		if i = slices.IndexFunc(site.Hosts, func(n Node) bool { return n.Name == o.Host }); i < 0 {
			return site, Node{}, unknownf("site %s has no host %q; it has %s", site.Name, o.Host, site.Hosts[0].Name)
		}
	}
	c := new(checks)
	c.name("workload", o.Name, maxNodeName)
	taken := slices.ContainsFunc(l.st.File.nodes(), func(n Node) bool { return n.Name == o.Name }) ||
		slices.ContainsFunc(l.st.Workloads, func(w Workload) bool { return w.Name == o.Name })
	if taken {
		c.addf("lab %s has a node or workload %s already", l.Name(), o.Name)
	}
	switch o.Kind {
	case "", KindVeth, KindVethSameNS:
	default:
		c.addf("kind %q: one of %s, %s", o.Kind, KindVeth, KindVethSameNS)
	}
	return site, site.Hosts[i], errors.Join(c.errs...)
}

func (l *Lab) makeWorkload(w Workload, p *portInfo) error {
	ns, err := l.makeNetNS(w.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	host, err := l.NetNS(w.Host)
	if err != nil {
		return err
	}
	defer host.Close()
	inside := hostnet.VethEnd{NetNS: ns, Name: "eth0", MAC: p.mac}
	var up []string
	if w.Kind == KindVethSameNS {
		id := strings.TrimPrefix(w.Interface, "tap")
		peer, out, bridge := "qvb"+id, "qvo"+id, "qbr"+id
		if err := hostnet.AddVeth(hostnet.VethEnd{NetNS: host, Name: w.Interface}, hostnet.VethEnd{NetNS: host, Name: peer}, p.mtu); err != nil {
			return err
		}
		if err := hostnet.AddVeth(hostnet.VethEnd{NetNS: host, Name: out}, inside, p.mtu); err != nil {
			return err
		}
		if err := host.AddBridge(bridge, p.mtu, peer, out); err != nil {
			return err
		}
		up = []string{w.Interface, peer, out}
	} else {
		if err := hostnet.AddVeth(hostnet.VethEnd{NetNS: host, Name: w.Interface}, inside, p.mtu); err != nil {
			return err
		}
		up = []string{w.Interface}
	}
	if err := l.addressWorkload(ns, p); err != nil {
		return err
	}
	for _, name := range up {
		if err := host.SetUp(name); err != nil {
			return err
		}
	}
	return nil
}

// addressWorkload does inside what DHCP would do.
func (l *Lab) addressWorkload(ns *hostnet.NetNS, p *portInfo) error {
	for _, f := range p.FixedIPs {
		s := p.subnets[f.SubnetID]
		if !s.CIDR.IsValid() {
			return fmt.Errorf("the network has no subnet %s, where the port has %s", f.SubnetID, f.IP)
		}
		if err := ns.AddAddr("eth0", netip.PrefixFrom(f.IP, s.CIDR.Bits())); err != nil {
			return err
		}
	}
	if err := ns.SetUp("eth0"); err != nil {
		return err
	}
	var gateway netip.Addr
	for _, f := range p.FixedIPs {
		s := p.subnets[f.SubnetID]
		for _, r := range s.HostRoutes {
			if err := ns.AddRoute(r.Destination, r.NextHop, ""); err != nil {
				return err
			}
		}
		if s.Gateway != nil && s.Gateway.IsValid() && *s.Gateway != f.IP && !gateway.IsValid() {
			gateway = *s.Gateway
		}
	}
	if !gateway.IsValid() {
		return nil
	}
	return ns.AddRoute(netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway, "")
}

// dropWorkload takes back a workload that did not come to be.
func (l *Lab) dropWorkload(w Workload) error {
	if err := removeNetNS(w.NetNS); err != nil {
		return err
	}
	if w.Kind == KindVethSameNS {
		host, err := l.NetNS(w.Host)
		if err != nil {
			return err
		}
		defer host.Close()
		id := strings.TrimPrefix(w.Interface, "tap")
		for _, name := range []string{"qbr" + id, w.Interface} {
			if err := host.DeleteLink(name); err != nil {
				return err
			}
		}
	}
	return l.st.forget(item{Kind: itemNetNS, Name: w.NetNS})
}

// awaitActive waits for the port; an API has no event for it.
func (l *Lab) awaitActive(ctx context.Context, c *client.Client, portID, host string) error {
	return l.await(ctx, "the port to be ACTIVE", agentName(host), portDeadline, func(ctx context.Context) error {
		a, err := c.Get(ctx, client.Ports, portID)
		if err != nil {
			return err
		}
		if s := client.Str(a, "status"); s != "ACTIVE" {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
}
