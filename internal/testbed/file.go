// Package testbed builds a lab on one machine: sites with their real controllers
// and agents, hosts and underlay routers as network namespaces, links as veth
// pairs, and workloads. Everything is written down before it is made, so that Down
// takes away exactly what was made, whatever happened in between.
package testbed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/yamlerr"
)

// File describes a lab.
type File struct {
	Lab   string `yaml:"lab" json:"lab"`
	Sites []Site `yaml:"sites" json:"sites"`
	// Routers are underlay routers: nodes that only forward.
	Routers []Node `yaml:"routers" json:"routers,omitempty"`
	Links   []Link `yaml:"links" json:"links,omitempty"`
	// Routes are the static routes of each node.
	Routes map[string][]Route `yaml:"routes" json:"routes,omitempty"`
}

// Site is a cloud site: its controllers and hosts.
type Site struct {
	Name string `yaml:"name" json:"name"`
	// API is the loopback address and port of the API of the site's one controller, which has the site's
	// name and an etcd of its own.
	API string `yaml:"api" json:"api,omitempty"`
	// Controllers are several controllers, in place of API, on a cluster of the members Etcd.
	Controllers []Controller `yaml:"controllers" json:"controllers,omitempty"`
	Etcd        []string     `yaml:"etcd" json:"etcd,omitempty"` // names
	// UnderlayMTU is what the controller is told; the smallest MTU of the links
	// if zero.
	UnderlayMTU int    `yaml:"underlay_mtu" json:"underlay_mtu,omitempty"`
	Hosts       []Node `yaml:"hosts" json:"hosts,omitempty"`
}

// Controller is one of several controllers of a site.
type Controller struct {
	Name string `yaml:"name" json:"name"`
	API  string `yaml:"api" json:"api"` // loopback address and port
}

// Node is a host or an underlay router.
type Node struct {
	Name string `yaml:"name" json:"name"`
	// TunnelIP says for status, which pings it, that this host is to have it; the
	// agent puts it there once a gateway device has it.
	TunnelIP netip.Addr `yaml:"tunnel_ip" json:"tunnel_ip,omitzero"`
	// FabricAddress is that of one of the host's links, by which the other hosts of
	// its site reach it. Each of several hosts has one.
	FabricAddress netip.Addr `yaml:"fabric_address" json:"fabric_address,omitzero"`
	// Gateway has the agent of the host say that the host may serve gateway devices; where no host of a site says so,
	// each may. Those with the highest GatewayPriority, 1 to 255, are chosen first; 0: the agent's default.
	Gateway         bool `yaml:"gateway" json:"gateway,omitempty"`
	GatewayPriority int  `yaml:"gateway_priority" json:"gateway_priority,omitempty"`
	// Sysctls of the node's network namespace: net.… = value.
	Sysctls map[string]string `yaml:"sysctls" json:"sysctls,omitempty"`
}

// Link is a veth pair between two nodes.
type Link struct {
	Ends []End `yaml:"ends" json:"ends"`
	MTU  int   `yaml:"mtu" json:"mtu,omitempty"` // bytes of an IP packet; 1500 if zero
}

// End is one end of a link.
type End struct {
	Node      string `yaml:"node" json:"node"`
	Interface string `yaml:"interface" json:"interface"`
	// Address may be missing on a host: the interface is left to an uplink port.
	Address netip.Prefix `yaml:"address" json:"address,omitzero"`
}

// Route is a static route of a node.
type Route struct {
	To  netip.Prefix `yaml:"to" json:"to"`
	Via netip.Addr   `yaml:"via" json:"via"`
}

const (
	defaultMTU = 1500
	minMTU     = 576
	maxMTU     = 65535
	// Names stand in paths of unix sockets, which have 107 bytes.
	maxLabName  = 32
	maxNodeName = 20
)

var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// ReadFile reads and checks a lab's file.
func ReadFile(path string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the lab's file: %w", err)
	}
	f, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

var unknownKey = regexp.MustCompile(`field (\S+) not found in type testbed\.(\w+)`)

// Parse reads and checks a lab's YAML. Keys that it does not know are errors.
func Parse(b []byte) (*File, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	f := new(File)
	if err := d.Decode(f); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty")
		}
		var te *yaml.TypeError
		if errors.As(err, &te) {
			var errs []error
			for _, e := range te.Errors {
				errs = append(errs, errors.New(unknownKey.ReplaceAllStringFunc(e, func(s string) string {
					m := unknownKey.FindStringSubmatch(s)
					return fmt.Sprintf("unknown key %q in a %s; it has %s", m[1], strings.ToLower(m[2]), keysOf(m[2]))
				})))
			}
			return nil, errors.Join(errs...)
		}
		return nil, yamlerr.Explain(b, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("only one YAML document may stand in the file")
	}
	if err := f.validate(); err != nil {
		return nil, err
	}
	return f, nil
}

// keysOf names the keys of the types above, for people.
func keysOf(typ string) string {
	switch typ {
	case "File":
		return "lab, sites, routers, links, routes"
	case "Site":
		return "name, api, controllers, etcd, underlay_mtu, hosts"
	case "Controller":
		return "name, api"
	case "Node":
		return "name, tunnel_ip, fabric_address, gateway, gateway_priority, sysctls"
	case "Link":
		return "ends, mtu"
	case "End":
		return "node, interface, address"
	case "Route":
		return "to, via"
	}
	return "other keys"
}

// hosts and routers of the lab in the order of the file.
func (f *File) nodes() []Node {
	var out []Node
	for _, s := range f.Sites {
		out = append(out, s.Hosts...)
	}
	return append(out, f.Routers...)
}

func (f *File) isRouter(name string) bool {
	return slices.ContainsFunc(f.Routers, func(n Node) bool { return n.Name == name })
}

// Site finds a site by name.
func (f *File) Site(name string) (Site, bool) {
	i := slices.IndexFunc(f.Sites, func(s Site) bool { return s.Name == name })
	if i < 0 {
		return Site{}, false
	}
	return f.Sites[i], true
}

func (l Link) mtu() int {
	if l.MTU == 0 {
		return defaultMTU
	}
	return l.MTU
}

// underlayMTU is what a site's controller is told.
func (f *File) underlayMTU(s Site) int {
	if s.UnderlayMTU != 0 {
		return s.UnderlayMTU
	}
	m := 0
	for _, l := range f.Links {
		if m == 0 || l.mtu() < m {
			m = l.mtu()
		}
	}
	if m == 0 {
		return defaultMTU
	}
	return m
}

// checks collects what is wrong with a file.
type checks struct{ errs []error }

func (c *checks) addf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func (c *checks) name(what, name string, limit int) {
	if !nameRule.MatchString(name) || len(name) > limit {
		c.addf("%s %q: a name has 1 to %d of a-z, 0-9 and -, with no - at its ends", what, name, limit)
	}
}

func (f *File) validate() error {
	c := new(checks)
	c.name("lab", f.Lab, maxLabName)
	if len(f.Sites) == 0 {
		c.addf("sites: a lab has at least one")
	}
	f.validateSites(c)
	nodes := map[string]bool{}
	for _, n := range f.nodes() {
		c.name("node", n.Name, maxNodeName)
		if nodes[n.Name] {
			c.addf("node %s: the name is used twice", n.Name)
		}
		nodes[n.Name] = true
		for k := range n.Sysctls {
			if !strings.HasPrefix(k, "net.") || strings.ContainsAny(k, "/ ") || strings.Contains(k, "..") {
				c.addf("node %s: sysctl %s: only those of the network (net.…) belong to a namespace", n.Name, k)
			}
		}
	}
	for _, n := range f.Routers {
		if n.Gateway || n.GatewayPriority != 0 {
			c.addf("router %s: gateway and gateway_priority are for hosts", n.Name)
		}
	}
	f.validateLinks(c, nodes)
	for name, routes := range f.Routes {
		if !nodes[name] {
			c.addf("routes: no node is named %q", name)
		}
		for _, r := range routes {
			if !r.To.IsValid() || !r.Via.IsValid() || r.To.Addr().Is4() != r.Via.Is4() {
				c.addf("routes of %s: %s via %s: a route has \"to\" (address/length) and \"via\" (address) of one family", name, r.To, r.Via)
			} else if r.To != r.To.Masked() {
				c.addf("routes of %s: %s has bits beyond its length; %s is meant?", name, r.To, r.To.Masked())
			}
		}
	}
	f.validateControl(c, nodes)
	return errors.Join(c.errs...)
}

func (f *File) validateSites(c *checks) {
	names, apis, tunnels := map[string]bool{}, map[string]string{}, map[netip.Addr]string{}
	for _, s := range f.Sites {
		c.name("site", s.Name, maxNodeName)
		if names[s.Name] {
			c.addf("site %s: the name is used twice", s.Name)
		}
		names[s.Name] = true
		for _, k := range s.controllers() {
			f.validateAPI(c, s, k, apis)
		}
		if s.UnderlayMTU != 0 && (s.UnderlayMTU < minMTU || s.UnderlayMTU > maxMTU) {
			c.addf("site %s: underlay_mtu %d is not in %d…%d", s.Name, s.UnderlayMTU, minMTU, maxMTU)
		}
		for _, h := range s.Hosts {
			if other := tunnels[h.TunnelIP]; h.TunnelIP.IsValid() && other != "" {
				c.addf("hosts %s and %s have the same tunnel_ip %s", other, h.Name, h.TunnelIP)
			}
			tunnels[h.TunnelIP] = h.Name
			f.validateFabric(c, s, h)
			if h.GatewayPriority != 0 && !h.Gateway {
				c.addf("host %s has a gateway_priority, and is no gateway: true", h.Name)
			}
			if h.GatewayPriority < 0 || h.GatewayPriority > math.MaxUint8 {
				c.addf("host %s: gateway_priority %d is not in 1…%d", h.Name, h.GatewayPriority, math.MaxUint8)
			}
		}
	}
}

// validateAPI checks the address of a controller's API.
func (f *File) validateAPI(c *checks, s Site, k Controller, apis map[string]string) {
	what := s.called(k)
	ap, err := netip.ParseAddrPort(k.API)
	if err != nil || !ap.Addr().IsLoopback() || ap.Port() == 0 {
		c.addf("%s: api %q: a loopback address with a port, as 127.0.0.1:9696", what, k.API)
	} else if other := apis[k.API]; other != "" {
		c.addf("%s and %s have the same api %s", other, what, k.API)
	}
	apis[k.API] = what
}

// validateFabric checks the fabric address of a host.
func (f *File) validateFabric(c *checks, s Site, h Node) {
	if !h.FabricAddress.IsValid() {
		if len(s.Hosts) > 1 {
			c.addf("host %s has no fabric_address, by which the other hosts of site %s would reach it", h.Name, s.Name)
		}
		return
	}
	for _, l := range f.Links {
		for _, e := range l.Ends {
			if e.Node == h.Name && e.Address.Addr() == h.FabricAddress {
				return
			}
		}
	}
	c.addf("host %s: no link of it has its fabric_address %s", h.Name, h.FabricAddress)
}

func (f *File) validateLinks(c *checks, nodes map[string]bool) {
	used := map[[2]string]bool{}
	for i, l := range f.Links {
		if len(l.Ends) != 2 {
			c.addf("link %d has %d ends: a link has two", i+1, len(l.Ends))
		}
		if l.MTU != 0 && (l.MTU < minMTU || l.MTU > maxMTU) {
			c.addf("link %d: mtu %d is not in %d…%d", i+1, l.MTU, minMTU, maxMTU)
		}
		for _, e := range l.Ends {
			if !nodes[e.Node] {
				c.addf("link %d: no node is named %q", i+1, e.Node)
			}
			if len(e.Interface) == 0 || len(e.Interface) > 15 || strings.ContainsAny(e.Interface, "/: \t") || e.Interface == "lo" {
				c.addf("link %d: interface %q: a name has 1 to 15 characters without / : and space", i+1, e.Interface)
			}
			at := [2]string{e.Node, e.Interface}
			if used[at] {
				c.addf("link %d: %s already has an interface %s", i+1, e.Node, e.Interface)
			}
			used[at] = true
			if !e.Address.IsValid() && f.isRouter(e.Node) {
				c.addf("link %d: %s %s has no address (address/length); only a host's interface may be without, as an uplink of a VTEP router", i+1, e.Node, e.Interface)
			}
		}
	}
}

// freePort asks the kernel for a loopback port that nobody has now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// UseFreePorts gives every site's API a loopback port that is free now.
func (f *File) UseFreePorts() error {
	for i := range f.Sites {
		s := &f.Sites[i]
		apis := []*string{&s.API}
		if s.clustered() {
			apis = nil
			s.Controllers = slices.Clone(s.Controllers)
			for j := range s.Controllers {
				apis = append(apis, &s.Controllers[j].API)
			}
		}
		for _, api := range apis {
			p, err := freePort()
			if err != nil {
				return err
			}
			*api = p
		}
	}
	return nil
}
