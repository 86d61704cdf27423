package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParseMAC(t *testing.T) {
	want := MAC{0x6f, 0xe4, 0x5a, 0xfa, 0x8e, 0x09}
	for _, s := range []string{
		"6f:e4:5a:fa:8e:09", "6F:E4:5A:FA:8E:09", "6F-e4-5a-FA-8e-09", "6f:e4:5a:fa:8e:9", "6f-e4-5a-fa-8e-9",
		"6fe4.5afa.8e09", "6FE4:5afa:8e09", "6fe4-5afa-8e09", "6fe45a-fa8e09", "6fe45a:fa8e09", "6fe45afa8e09",
	} {
		if m, err := ParseMAC(s); err != nil || m != want {
			t.Errorf("ParseMAC(%q) = %v, %v", s, m, err)
		}
	}
	for s, want := range map[string]MAC{"1.2.3": {0, 1, 0, 2, 0, 3}, "23456-789ab": {2, 0x34, 0x56, 7, 0x89, 0xab}, "123456789ab": {1, 0x23, 0x45, 0x67, 0x89, 0xab}} {
		if m, err := ParseMAC(s); err != nil || m != want {
			t.Errorf("ParseMAC(%q) = %v, %v; want %v", s, m, err, want)
		}
	}
	for _, s := range []string{
		"", "zz", "6f:e4:5a:fa:8e", "6f:e4:5a:fa:8e:0g", "6f:e4:5a:fa:8e:09:00", "6fe45afa8e", "6fe45afa8e090", "6fe45.afa8e09",
		"6fe4.5afa.8e090", "6fe4.5afa", "6fe4.5afa:8e09", "6fe4..8e09", "+fe45afa8e09", "6fe4.5afa.8e09.", "6f:e4:5a:fa:8e:", ":e4:5a:fa:8e:09",
		"6f:e4-5a:fa:8e:09", "6f.e4.5a.fa.8e.09", "6f:e4:5a:fa:8e:9 ", "０f:e4:5a:fa:8e",
	} {
		if m, err := ParseMAC(s); err == nil {
			t.Errorf("ParseMAC(%q) = %v; want an error", s, m)
		}
	}
	if !want.IsGroup() || MustMAC("16:b7:b5:a4:57:75").IsGroup() {
		t.Error("the group bit is the lowest of the first byte")
	}
}

// FuzzParseMAC: what is taken is printed and taken again as the same address.
func FuzzParseMAC(f *testing.F) {
	f.Add("16:B7:B5:A4:57:75")
	f.Add("aa-00-11-22-33-44")
	f.Add("aabb.ccdd.eeff")
	f.Add("zz")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			return
		}
		if again, err := ParseMAC(m.String()); err != nil || again != m {
			t.Fatalf("%q is %v, which is %v, %v", s, m, again, err)
		}
		if digits := strings.NewReplacer(":", "", "-", "", ".", "").Replace(s); len(digits) == 12 && !strings.EqualFold(digits, strings.ReplaceAll(m.String(), ":", "")) {
			t.Fatalf("%q became %v", s, m)
		}
	})
}

// A MAC is echoed as it was sent, and compared without regard to case.
func TestNamedMACKeepsItsText(t *testing.T) {
	p := Port{MAC: NamedMAC{MustMAC("6f:e4:5a:fa:8e:09"), "6F:E4:5A:FA:8E:09"}}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var q Port
	if err := json.Unmarshal(b, &q); err != nil {
		t.Fatal(err)
	}
	if q.MAC != p.MAC || q.MAC.String() != "6F:E4:5A:FA:8E:09" {
		t.Errorf("%v came back as %v", p.MAC, q.MAC)
	}
	if err := json.Unmarshal([]byte(`{"mac_address":"zz"}`), &q); err == nil {
		t.Error("a bad MAC was decoded")
	}
}

func TestRemoteSiteOwner(t *testing.T) {
	for owner, want := range map[string]bool{
		"network:remote_site": true, "network:remote-site": true, "Network:Remote_Site": true,
		"": false, "network:remotesite": false, "network:router_interface": false, "compute:nova": false,
	} {
		if got := (&Port{DeviceOwner: owner}).IsRemoteSite(); got != want {
			t.Errorf("%q: %v", owner, got)
		}
	}
}

func TestInterfaceName(t *testing.T) {
	for profile, want := range map[string]string{
		`{"interface_name":"tap0"}`: "tap0", `{}`: "", `{"interface_name":7}`: "", `{"other":"tap0"}`: "",
	} {
		var p Port
		if err := json.Unmarshal([]byte(`{"binding_profile":`+profile+`}`), &p); err != nil {
			t.Fatal(err)
		}
		if got := p.InterfaceName(); got != want {
			t.Errorf("%s: %q", profile, got)
		}
	}
}

func TestKindOf(t *testing.T) {
	err := Errf(KindConflict, "IpAddressAlreadyAllocated", "IP address %s already allocated", "10.0.0.3")
	if k := KindOf(fmt.Errorf("create port: %w", err)); k != KindConflict {
		t.Errorf("kind %d of a wrapped error", k)
	}
	if k := KindOf(errors.New("defect")); k != KindInternal {
		t.Errorf("kind %d of a foreign error", k)
	}
}

// TestOldGatewayDevice: what the first release stored still reads, and is written
// the same.
func TestOldGatewayDevice(t *testing.T) {
	const old = `{"id":"d","name":"gw","project_id":"p","revision_number":3,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","type":"router_vtep","resource_id":"r","tunnel_ip":"200.200.0.1"}`
	var d GatewayDevice
	if err := json.Unmarshal([]byte(old), &d); err != nil {
		t.Fatal(err)
	}
	if d.RouterID() != "r" || d.UplinkID() != "" || d.Management != nil || d.TunnelIP != netip.MustParseAddr("200.200.0.1") {
		t.Errorf("read %+v", d)
	}
	if b, err := json.Marshal(&d); err != nil || string(b) != old {
		t.Errorf("written %s, %v; want %s", b, err, old)
	}
}
