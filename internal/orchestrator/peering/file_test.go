package peering

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

const good = `apiVersion: causeway/v1
kind: Peering
metadata: {name: acme}
spec:
  network: {cidr: 192.168.0.0/24, vni: 100}
  sites:
  - name: site-a
    cloud: site-a
    gateway: SiteAGatewayDevice
    router: SiteATenantRouter
    address: 192.168.0.1
    mac: 16:B7:B5:A4:57:75
    advertise: [10.0.0.0/24]
  - name: site-b
    endpoint: http://127.0.0.1:9696
    auth: {token: secret}
    gateway: {router: SiteBVtepRouter, tunnelIP: 200.200.0.2}
    router: SiteBTenantRouter
`

func TestParse(t *testing.T) {
	ps, err := Parse("p.yaml", []byte(good+"---\n"+strings.Replace(good, "acme", "beta", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if len(ps) != 2 || ps[1].Name != "beta" || ps[1].Place != "p.yaml, line 20" {
		t.Fatalf("%+v", ps)
	}
	mac, _ := model.ParseNamedMAC("16:B7:B5:A4:57:75")
	want := Peering{
		Name: "acme", Place: "p.yaml, line 1",
		Network: Network{CIDR: netip.MustParsePrefix("192.168.0.0/24"), VNI: 100},
		Sites: []Site{
			{
				Name: "site-a", Access: Access{Cloud: "site-a"}, Gateway: Gateway{Device: "SiteAGatewayDevice"},
				Router: "SiteATenantRouter", Address: netip.MustParseAddr("192.168.0.1"), MAC: mac,
				Advertise: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
			},
			{
				Name: "site-b", Access: Access{Endpoint: "http://127.0.0.1:9696", Auth: map[string]string{"token": "secret"}},
				Gateway: Gateway{Router: "SiteBVtepRouter", TunnelIP: netip.MustParseAddr("200.200.0.2")}, Router: "SiteBTenantRouter",
			},
		},
	}
	if !reflect.DeepEqual(ps[0], want) {
		t.Errorf("got  %+v\nwant %+v", ps[0], want)
	}
}

// TestMistakes: every mistake is told, each with its line.
func TestMistakes(t *testing.T) {
	for _, tc := range []struct {
		name, from, to string
		want           []string
	}{
		{"version", "causeway/v1", "causeway/v2", []string{`line 1: apiVersion "causeway/v2": this version reads causeway/v1`}},
		{"unknown key", "advertise:", "advertize:", []string{`line 13: unknown key "advertize" in a site; it has name, cloud,`}},
		{"no name", "{name: acme}", "{}", []string{"line 3: metadata.name is missing"}},
		{"bad name", "name: acme", "name: a/b", []string{`line 3: metadata.name "a/b"`}},
		{"vni", "vni: 100", "vni: 16777216", []string{`line 5: vni "16777216": wanted a number from 1 to 16777215`}},
		{"cidr", "192.168.0.0/24, vni", "192.168.0.1/24, vni", []string{"line 5: cidr 192.168.0.1/24 has bits beyond its length; 192.168.0.0/24 is meant?"}},
		{"small", "192.168.0.0/24, vni", "192.168.0.0/32, vni", []string{"has no room for two routers"}},
		{"unrouted cidr", "192.168.0.0/24, vni", "240.0.0.0/24, vni", []string{"line 5: cidr 240.0.0.0/24 has addresses of 240.0.0.0/4, which no router forwards", "site site-a: address 192.168.0.1 is not one"}},
		{"unrouted advertise", "[10.0.0.0/24]", "[127.0.0.0/24]", []string{"line 13: advertise: 127.0.0.0/24 has addresses of 127.0.0.0/8, which no router forwards"}},
		{"unrouted tunnel", "200.200.0.2", "0.1.2.3", []string{"line 17: site site-b: gateway.tunnelIP 0.1.2.3 is no address that a router forwards"}},
		{"address", "address: 192.168.0.1", "address: 192.168.1.1", []string{"line 11: site site-a: address 192.168.1.1 is not one for a router in 192.168.0.0/24"}},
		{"broadcast", "address: 192.168.0.1", "address: 192.168.0.255", []string{"is not one for a router"}},
		{"mac", "16:B7:B5:A4:57:75", "16:B7:B5:A4:57", []string{`line 12: site site-a: mac "16:B7:B5:A4:57"`}},
		{"advertise", "[10.0.0.0/24]", "[10.0.0.0/24, 10.0.0.128/25]", []string{"10.0.0.0/24 and 10.0.0.128/25 overlap"}},
		{"same name", "name: site-b", "name: site-a", []string{"line 14: sites site-a and site-a have the same name site-a"}},
		{"two ways", "cloud: site-a", "cloud: site-a\n    endpoint: http://x", []string{"cloud says all that endpoint and auth would"}},
		{"no way", "    cloud: site-a\n", "", []string{"line 7: site site-a: where is its API?"}},
		{"endpoint", "http://127.0.0.1:9696", "127.0.0.1:9696", []string{"not a URL like"}},
		{"no gateway", "    gateway: SiteAGatewayDevice\n", "", []string{"line 7: site site-a: gateway is missing"}},
		{"half a gateway", "router: SiteBVtepRouter, ", "", []string{"both router and tunnelIP are needed"}},
		{"tunnel", "200.200.0.2", "224.0.0.1", []string{`gateway.tunnelIP "224.0.0.1"`}},
		{"no router", "    router: SiteATenantRouter\n", "", []string{"site site-a: router is missing"}},
		{"several", "vni: 100", "vni: x, mtu: 1", []string{`vni "x"`, `mtu "1"`}},
		{"twice", "cloud: site-a", "cloud: site-a\n    cloud: b", []string{`key "cloud" in a site is there twice`}},
		{"not yaml", "metadata: {", "metadata: [", []string{"p.yaml: line 3: did not find expected ',' or ']'"}},
		{"set in too far", "    gateway: SiteAGatewayDevice", "     gateway: SiteAGatewayDevice", []string{"p.yaml: line 9: it is set in by too much"}},
		{"set in too little", "    router: SiteATenantRouter", "   router: SiteATenantRouter", []string{"p.yaml: line 10: it is set in by too much or too little"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(good, tc.from) {
				t.Fatal("the file has not what is to be replaced")
			}
			_, err := Parse("p.yaml", []byte(strings.Replace(good, tc.from, tc.to, 1)))
			if err == nil {
				t.Fatal("taken")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v\nwants %s", err, w)
				}
			}
			if n := strings.Count(err.Error(), "\n"); n >= len(tc.want)+1 {
				t.Errorf("%d mistakes: %v", n+1, err)
			}
		})
	}
}

// A /31 has room for two routers (RFC 3021), and the last VNI is one.
func TestLimitsAreTaken(t *testing.T) {
	ps, err := Parse("p.yaml", []byte(strings.NewReplacer("192.168.0.0/24, vni: 100", "192.168.0.0/31, vni: 16777215").Replace(good)))
	if err != nil {
		t.Fatal(err)
	}
	if n := ps[0].Network; n.VNI != model.MaxVNI || n.CIDR.Bits() != 31 {
		t.Errorf("%+v", n)
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", good)
	write("b.yml", strings.Replace(good, "acme", "beta", 1))
	write(".hidden.yaml", "x")
	write("notes.txt", "x")
	ps, err := ReadFiles([]string{dir}, nil)
	if err != nil || len(ps) != 2 {
		t.Fatalf("%d, %v", len(ps), err)
	}
	ps, err = ReadFiles([]string{"-"}, strings.NewReader(good))
	if err != nil || len(ps) != 1 {
		t.Fatalf("%d, %v", len(ps), err)
	}
	write("c.yaml", good)
	if _, err := ReadFiles([]string{dir}, nil); err == nil || !strings.Contains(err.Error(), "a peering acme is in") {
		t.Error(err)
	}
	if _, err := ReadFiles([]string{t.TempDir()}, nil); err == nil {
		t.Error("an empty directory is taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("---\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ps, err := Parse("f", b)
		if err != nil {
			return
		}
		for _, p := range ps {
			if p.Name == "" || len(p.Sites) < 2 || !p.Network.CIDR.IsValid() {
				t.Errorf("taken: %+v", p)
			}
		}
	})
}
