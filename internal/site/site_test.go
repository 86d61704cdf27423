package site_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
)

// fixture is a site over a store in memory.
type fixture struct {
	*testing.T
	st *sitetest.Store
	*site.Site
	log strings.Builder
}

func newSite(t *testing.T) *fixture {
	f := &fixture{T: t, st: sitetest.New()}
	f.Site = site.New(f.st, site.Options{Logger: slog.New(slog.NewTextHandler(io.MultiWriter(&f.log, io.Discard), nil))})
	t.Cleanup(f.sound)
	return f
}

func (f *fixture) view() store.Snapshot {
	f.Helper()
	s, err := f.st.View(f.Context())
	f.ok(err)
	return s
}

func (f *fixture) sound() {
	f.Helper()
	snap, err := f.st.View(f.T.Context())
	if err != nil && snap == nil {
		f.Fatal(err)
	}
	for _, p := range site.Check(snap) {
		f.Error(p)
	}
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// wantErr checks kind and type of an error.
func (f *fixture) wantErr(err error, kind model.ErrorKind, typ string) {
	f.Helper()
	e, _ := err.(*model.Error)
	if e == nil || e.Kind != kind || e.Type != typ {
		f.Errorf("error %v, want kind %d type %s", err, kind, typ)
	}
}

func (f *fixture) network(typ model.NetworkType) *model.Network {
	f.Helper()
	n, err := f.CreateNetworks(f.Context(), []*model.Network{{AdminStateUp: true, Type: typ}})
	f.ok(err)
	return n[0]
}

func (f *fixture) subnet(net model.NetworkID, cidr string) *model.Subnet {
	f.Helper()
	s, err := f.CreateSubnets(f.Context(), []*site.SubnetInput{{
		Subnet: model.Subnet{NetworkID: net, CIDR: netip.MustParsePrefix(cidr)}, AutoGateway: true, AutoPools: true,
	}})
	f.ok(err)
	return s[0]
}

func (f *fixture) port(net model.NetworkID, edit func(*site.PortInput)) *model.Port {
	f.Helper()
	in := &site.PortInput{Port: model.Port{NetworkID: net, AdminStateUp: true}, AutoIPs: true}
	if edit != nil {
		edit(in)
	}
	p, err := f.CreatePorts(f.Context(), []*site.PortInput{in})
	f.ok(err)
	return p[0]
}

func (f *fixture) router() *model.Router {
	f.Helper()
	r, err := f.CreateRouters(f.Context(), []*site.RouterInput{{Router: model.Router{AdminStateUp: true}}})
	f.ok(err)
	return r[0]
}

func (f *fixture) device(router model.RouterID, ip string) *model.GatewayDevice {
	f.Helper()
	d, err := f.CreateGatewayDevice(f.Context(), &site.GatewayDeviceInput{
		GatewayDevice: model.GatewayDevice{Type: model.RouterVTEP, ResourceID: string(router)},
		TunnelIPs:     []netip.Addr{netip.MustParseAddr(ip)},
	})
	f.ok(err)
	return d
}

func bind(host model.HostName, iface string) func(*site.PortInput) {
	return func(in *site.PortInput) {
		in.HostID = host
		in.Profile = map[string]json.RawMessage{"interface_name": json.RawMessage(fmt.Sprintf("%q", iface))}
	}
}

func TestHostsAndPlacement(t *testing.T) {
	f := newSite(t)
	placed := func(d *model.GatewayDevice) *model.Placement {
		return store.Get(f.view(), store.Placements, string(d.ID))
	}
	before := f.device(f.router().ID, "200.0.0.1")
	if p := placed(before); p != nil {
		t.Errorf("placed without a host: %+v", p)
	}
	f.ok(f.RegisterHost(t.Context(), site.Session{Host: "h1", Controller: "c1", Number: 1}))
	if p := placed(before); p == nil || p.Host != "h1" || p.Epoch != 1 {
		t.Errorf("placement after the host came: %+v", p)
	}
	after := f.device(f.router().ID, "200.0.0.2")
	if p := placed(after); p == nil || p.Host != "h1" || p.Epoch != 1 {
		t.Errorf("placement of a new device: %+v", p)
	}
	f.ok(f.DeleteGatewayDevice(t.Context(), string(after.ID), nil))
	if p := placed(after); p != nil {
		t.Errorf("placement of a deleted device: %+v", p)
	}
	f.wantErr(f.SetMTUs(t.Context(), "h2", 1500, 0), model.KindNotFound, "HostNotFound")
}

// keyHeld tells whether a network's key could not be given to another.
func keyHeld(r store.Reader, n *model.Network) bool {
	_, ok := r.Lookup("key", fmt.Sprintf("network/%d", n.Key))
	return ok
}

func TestPortStates(t *testing.T) {
	f := newSite(t)
	f.ok(f.RegisterHost(t.Context(), site.Session{Host: "h1", Controller: "c1", Number: 1}))
	net := f.network("")
	status := func(p *model.Port) model.PortStatus {
		return site.PortStatus(f.view(), store.Get(f.view(), store.Ports, string(p.ID)))
	}
	report := func(p *model.Port, s model.PortStatus) {
		t.Helper()
		f.ok(f.SetPortStates(t.Context(), "h1", []model.PortState{{PortID: p.ID, Status: s}, {PortID: "gone", Status: s}}))
	}
	p := f.port(net.ID, bind("h1", "tap1"))
	elsewhere := f.port(net.ID, bind("h9", "tap1"))
	if s := status(p); s != model.PortDown {
		t.Errorf("before the host reports: %s", s)
	}
	report(p, model.PortActive)
	report(elsewhere, model.PortActive)
	if s := status(p); s != model.PortActive {
		t.Errorf("after the host reports: %s", s)
	}
	if s := status(elsewhere); s != model.PortDown {
		t.Errorf("a port of another host: %s", s)
	}
	if st := store.Get(f.view(), store.PortStates, string(elsewhere.ID)); st != nil {
		t.Errorf("a host reported a port that is not bound to it: %+v", st)
	}
	rev := f.view().Revision()
	report(p, model.PortActive)
	if now := f.view().Revision(); now != rev {
		t.Errorf("a report of what is known wrote revision %d", now)
	}
	old := store.Get(f.view(), store.Ports, string(p.ID)).Revision
	if old != 1 {
		t.Errorf("a report changed the port: revision %d", old)
	}
	change := func(edit func(*site.PortInput)) {
		t.Helper()
		_, err := f.UpdatePort(t.Context(), string(p.ID), func(in *site.PortInput) error { edit(in); return nil })
		f.ok(err)
	}
	change(func(in *site.PortInput) { in.AdminStateUp = false })
	if s := status(p); s != model.PortDown {
		t.Errorf("admin state down: %s", s)
	}
	change(func(in *site.PortInput) { in.AdminStateUp = true })
	if s := status(p); s != model.PortActive {
		t.Errorf("admin state up again: %s", s)
	}
	change(bind("h1", "tap2"))
	if s := status(p); s != model.PortDown {
		t.Errorf("bound to another interface: %s", s)
	}
	report(p, model.PortError)
	if s := status(p); s != model.PortError {
		t.Errorf("error reported: %s", s)
	}
	change(func(in *site.PortInput) { in.HostID, in.Profile = "", nil })
	if s := status(p); s != model.PortDown {
		t.Errorf("unbound: %s", s)
	}
	// Its interface is free for another port now.
	f.port(net.ID, bind("h1", "tap2"))
	report(elsewhere, model.PortActive)
	f.ok(f.DeletePort(t.Context(), string(p.ID), nil))

	// An interface of a router on an uplink network is a host's; on any other it
	// is nobody's.
	up := f.network(model.NetworkUplink)
	f.subnet(up.ID, "10.9.0.0/24")
	r := f.router()
	edge := f.port(up.ID, bind("h1", "eth1"))
	_, err := f.AddInterface(t.Context(), string(r.ID), "", string(edge.ID))
	f.ok(err)
	if s := status(edge); s != model.PortDown {
		t.Errorf("an uplink before the host reports: %s", s)
	}
	report(edge, model.PortActive)
	if s := status(edge); s != model.PortActive {
		t.Errorf("an uplink after the host reports: %s", s)
	}
}

func TestAllocation(t *testing.T) {
	f := newSite(t)
	net := f.network("")
	sub := f.subnet(net.ID, "10.0.0.0/28")
	seen := map[netip.Addr]bool{}
	for range 13 { // 14 hosts less the gateway
		p := f.port(net.ID, nil)
		ip := p.FixedIPs[0].IP
		if len(p.FixedIPs) != 1 || seen[ip] || !sub.CIDR.Contains(ip) || ip == sub.Gateway {
			t.Fatalf("address %v", p.FixedIPs)
		}
		seen[ip] = true
		if p.MAC.MAC[0] != 0xfa || p.MAC.MAC[1] != 0x16 || p.MAC.MAC[2] != 0x3e {
			t.Fatalf("MAC %s", p.MAC)
		}
	}
	_, err := f.CreatePorts(t.Context(), []*site.PortInput{{Port: model.Port{NetworkID: net.ID}, AutoIPs: true}})
	f.wantErr(err, model.KindConflict, "IpAddressGenerationFailure")
	// The second subnet takes over where the first is full.
	f.subnet(net.ID, "10.0.1.0/30")
	if p := f.port(net.ID, nil); p.FixedIPs[0].IP.String() != "10.0.1.2" {
		t.Errorf("from the second subnet: %v", p.FixedIPs)
	}
	// No addresses at all is a wish, too.
	if p := f.port(net.ID, func(in *site.PortInput) { in.AutoIPs = false }); len(p.FixedIPs) != 0 {
		t.Errorf("without addresses: %v", p.FixedIPs)
	}
	// /31 and /32 have no address to lose (RFC 3021).
	tiny := f.network("")
	f.subnet(tiny.ID, "10.0.2.0/31")
	if p := f.port(tiny.ID, nil); p.FixedIPs[0].IP.String() != "10.0.2.1" {
		t.Errorf("in a /31: %v", p.FixedIPs)
	}
	single := f.network("")
	f.subnet(single.ID, "10.0.3.7/32")
	if p := f.port(single.ID, nil); p.FixedIPs[0].IP.String() != "10.0.3.7" {
		t.Errorf("in a /32: %v", p.FixedIPs)
	}
	// An address that one request names is not drawn for another of the same port.
	pair := f.network("")
	f.subnet(pair.ID, "10.0.4.0/29")
	for range 5 {
		p := f.port(pair.ID, func(in *site.PortInput) {
			in.AutoIPs = false
			in.Requests = []site.FixedIP{{SubnetID: model.SubnetID(site.SubnetsOf(f.view(), pair.ID)[0])}, {IP: netip.MustParseAddr("10.0.4.2")}}
		})
		if p.FixedIPs[0].IP == p.FixedIPs[1].IP {
			t.Fatalf("the same address twice: %v", p.FixedIPs)
		}
		f.ok(f.DeletePort(t.Context(), string(p.ID), nil))
	}
}

func TestFixedIPsOfInterface(t *testing.T) {
	f := newSite(t)
	net, other := f.network(""), f.network("")
	first, second := f.subnet(net.ID, "10.0.0.0/24"), f.subnet(net.ID, "10.1.0.0/24")
	third := f.subnet(other.ID, "10.2.0.0/24")
	wide := f.subnet(other.ID, "10.3.0.0/16")
	r := f.router()
	i, err := f.AddInterface(t.Context(), string(r.ID), string(first.ID), "")
	f.ok(err)
	_, err = f.AddInterface(t.Context(), string(r.ID), string(third.ID), "")
	f.ok(err)
	move := func(port model.PortID, ip string) error {
		_, err := f.UpdatePort(t.Context(), string(port), func(in *site.PortInput) error {
			in.Requests = []site.FixedIP{{IP: netip.MustParseAddr(ip)}}
			return nil
		})
		return err
	}
	_, err = f.AddRoutes(t.Context(), string(r.ID), []model.HostRoute{{Destination: netip.MustParsePrefix("1.0.0.0/8"), NextHop: netip.MustParseAddr("10.0.0.7")}})
	f.ok(err)
	f.wantErr(move(i.PortID, "10.1.0.1"), model.KindConflict, "RouterInterfaceInUseByRoute")
	f.wantErr(move(i.PortID, "10.0.0.7"), model.KindInvalid, "InvalidRoutes")
	f.ok(move(i.PortID, "10.0.0.200"))
	_, err = f.RemoveRoutes(t.Context(), string(r.ID), []model.HostRoute{
		{Destination: netip.MustParsePrefix("1.0.0.0/8"), NextHop: netip.MustParseAddr("10.0.0.7")},
		{Destination: netip.MustParsePrefix("2.0.0.0/8"), NextHop: netip.MustParseAddr("10.0.0.7")}, // never there: ignored
	})
	f.ok(err)
	f.ok(move(i.PortID, "10.1.0.1"))
	if got := f.view(); len(site.PortsOfRouter(got, r.ID)) != 2 {
		t.Errorf("interfaces: %v", site.PortsOfRouter(got, r.ID))
	}
	// The first subnet is free for another interface, the second is not.
	_, err = f.AddInterface(t.Context(), string(r.ID), string(second.ID), "")
	f.wantErr(err, model.KindInvalid, "BadRequest")
	_, err = f.AddInterface(t.Context(), string(r.ID), string(first.ID), "")
	f.ok(err)
	_, err = f.AddInterface(t.Context(), string(r.ID), string(wide.ID), "")
	f.ok(err)
	clash := f.network("")
	narrow := f.subnet(clash.ID, "10.3.4.0/24")
	_, err = f.AddInterface(t.Context(), string(r.ID), string(narrow.ID), "")
	f.wantErr(err, model.KindInvalid, "BadRequest")
}

func TestGroupMACIsLogged(t *testing.T) {
	f := newSite(t)
	net := f.network("")
	f.port(net.ID, func(in *site.PortInput) { in.MAC, _ = model.ParseNamedMAC("6F:E4:5A:FA:8E:09") })
	if !strings.Contains(f.log.String(), "6F:E4:5A:FA:8E:09") || !strings.Contains(f.log.String(), "level=WARN") {
		t.Errorf("log: %s", f.log.String())
	}
	d := f.device(f.router().ID, "200.0.0.1")
	_, err := f.CreateRemoteMAC(t.Context(), &model.RemoteMACEntry{DeviceID: d.ID, MAC: model.NamedMAC{MAC: model.MAC{3}}, VTEPAddress: netip.MustParseAddr("1.1.1.1"), VNI: 1})
	f.ok(err)
	if !strings.Contains(f.log.String(), "remote_mac_entry") {
		t.Errorf("log: %s", f.log.String())
	}
}
