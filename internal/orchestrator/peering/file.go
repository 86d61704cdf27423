package peering

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/yamlerr"
)

const (
	apiVersion = "causeway/v1"
	kind       = "Peering"
	// maxFile bounds a file, in bytes.
	maxFile = 4 << 20
	// minMTU is the smallest MTU of a network: RFC 791 §3.1.
	minMTU = 68
	maxMTU = 65535
)

// authKeys are what auth: may have; the names are those of clouds.yaml.
var authKeys = []string{
	"type", "token", "auth_url", "username", "user_id", "password", "project_id", "project_name",
	"user_domain_id", "user_domain_name", "project_domain_id", "project_domain_name",
	"application_credential_id", "application_credential_name", "application_credential_secret",
	"region_name", "interface", "cacert", "cert", "key", "insecure", "system_scope",
}

// ReadFiles reads files, and the files that end in .yaml or .yml of directories.
// "-" is standard input. The names of peerings must be unique over all of them.
func ReadFiles(paths []string, stdin io.Reader) ([]Peering, error) {
	var out []Peering
	var errs []error
	where := map[string]string{}
	for _, path := range paths {
		files, err := Files(path)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			ps, err := ReadFile(f, stdin)
			if err != nil {
				errs = append(errs, err)
			}
			for _, p := range ps {
				if other := where[p.Name]; other != "" {
					errs = append(errs, fmt.Errorf("%s: a peering %s is in %s already", p.Place, p.Name, other))
				}
				where[p.Name] = p.Place
				out = append(out, p)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no peering in %s", strings.Join(paths, ", "))
	}
	return out, nil
}

// Files are the files that a path means: those that end in .yaml or .yml of a directory.
func Files(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		// Editors keep hidden files beside the real ones.
		if ext := filepath.Ext(e.Name()); !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && (ext == ".yaml" || ext == ".yml") {
			out = append(out, filepath.Join(path, e.Name()))
		}
	}
	return out, nil
}

// ReadFile reads one file.
func ReadFile(path string, stdin io.Reader) ([]Peering, error) {
	b, err := read(path, stdin)
	if err != nil {
		return nil, err
	}
	return Parse(path, b)
}

func read(path string, stdin io.Reader) ([]byte, error) {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return b, err
}

// Parse reads the documents of a file. The error names every mistake with its line.
func Parse(path string, b []byte) ([]Peering, error) {
	var out []Peering
	dec := yaml.NewDecoder(bytes.NewReader(b))
	r := &reader{path: path}
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("%s: %w", path, yamlerr.Explain(b, err)))
			break
		}
		if len(doc.Content) == 0 {
			continue
		}
		if p, ok := r.peering(doc.Content[0]); ok {
			out = append(out, p)
		}
	}
	return out, errors.Join(r.errs...)
}

// reader collects mistakes.
type reader struct {
	path string
	errs []error
}

func (r *reader) addf(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: line %d: %s", r.path, n.Line, fmt.Sprintf(format, args...)))
}

// fields takes a mapping apart. Unknown and double keys are mistakes, and so is a
// value of another kind; what is null counts as left out.
func (r *reader) fields(n *yaml.Node, what string, keys ...string) map[string]*yaml.Node {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		r.addf(n, "%s: wanted keys and values: %s", what, strings.Join(keys, ", "))
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], follow(n.Content[i+1])
		switch {
		case !slices.Contains(keys, k.Value):
			r.addf(k, "unknown key %q in %s; it has %s", k.Value, what, strings.Join(keys, ", "))
		case out[k.Value] != nil:
			r.addf(k, "key %q in %s is there twice", k.Value, what)
		case v.Tag != "!!null":
			out[k.Value] = v
		}
	}
	return out
}

func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// text is a scalar's text, "" where there is none.
func (r *reader) text(n *yaml.Node, what string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		r.addf(n, "%s: wanted a text", what)
		return ""
	}
	return n.Value
}

func (r *reader) number(n *yaml.Node, what string, low, high int) int {
	if n == nil {
		return 0
	}
	v, err := strconv.Atoi(r.text(n, what))
	if err != nil || v < low || v > high {
		r.addf(n, "%s %q: wanted a number from %d to %d", what, n.Value, low, high)
		return 0
	}
	return v
}

func (r *reader) addr(n *yaml.Node, what string) netip.Addr {
	if n == nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(r.text(n, what))
	if err != nil || !a.Is4() || !a.IsGlobalUnicast() {
		r.addf(n, "%s %q: wanted the IPv4 address of one host", what, n.Value)
		return netip.Addr{}
	}
	return a
}

func (r *reader) prefix(n *yaml.Node, what string) netip.Prefix {
	p, err := netip.ParsePrefix(r.text(n, what))
	switch {
	case err != nil || !p.Addr().Is4():
		r.addf(n, "%s %q: wanted an IPv4 network like 10.0.0.0/24", what, n.Value)
		return netip.Prefix{}
	case p != p.Masked():
		r.addf(n, "%s %s has bits beyond its length; %s is meant?", what, p, p.Masked())
	}
	return p.Masked()
}

// peering reads one document. ok is false if it has mistakes.
func (r *reader) peering(n *yaml.Node) (p Peering, ok bool) {
	before := len(r.errs)
	p.Place = fmt.Sprintf("%s, line %d", r.path, n.Line)
	top := r.fields(n, "a file", "apiVersion", "kind", "metadata", "spec")
	if top == nil {
		return p, false
	}
	for key, want := range map[string]string{"apiVersion": apiVersion, "kind": kind} {
		switch v := top[key]; {
		case v == nil:
			r.addf(n, "%s: %s is missing", key, want)
		case v.Value != want:
			r.addf(v, "%s %q: this version reads %s", key, v.Value, want)
		}
	}
	if m := top["metadata"]; m == nil {
		r.addf(n, "metadata: {name: …} is missing")
	} else if f := r.fields(m, "metadata", "name"); f != nil {
		p.Name = r.name(m, f["name"], "metadata.name")
	}
	if top["spec"] == nil {
		r.addf(n, "spec is missing")
		return p, false
	}
	spec := r.fields(top["spec"], "spec", "network", "sites")
	if spec != nil {
		r.network(top["spec"], spec["network"], &p)
		r.sites(top["spec"], spec["sites"], &p)
	}
	return p, len(r.errs) == before
}

func (r *reader) name(at, n *yaml.Node, what string) string {
	if n == nil {
		r.addf(at, "%s is missing", what)
		return ""
	}
	s := r.text(n, what)
	if !validName(s) {
		r.addf(n, "%s %q: 1 to %d letters, digits, - _ and ., the first a letter or digit", what, s, maxName)
	}
	return s
}

func (r *reader) network(at, n *yaml.Node, p *Peering) {
	if n == nil {
		r.addf(at, "network: {cidr: …} is missing")
		return
	}
	f := r.fields(n, "network", "cidr", "vni", "mtu")
	if f == nil {
		return
	}
	if f["cidr"] == nil {
		r.addf(n, "network: cidr is missing: the addresses of the peer routers' ports, the same at every site")
	} else if p.Network.CIDR = r.prefix(f["cidr"], "cidr"); p.Network.CIDR.IsValid() {
		if p.Network.CIDR.Bits() > 31 {
			r.addf(f["cidr"], "cidr %s has no room for two routers", p.Network.CIDR)
		}
		r.routed(f["cidr"], "cidr", p.Network.CIDR)
	}
	p.Network.VNI = model.VNI(r.number(f["vni"], "vni", 1, int(model.MaxVNI)))
	p.Network.MTU = r.number(f["mtu"], "mtu", minMTU, maxMTU)
}

func (r *reader) sites(at, n *yaml.Node, p *Peering) {
	if n == nil || n.Kind != yaml.SequenceNode || len(n.Content) < 2 {
		if n != nil {
			at = n
		}
		r.addf(at, "sites: wanted a list of two sites or more")
		return
	}
	if len(n.Content) > MaxSites {
		r.addf(n, "sites: %d; a peering has at most %d", len(n.Content), MaxSites)
		return
	}
	seen := map[string]map[string]string{} // what → value → site
	once := func(n *yaml.Node, what, value, site string) {
		if seen[what] == nil {
			seen[what] = map[string]string{}
		}
		if other, twice := seen[what][value]; twice {
			r.addf(n, "sites %s and %s have the same %s %s", other, site, what, value)
		}
		seen[what][value] = site
	}
	for _, sn := range n.Content {
		sn = follow(sn)
		f := r.fields(sn, "a site", "name", "cloud", "endpoint", "auth", "gateway", "router", "address", "mac", "advertise")
		if f == nil {
			continue
		}
		s := Site{Name: r.name(sn, f["name"], "name of a site")}
		once(sn, "name", s.Name, s.Name)
		s.Access = r.access(sn, f, s.Name)
		s.Gateway = r.gateway(sn, f["gateway"], s.Name)
		if s.Router = r.text(f["router"], "router"); s.Router == "" {
			r.addf(sn, "site %s: router is missing: the name or id of the tenant router", s.Name)
		}
		if a := f["address"]; a != nil {
			s.Address = r.addr(a, "address")
			if c := p.Network.CIDR; s.Address.IsValid() && c.IsValid() && !model.IsHostIn(c, s.Address) {
				r.addf(a, "site %s: address %s is not one for a router in %s", s.Name, s.Address, c)
			}
			once(a, "address", s.Address.String(), s.Name)
		}
		if m := f["mac"]; m != nil {
			mac, err := model.ParseNamedMAC(r.text(m, "mac"))
			if err != nil || mac.IsZero() || mac.MAC == (model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
				r.addf(m, "site %s: mac %q: wanted a MAC address like 02:00:00:00:00:01", s.Name, m.Value)
			}
			s.MAC = mac
			once(m, "mac", mac.MAC.String(), s.Name)
		}
		if s.Gateway.TunnelIP.IsValid() {
			once(f["gateway"], "tunnelIP", s.Gateway.TunnelIP.String(), s.Name)
		}
		s.Advertise = r.advertise(f["advertise"])
		p.Sites = append(p.Sites, s)
	}
}

func (r *reader) access(at *yaml.Node, f map[string]*yaml.Node, site string) Access {
	a := Access{Cloud: r.text(f["cloud"], "cloud"), Endpoint: r.text(f["endpoint"], "endpoint")}
	if n := f["auth"]; n != nil {
		a.Auth = map[string]string{}
		for k, v := range r.fields(n, "auth", authKeys...) {
			a.Auth[k] = r.text(v, k)
		}
	}
	switch keystone := a.Auth["auth_url"] != ""; {
	case a.Cloud != "" && (a.Endpoint != "" || a.Auth != nil):
		r.addf(at, "site %s: cloud says all that endpoint and auth would; give one of them", site)
	case a.Cloud == "" && a.Endpoint == "" && !keystone:
		r.addf(at, "site %s: where is its API? give cloud: (of clouds.yaml), endpoint:, or auth: with auth_url", site)
	case a.Endpoint != "" && keystone:
		r.addf(at, "site %s: with auth.auth_url Keystone says where the API is; leave endpoint out", site)
	}
	if a.Endpoint != "" {
		if u, err := url.Parse(a.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			r.addf(f["endpoint"], "site %s: endpoint %q: not a URL like http://127.0.0.1:9696", site, a.Endpoint)
		}
	}
	return a
}

func (r *reader) gateway(at, n *yaml.Node, site string) Gateway {
	if n == nil {
		r.addf(at, "site %s: gateway is missing: a gateway device, or {router: …, tunnelIP: …} to make one", site)
		return Gateway{}
	}
	if n.Kind == yaml.ScalarNode {
		return Gateway{Device: n.Value}
	}
	f := r.fields(n, "gateway", "router", "tunnelIP")
	g := Gateway{Router: r.text(f["router"], "gateway.router"), TunnelIP: r.addr(f["tunnelIP"], "gateway.tunnelIP")}
	if f != nil && (g.Router == "" || f["tunnelIP"] == nil) {
		r.addf(n, "site %s: gateway: both router and tunnelIP are needed to make a gateway device", site)
	}
	if g.TunnelIP.IsValid() && !model.IsRouted(g.TunnelIP) {
		r.addf(f["tunnelIP"], "site %s: gateway.tunnelIP %s is no address that a router forwards", site, g.TunnelIP)
	}
	return g
}

// routed refuses networks with addresses that no router forwards.
func (r *reader) routed(n *yaml.Node, what string, p netip.Prefix) {
	if u, some := model.UnroutedIn(p); some {
		r.addf(n, "%s %s has addresses of %s, which no router forwards", what, p, u)
	}
}

func (r *reader) advertise(n *yaml.Node) []netip.Prefix {
	if n == nil {
		return nil
	}
	out := []netip.Prefix{}
	if n.Kind != yaml.SequenceNode {
		r.addf(n, "advertise: wanted a list of networks like [10.0.0.0/24]")
		return out
	}
	for _, e := range n.Content {
		p := r.prefix(follow(e), "advertise")
		if !p.IsValid() {
			continue
		}
		r.routed(e, "advertise:", p)
		if i := slices.IndexFunc(out, p.Overlaps); i >= 0 {
			r.addf(e, "advertise: %s and %s overlap", out[i], p)
		}
		out = append(out, p)
	}
	return out
}
