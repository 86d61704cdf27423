package arch

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// exact lists packages whose imports of this module are named one by one.
type exact struct {
	pkg    string
	may    []string
	reason string
}

var exactImports = []exact{
	{"internal/model", nil,
		"the resources are what all other packages share, so they depend on none"},
	{"internal/reason", nil,
		"the list of drop reasons is shared by C, Go and metrics, so it depends on none"},
	{"internal/store", []string{"internal/model"},
		"a store keeps resources and knows no rule about them"},
	{"internal/store/archive", []string{"internal/store"},
		"what a file says does not depend on what keeps the state"},
	{"internal/store/etcdstore", []string{"internal/fair", "internal/model", "internal/pause", "internal/store"},
		"a store keeps resources and knows no rule about them"},
	{"internal/identity", []string{"internal/model"},
		"who asks is a value that the API, policy and the log share"},
	{"internal/keystone", []string{"internal/fair", "internal/identity", "internal/model", "internal/ratelimit"},
		"asking Keystone needs nothing of the site, and gives no more than who a token is"},
	{"internal/policy", []string{"internal/identity", "internal/model", "internal/yamlerr"},
		"who may do what follows from rules, caller and target, and needs no store to be tested"},
	{"internal/site", []string{"internal/model", "internal/packet", "internal/store"},
		"business rules know neither HTTP nor hosts"},
	{"internal/hoststate", []string{"internal/model", "internal/reason"},
		"Compile is pure, and the host packages that import it must not gain the store with it"},
	{"internal/journal", []string{"internal/hoststate"},
		"what a host was told last is kept whatever the host makes of it"},
	{"internal/maplimit", nil,
		"the settings and the maps share one list of limits, and neither is to bring the other along"},
	{"internal/reconcile", nil,
		"when something is tried again does not depend on what is tried"},
	{"internal/hwvtep", []string{"internal/model", "internal/pause"},
		"what a switch is to have is worked out elsewhere; here it is only brought about"},
	{"internal/bfd", nil,
		"a protocol's state follows from packets and times, so that all of its rules can be tested without sockets"},
	{"internal/packet", []string{"internal/model"},
		"building and parsing headers is pure; it knows no topology"},
	{"internal/pathmtu", []string{"internal/model", "internal/packet"},
		"what a path takes follows from packets and answers alone, so that it can be tested on any path"},
	{"internal/trace", []string{"internal/hostenv", "internal/hoststate", "internal/model", "internal/packet", "internal/reason"},
		"the pipeline for people is pure, so that it can stand beside the C programs as their measure"},
	{"internal/orchestrator/peering", []string{"internal/model", "internal/yamlerr"},
		"a file is read without looking at any site"},
	{"internal/orchestrator/observed", []string{"internal/model"},
		"what sites say of themselves is data"},
	{"internal/orchestrator/plan", []string{"internal/model", "internal/orchestrator/observed", "internal/orchestrator/peering"},
		"a plan is a function of the file and of what was observed, so that it can be tested on any topology"},
	{"internal/conns", []string{"internal/ratelimit"},
		"what bounds a listener's clients does not know how they prove who they are"},
	{"internal/filestamp", nil,
		"whether a file has changed does not depend on what it is for"},
	{"internal/revocation", []string{"internal/filestamp"},
		"who was revoked does not depend on what certificates are for"},
	{"internal/pki", []string{"internal/identity"},
		"an authority needs no site: it makes files, on a machine of its own if need be"},
	{"internal/apiserver", []string{"internal/filestamp", "internal/ratelimit"},
		"what bounds an API's clients knows nothing of the API"},
	{"internal/outbound", nil,
		"what bounds a server's answers knows nothing of what is asked"},
	{"internal/yamlerr", nil,
		"where a file is wrong does not depend on what it is for"},
	{"internal/hostenv", nil,
		"it is what two packages that must not meet agree on"},
	{"internal/health", nil,
		"how it is told that something is wrong does not depend on what is looked at"},
	{"internal/systemd", nil,
		"the service manager is told the same by all servers"},
	{"internal/pause", nil,
		"waiting knows nothing of what is waited for"},
	{"internal/fair", nil,
		"sharing knows nothing of what is shared"},
	{"internal/ratelimit", nil,
		"a bucket knows nothing of whom it is for"},
	{"internal/audit", nil,
		"what is written down of a change does not follow what packages happen to call it"},
	{"internal/testutil", nil,
		"every test may import it"},
}

// never says that no package under from may reach any under to, by whatever way.
type never struct {
	from, to []string
	reason   string
}

var neverImports = []never{
	{
		[]string{"internal/hostsync", "internal/agent", "internal/dataplane", "internal/hostnet", "internal/slowpath", "internal/trace", "internal/packet", "internal/hoststate", "internal/journal"},
		[]string{"internal/store", "internal/site", "internal/neutronapi"},
		"a host knows its own state only and gets it over the wire; it works while the controller is away",
	},
	{
		[]string{"internal/client", "internal/orchestrator", "internal/demo", "internal/testbed"},
		[]string{"internal/store", "internal/site", "internal/neutronapi", "internal/hoststate", "internal/dataplane"},
		"clients know a site only through its HTTP API, and a lab only through the processes it starts",
	},
	{
		[]string{"internal/neutronapi", "internal/site", "internal/store"},
		[]string{"internal/dataplane", "internal/hostnet", "internal/slowpath", "internal/agent"},
		"a controller needs neither root nor a kernel of any kind",
	},
	{
		[]string{"internal/trace", "internal/packet", "internal/hoststate"},
		[]string{"internal/dataplane", "internal/hostnet"},
		"what is pure never touches the kernel",
	},
	{
		[]string{"internal/model", "internal/store", "internal/site", "internal/hoststate", "internal/hostsync", "internal/dataplane", "internal/hostnet", "internal/trace", "internal/packet"},
		[]string{"internal/config", "cmd"},
		"flags and files are read at the edge and arrive here as typed values",
	},
}

// owner says who alone may import a dependency.
type owner struct {
	dependency string
	owners     []string
	reason     string
}

var owners = []owner{
	{"go.etcd.io", []string{"internal/store/etcdstore"},
		"the store's interface is what keeps etcd replaceable and its errors in one place"},
	{"github.com/cilium/ebpf", []string{"internal/dataplane", "internal/kernel", "test/bench", "test/benchscale"},
		"maps and programs have one writer (benchmarks read them, and count packets with a program of their own, and package kernel tries what there is)"},
	{"github.com/ovn-kubernetes/libovsdb", []string{"internal/hwvtep"},
		"the database of switches is spoken in one package"},
	{"github.com/vishvananda/netlink", []string{"internal/hostnet"},
		"links, addresses and routes have one writer, which remembers what it added"},
	{"github.com/vishvananda/netns", []string{"internal/hostnet"},
		"a goroutine in the wrong namespace is a bug that one package can keep out"},
	{"github.com/gophercloud/gophercloud", []string{"internal/client"},
		"one place reads OS_* variables and clouds.yaml and turns HTTP errors into words"},
	{"google.golang.org/grpc", []string{"internal/hostsync", "internal/store/etcdstore"},
		"the wire between controller and agent is a detail of one package (the embedded etcd is served by gRPC too)"},
	{"google.golang.org/protobuf", []string{"internal/hostsync"},
		"protobuf types never leave the package that speaks them"},
	{"github.com/spf13/cobra", []string{"cmd/causeway"},
		"what a command does is callable without its command line"},
	{"github.com/santhosh-tekuri/jsonschema", []string{"internal/openapi/openapitest"},
		"it holds replies to the API's description in tests; what requests have is checked by the tables that the description is made of"},
	{"github.com/coreos/go-systemd", []string{"internal/systemd"},
		"what a unit of Type=notify is told has one place"},
	{"github.com/prometheus", []string{"internal/metrics"},
		"the names of metrics are an interface to people; one package keeps them"},
}

// pureStandard is what pure packages may not import of the standard library.
var pureStandard = []owner{
	{"os", nil, "pure packages do no I/O"},
	{"os/exec", nil, "pure packages do no I/O"},
	{"net", nil, "pure packages do no I/O; addresses are net/netip"},
	{"net/http", nil, "pure packages do no I/O"},
	{"syscall", nil, "pure packages do no I/O"},
}

var purePackages = []string{
	"internal/model", "internal/reason", "internal/hostenv", "internal/hoststate", "internal/packet", "internal/trace", "internal/identity", "internal/bfd",
	"internal/orchestrator/observed", "internal/orchestrator/plan", "internal/policy",
}

// graph is the direct imports of each package directory, tests left out.
type graph map[string]map[string]string // package dir → import path → a file that has it

func newGraph(files []*file) graph {
	g := graph{}
	for _, f := range files {
		if !f.isGo() || f.isTest() {
			continue
		}
		// A program in a folder of a package (a generator) is not the package.
		if g[f.dir()] == nil {
			g[f.dir()] = map[string]string{}
		}
		for _, i := range f.imports {
			g[f.dir()][i] = f.path
		}
	}
	return g
}

// inside gives the package directories that dir imports, sorted.
func (g graph) inside(dir string) []string {
	var out []string
	for i := range g[dir] {
		if d, ok := packageDir(i); ok {
			out = append(out, d)
		}
	}
	sort.Strings(out)
	return out
}

// path finds how from reaches a package under one of the roots.
func (g graph) path(from string, roots []string) []string {
	seen := map[string]bool{from: true}
	var walk func(string) []string
	walk = func(dir string) []string {
		for _, next := range g.inside(dir) {
			if seen[next] {
				continue
			}
			seen[next] = true
			if slices.ContainsFunc(roots, func(r string) bool { return within(next, r) }) {
				return []string{dir, next}
			}
			if way := walk(next); way != nil {
				return append([]string{dir}, way...)
			}
		}
		return nil
	}
	return walk(from)
}

// importProblems checks all import rules.
func importProblems(files []*file) []string {
	g := newGraph(files)
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, e := range exactImports {
		for _, i := range g.inside(e.pkg) {
			if !slices.Contains(e.may, i) {
				add("%s imports %s: %s", e.pkg, i, e.reason)
			}
		}
	}
	for dir := range g {
		for _, n := range neverImports {
			if !slices.ContainsFunc(n.from, func(r string) bool { return within(dir, r) }) {
				continue
			}
			if way := g.path(dir, n.to); way != nil {
				add("%s: %s", strings.Join(way, " → "), n.reason)
			}
		}
		if dir == "internal/deps" {
			continue // pins modules and is imported by nobody
		}
		for i, in := range g[dir] {
			for _, o := range owners {
				if within(i, o.dependency) && !slices.ContainsFunc(o.owners, func(r string) bool { return within(dir, r) }) {
					add("%s imports %s, which belongs to %s: %s", in, i, strings.Join(o.owners, ", "), o.reason)
				}
			}
			for _, p := range pureStandard {
				if i == p.dependency && slices.Contains(purePackages, dir) {
					add("%s imports %s: %s", in, i, p.reason)
				}
			}
			if slices.Contains(purePackages[:2], dir) && strings.Contains(i, ".") {
				add("%s imports %s: %s uses the standard library only", in, i, dir)
			}
		}
	}
	sort.Strings(out)
	return out
}
