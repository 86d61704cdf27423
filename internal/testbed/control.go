package testbed

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hostnet"
)

// Where a site has several controllers, they, the members of their etcd and the site's hosts are on a control
// network of their own, as on the management network of a real site: a bridge in a namespace of the lab.
// Each controller and each member has a namespace too, so that ways between them can be cut.
const (
	controlNode = "control" // the bridge's namespace
	controlLink = "control" // each one's interface there

	clientPort, peerPort = 2379, 2380 // of etcd members
	agentPort            = 9698       // of controllers

	// The addresses of a site's control network (RFC 2544: for tests of network devices) are
	// 198.18.(number of the site from 1).x, with x from these on.
	firstController, firstMember, firstHost = 10, 40, 50
	maxControllers, maxMembers, maxHosts    = firstMember - firstController, 7, 200
	maxSites                                = 250
)

var controlRange = netip.MustParsePrefix("198.18.0.0/16")

// controlNames are the controllers and members that have a namespace.
func (s Site) controlNames() []string {
	var out []string
	for _, k := range s.Controllers {
		out = append(out, k.Name)
	}
	return append(out, s.Etcd...)
}

// onControl are all that are on the control network of a site.
func (s Site) onControl() []string {
	out := s.controlNames()
	if s.clustered() {
		for _, h := range s.Hosts {
			out = append(out, h.Name)
		}
	}
	return out
}

// controlIP is the address on the control network; the zero Addr of one that is not on it.
func (l *Lab) controlIP(name string) netip.Addr {
	for i, s := range l.st.File.Sites {
		at := func(first, n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i + 1), byte(first + n)}) }
		for j, k := range s.Controllers {
			if k.Name == name {
				return at(firstController, j)
			}
		}
		if j := slices.Index(s.Etcd, name); j >= 0 {
			return at(firstMember, j)
		}
		for j, h := range s.Hosts {
			if s.clustered() && h.Name == name {
				return at(firstHost, j)
			}
		}
	}
	return netip.Addr{}
}

// agentAddr is where a controller takes agents.
func (l *Lab) agentAddr(_ Site, k Controller) string {
	return netip.AddrPortFrom(l.controlIP(k.Name), agentPort).String()
}

func (l *Lab) memberAddr(member string, port uint16) string {
	return netip.AddrPortFrom(l.controlIP(member), port).String()
}

// makeControl makes the control networks, and starts the members of the clusters.
func (l *Lab) makeControl(ctx context.Context) error {
	f := &l.st.File
	if !slices.ContainsFunc(f.Sites, Site.clustered) {
		return nil
	}
	l.progress("make the control network")
	ns, err := l.makeNetNS(controlNode)
	if err != nil {
		return err
	}
	defer ns.Close()
	for i, s := range f.Sites {
		if s.clustered() {
			if err := ns.AddBridge(bridgeName(i), defaultMTU); err != nil {
				return err
			}
		}
	}
	for _, s := range f.Sites {
		for _, name := range s.controlNames() {
			if err := ctx.Err(); err != nil {
				return err
			}
			node, err := l.makeNetNS(name)
			if err != nil {
				return err
			}
			err = l.joinControl(name, ns, node)
			node.Close()
			if err != nil {
				return err
			}
		}
		for _, m := range s.Etcd {
			l.progress("start the etcd member " + m)
			if err := l.startMember(s, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func bridgeName(site int) string { return fmt.Sprintf("site%d", site+1) }

// joinHosts puts the hosts on the control networks.
func (l *Lab) joinHosts() error {
	for _, s := range l.st.File.Sites {
		if !s.clustered() {
			continue
		}
		ns, err := l.NetNS(controlNode)
		if err != nil {
			return err
		}
		defer ns.Close()
		for _, h := range s.Hosts {
			node, err := l.NetNS(h.Name)
			if err != nil {
				return err
			}
			err = l.joinControl(h.Name, ns, node)
			node.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// joinControl links a namespace to the bridge of its site.
func (l *Lab) joinControl(name string, control, node *hostnet.NetNS) error {
	ip := l.controlIP(name).As4()
	port := fmt.Sprintf("p%d-%d", ip[2], ip[3])
	if err := hostnet.AddVeth(hostnet.VethEnd{NetNS: node, Name: controlLink}, hostnet.VethEnd{NetNS: control, Name: port}, defaultMTU); err != nil {
		return err
	}
	if err := control.AddPort(bridgeName(int(ip[2])-1), port); err != nil {
		return err
	}
	if err := node.AddAddr(controlLink, netip.PrefixFrom(netip.AddrFrom4(ip), 24)); err != nil {
		return err
	}
	return node.SetUp(controlLink)
}

// startMember starts an etcd member of a site.
func (l *Lab) startMember(s Site, member string) error {
	ns, err := l.NetNS(member)
	if err != nil {
		return err
	}
	defer ns.Close()
	args := []string{"testbed", "etcd-member", member,
		"--data-dir", l.DataDir(member), "--client", l.memberAddr(member, clientPort), "--peer", l.memberAddr(member, peerPort)}
	for _, m := range s.Etcd {
		args = append(args, "--member", m+"="+l.memberAddr(m, peerPort))
	}
	return l.spawn(memberName(member), ns, nil, args...)
}

// validateControl checks controllers and members. nodes are the names taken so far; theirs come to them.
func (f *File) validateControl(c *checks, nodes map[string]bool) {
	any := false
	for _, s := range f.Sites {
		switch {
		case !s.clustered() && len(s.Etcd) > 0:
			c.addf("site %s: etcd without controllers: the one controller of a site has an etcd of its own", s.Name)
		case !s.clustered():
			continue
		case s.API != "":
			c.addf("site %s has both api and controllers: each of the controllers has an api", s.Name)
		case len(s.Etcd)%2 == 0 || len(s.Etcd) > maxMembers:
			c.addf("site %s: its controllers need 1, 3, 5 or 7 etcd members, and %d are named", s.Name, len(s.Etcd))
		case len(s.Controllers) > maxControllers || len(s.Hosts) > maxHosts:
			c.addf("site %s: %d controllers and %d hosts: with controllers there may be %d and %d", s.Name, len(s.Controllers), len(s.Hosts), maxControllers, maxHosts)
		}
		any = true
		for _, name := range s.controlNames() {
			c.name("site "+s.Name+": controller or etcd member", name, maxNodeName)
			if nodes[name] {
				c.addf("controller or etcd member %s: the name is used twice", name)
			}
			nodes[name] = true
		}
	}
	if !any {
		return
	}
	if len(f.Sites) > maxSites {
		c.addf("%d sites: with controllers there may be %d", len(f.Sites), maxSites)
	}
	if nodes[controlNode] {
		c.addf("node %s: where a site has controllers, this is the name of their network", controlNode)
	}
	for _, s := range f.Sites {
		if nodes[s.Name] {
			c.addf("site %s: a host, router, controller or etcd member has its name", s.Name)
		}
	}
	for i, l := range f.Links {
		for _, e := range l.Ends {
			if e.Address.IsValid() && e.Address.Overlaps(controlRange) {
				c.addf("link %d: %s is in %s, which the networks of controllers have", i+1, e.Address, controlRange)
			}
			if e.Interface == controlLink {
				c.addf("link %d: interface %s: where a site has controllers, hosts have one of this name", i+1, controlLink)
			}
		}
	}
}
