package testbed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamples: every lab among the examples is well-formed, and no two of them
// would meet on a port.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*-sites.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	files = append(files, "../../examples/many-hosts.yaml", "../../examples/controllers.yaml")
	apis := map[string]string{}
	for _, path := range files {
		f, err := ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := strings.TrimSuffix(filepath.Base(path), ".yaml"); f.Lab != want {
			t.Errorf("%s: the lab is named %s", path, f.Lab)
		}
		for _, s := range f.Sites {
			if apis[s.API] != "" {
				t.Errorf("%s and %s share the port %s", apis[s.API], path, s.API)
			}
			apis[s.API] = path
		}
	}
}

func TestParse(t *testing.T) {
	good, err := os.ReadFile("../../examples/two-sites.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, from, to, want string }{
		{"good", "", "", ""},
		{"empty", string(good), "", "the file is empty"},
		{"no YAML", string(good), "lab: [", "did not find"},
		{"two documents", "lab: two-sites", "lab: two-sites\n---\nlab: x", "only one YAML document"},
		{"unknown key", "tunnel_ip: 200.200.0.1", "tunnelip: 200.200.0.1", `unknown key "tunnelip" in a node; it has name, tunnel_ip, fabric_address, gateway, gateway_priority, sysctls`},
		{"unknown key of the lab", "routers:", "router:", `unknown key "router" in a file; it has lab, sites`},
		{"lab's name", "lab: two-sites", "lab: Two Sites", `lab "Two Sites": a name has`},
		{"long name", "name: core", "name: a-name-of-more-than-twenty", "a name has 1 to 20"},
		{"same node twice", "name: b1", "name: a1", "node a1: the name is used twice"},
		{"api off loopback", "127.0.0.1:19696", "192.0.2.1:19696", "a loopback address with a port"},
		{"same api", "127.0.0.1:29696", "127.0.0.1:19696", "site site-a and site site-b have the same api"},
		{"same tunnel IP", "tunnel_ip: 200.200.0.2", "tunnel_ip: 200.200.0.1", "hosts a1 and b1 have the same tunnel_ip"},
		{"bad address", "172.16.1.2/24", "172.16.1.2", "172.16.1.2"},
		{"mtu", "mtu: 1500", "mtu: 100", "link 1: mtu 100 is not in 576…65535"},
		{"unknown node in a link", "{node: core, interface: to-b1", "{node: cor, interface: to-b1", `link 2: no node is named "cor"`},
		{"same interface", "interface: to-b1", "interface: to-a1", "link 2: core already has an interface to-a1"},
		{"interface's name", "interface: to-b1", "interface: an-interface-name", "a name has 1 to 15"},
		{"route of nobody", "  core:\n", "  cor:\n", `routes: no node is named "cor"`},
		{"route's host bits", "to: 200.200.0.2/32", "to: 200.200.0.2/24", "200.200.0.0/24 is meant?"},
		{"route without via", "{to: 200.200.0.2/32, via: 172.16.1.1}", "{to: 200.200.0.2/32}", `a route has "to"`},
		{"sysctl", "net.ipv4.ip_forward", "kernel.panic", "only those of the network"},
	} {
		text := strings.Replace(string(good), tc.from, tc.to, 1)
		if tc.from != "" && text == string(good) {
			t.Errorf("%s: nothing was replaced", tc.name)
		}
		_, err := Parse([]byte(text))
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: error %v, want %q in it", tc.name, err, tc.want)
		}
	}
}

// TestParseManyHosts: hosts of one site have each a fabric address, which is there.
func TestParseManyHosts(t *testing.T) {
	good, err := os.ReadFile("../../examples/many-hosts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ from, to, want string }{
		{"", "", ""},
		{"        fabric_address: 172.16.12.2\n", "", "host a2 has no fabric_address, by which the other hosts of site site-a would reach it"},
		{"fabric_address: 172.16.12.2", "fabric_address: 172.16.12.1", "host a2: no link of it has its fabric_address 172.16.12.1"},
		{"fabric_address: 172.16.12.2", "fabric_address: 172.16.11.2", "host a2: no link of it has its fabric_address 172.16.11.2"},
		{"gateway: true", "gateway: true\n        gateway_priority: 255", ""},
		{"gateway: true", "gateway_priority: 7", "host gw-a has a gateway_priority, and is no gateway: true"},
		{"gateway: true", "gateway: true\n        gateway_priority: 256", "host gw-a: gateway_priority 256 is not in 1…255"},
		{"gateway: true", "gateway: true\n        gateway_priority: -1", "host gw-a: gateway_priority -1 is not in 1…255"},
		{"name: core", "name: core\n    gateway: true", "router core: gateway and gateway_priority are for hosts"},
	} {
		text := strings.Replace(string(good), tc.from, tc.to, 1)
		if _, err := Parse([]byte(text)); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.to, err, tc.want)
		}
	}
}

// TestParseControllers: what a site with several controllers must and must not say.
func TestParseControllers(t *testing.T) {
	good, err := os.ReadFile("../../examples/controllers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ from, to, want string }{
		{"", "", ""},
		{"    etcd: [a-e1, a-e2, a-e3]\n", "", "site site-a: its controllers need 1, 3, 5 or 7 etcd members, and 0 are named"},
		{"a-e1, a-e2, a-e3", "a-e1, a-e2", "and 2 are named"},
		{"a-e1, a-e2, a-e3", "a-e1, a-e2, a-c1", "controller or etcd member a-c1: the name is used twice"},
		{"a-e1, a-e2, a-e3", "a-e1, a-e2, a1", "controller or etcd member a1: the name is used twice"},
		{"a-e1, a-e2, a-e3", "a-e1, a-e2, A", `controller or etcd member "A": a name has`},
		{"a-e1, a-e2, a-e3", "a-e1, a-e2, site-a", "site site-a: a host, router, controller or etcd member has its name"},
		{"    controllers:", "    api: 127.0.0.1:9\n    controllers:", "site site-a has both api and controllers"},
		{"127.0.0.1:19892", "127.0.0.1:19891", "controller a-c1 and controller a-c2 have the same api 127.0.0.1:19891"},
		{"127.0.0.1:19892", "192.0.2.1:19891", `controller a-c2: api "192.0.2.1:19891": a loopback address`},
		{"name: a-c2, api", "name: a-c2, ap", `unknown key "ap" in a controller; it has name, api`},
		{"name: core", "name: control", "node control: where a site has controllers, this is the name of their network"},
		{"172.16.12.2/24", "198.18.12.2/24", "link 2: 198.18.12.2/24 is in 198.18.0.0/16"},
		{"interface: to-a1", "interface: control", "link 1: interface control: where a site has controllers"},
	} {
		text := strings.Replace(string(good), tc.from, tc.to, 1)
		if tc.from != "" && text == string(good) {
			t.Errorf("%s: nothing was replaced", tc.from)
		}
		if _, err := Parse([]byte(text)); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.to, err, tc.want)
		}
	}
	alone := "lab: l\nsites: [{name: s, api: '127.0.0.1:9', etcd: [e1]}]\n"
	if _, err := Parse([]byte(alone)); err == nil || !strings.Contains(err.Error(), "etcd without controllers") {
		t.Errorf("etcd without controllers: %v", err)
	}
}

func TestUnderlayMTU(t *testing.T) {
	f := &File{Links: []Link{{MTU: 9000}, {MTU: 1400}, {}}}
	if got := f.underlayMTU(Site{}); got != 1400 {
		t.Errorf("smallest of the links: %d", got)
	}
	if got := f.underlayMTU(Site{UnderlayMTU: 1450}); got != 1450 {
		t.Errorf("the site's own: %d", got)
	}
	if got := (&File{}).underlayMTU(Site{}); got != 1500 {
		t.Errorf("without links: %d", got)
	}
}
