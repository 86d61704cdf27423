package site_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

func (f *fixture) hwDevice(management, tunnel string) *model.GatewayDevice {
	f.Helper()
	port := uint16(6640)
	d, err := f.CreateGatewayDevice(f.Context(), &site.GatewayDeviceInput{
		GatewayDevice: model.GatewayDevice{Type: model.HWVTEP}, TunnelIPs: []netip.Addr{netip.MustParseAddr(tunnel)},
		ManagementIP: netip.MustParseAddr(management), ManagementPort: &port,
	})
	f.ok(err)
	return d
}

func (f *fixture) connect(d model.GatewayDeviceID, n model.NetworkID, vni string, interfaces ...model.SwitchInterface) *model.L2GatewayConnection {
	f.Helper()
	g, err := f.CreateL2Gateway(f.Context(), &site.L2GatewayInput{L2Gateway: model.L2Gateway{DeviceID: d, Interfaces: interfaces}, Segmentation: vni})
	f.ok(err)
	c, err := f.CreateConnection(f.Context(), &site.ConnectionInput{L2GatewayConnection: model.L2GatewayConnection{L2GatewayID: g.ID, NetworkID: n}})
	f.ok(err)
	return c
}

func (f *fixture) remoteMAC(d model.GatewayDeviceID, mac, vtep string, vni model.VNI) {
	f.Helper()
	_, err := f.CreateRemoteMAC(f.Context(), &model.RemoteMACEntry{DeviceID: d, MAC: model.NamedMAC{MAC: model.MustMAC(mac)}, VTEPAddress: netip.MustParseAddr(vtep), VNI: vni})
	f.ok(err)
}

// TestSwitchSegments: a switch is to have its remote MAC table, and the ports of the
// network behind the site's own VTEP router.
func TestSwitchSegments(t *testing.T) {
	f := newSite(t)
	net := f.network(model.NetworkOverlay)
	f.subnet(net.ID, "10.0.0.0/24")
	port := f.port(net.ID, nil)
	remote := f.port(net.ID, func(in *site.PortInput) { in.DeviceOwner = "network:remote_site" })
	own := f.device(f.router().ID, "200.0.0.1")
	hw := f.hwDevice("192.0.2.1", "200.0.0.2")
	f.remoteMAC(hw.ID, "02:00:00:00:00:01", "200.0.0.9", 7)
	f.remoteMAC(hw.ID, "02:00:00:00:00:02", "200.0.0.2", 7) // behind the switch itself
	f.remoteMAC(hw.ID, "02:00:00:00:00:03", "200.0.0.9", 8) // another VNI
	segments := func() string {
		snap, err := f.View(f.Context())
		f.ok(err)
		s := ""
		for _, x := range site.SwitchSegments(snap, hw) {
			s += fmt.Sprintln(x.VNI, x.Interfaces, x.Remote, x.VTEPs)
		}
		return s
	}
	if got := segments(); got != "" {
		t.Errorf("without a connection: %s", got)
	}
	own1 := f.connect(hw.ID, net.ID, "7", model.SwitchInterface{Name: "p0", VLANs: []uint16{10}})
	if got, want := segments(), "7 [{p0 [10]}] [{02:00:00:00:00:01 200.0.0.9}] [200.0.0.9]\n"; got != want {
		t.Errorf("alone: %s, want %s", got, want)
	}
	f.connect(own.ID, net.ID, "7")
	want := fmt.Sprintf("7 [{p0 [10]}] [{02:00:00:00:00:01 200.0.0.9} {%s 200.0.0.1}] [200.0.0.1 200.0.0.9]\n", port.MAC)
	if got := segments(); got != want {
		t.Errorf("with the site's router: %s, want %s (and not %s, the remote-site port)", got, want, remote.MAC)
	}
	// Another switch on the same segment.
	other := f.hwDevice("192.0.2.2", "200.0.0.3")
	conn := f.connect(other.ID, net.ID, "7")
	epoch, err := f.TakeSwitch(f.Context(), other.ID, "x")
	f.ok(err)
	moved, only := model.MAC{2, 0, 0, 0, 1, 1}, model.MAC{2, 0, 0, 0, 1, 2}
	f.ok(f.SetLearnedMACs(f.Context(), other.ID, epoch, conn.ID, []model.MAC{moved, only}))
	epoch, err = f.TakeSwitch(f.Context(), hw.ID, "x")
	f.ok(err)
	f.ok(f.SetLearnedMACs(f.Context(), hw.ID, epoch, own1.ID, []model.MAC{moved}))
	want = fmt.Sprintf("7 [{p0 [10]}] [{02:00:00:00:00:01 200.0.0.9} {%s 200.0.0.3} {%s 200.0.0.1}] [200.0.0.1 200.0.0.3 200.0.0.9]\n", only, port.MAC)
	if got := segments(); got != want {
		t.Errorf("with another switch: %s, want %s", got, want)
	}
	// The same VNI on a third switch is another segment where the network is another.
	elsewhere := f.network(model.NetworkOverlay)
	third := f.hwDevice("192.0.2.3", "200.0.0.4")
	apart := f.connect(third.ID, elsewhere.ID, "7")
	epoch, err = f.TakeSwitch(f.Context(), third.ID, "x")
	f.ok(err)
	f.ok(f.SetLearnedMACs(f.Context(), third.ID, epoch, apart.ID, []model.MAC{{2, 0, 0, 0, 1, 3}}))
	if got := segments(); got != want {
		t.Errorf("with a switch of another network: %s, want %s", got, want)
	}
	snap, err := f.View(f.Context())
	f.ok(err)
	if s := site.SwitchSegments(snap, third); len(s) != 1 || len(s[0].Remote)+len(s[0].VTEPs) > 0 {
		t.Errorf("the third switch gets %+v", s)
	}
	f.ok(f.DeleteConnection(f.Context(), string(conn.ID), nil))
	// What the table says of a port comes first.
	f.remoteMAC(hw.ID, port.MAC.String(), "200.0.0.8", 7)
	want = fmt.Sprintf("7 [{p0 [10]}] [{02:00:00:00:00:01 200.0.0.9} {%s 200.0.0.8}] [200.0.0.1 200.0.0.8 200.0.0.9]\n", port.MAC)
	if got := segments(); got != want {
		t.Errorf("with a row for the port: %s, want %s", got, want)
	}
}

// TestSwitchState: only who took the switch last is listened to.
func TestSwitchState(t *testing.T) {
	f := newSite(t)
	hw := f.hwDevice("192.0.2.1", "200.0.0.2")
	net := f.network(model.NetworkOverlay)
	conn := f.connect(hw.ID, net.ID, "7")
	ctx := f.Context()
	away := model.SwitchStatus{Error: "away"}
	up := model.SwitchStatus{Connected: true, InSync: true, Problems: []string{"x"}}
	state := func() *model.SwitchState {
		snap, err := f.View(ctx)
		f.ok(err)
		if found := site.Check(snap); len(found) > 0 {
			t.Fatal(found)
		}
		return site.SwitchStateOf(snap, hw.ID)
	}
	f.ok(f.SetSwitchStatus(ctx, hw.ID, "a", 0, away))
	if st := state(); st.Error != "away" || st.Driver != "a" || st.Epoch != 0 {
		t.Errorf("unreached: %+v", st)
	}
	epoch, err := f.TakeSwitch(ctx, hw.ID, "a")
	f.ok(err)
	f.ok(f.SetSwitchStatus(ctx, hw.ID, "a", epoch, up))
	f.wantErr(f.SetSwitchStatus(ctx, hw.ID, "b", 0, away), model.KindConflict, "SwitchTaken")
	second, err := f.TakeSwitch(ctx, hw.ID, "b")
	f.ok(err)
	f.wantErr(f.SetSwitchStatus(ctx, hw.ID, "a", epoch, away), model.KindConflict, "SwitchTaken")
	f.wantErr(f.SetLearnedMACs(ctx, hw.ID, epoch, conn.ID, nil), model.KindConflict, "SwitchTaken")
	if st := state(); !st.Connected || st.InSync || st.Driver != "b" || st.Epoch != 2 {
		t.Errorf("taken twice: %+v", st)
	}

	mac := func(i byte) model.MAC { return model.MAC{2, 0, 0, 0, 0, i} }
	learn := func(now []model.MAC, macs, silent []model.MAC) {
		t.Helper()
		f.ok(f.SetLearnedMACs(ctx, hw.ID, second, conn.ID, now))
		snap, err := f.View(ctx)
		f.ok(err)
		l := site.LearnedOf(snap, conn.ID)
		if l == nil || !slices.Equal(l.MACs, macs) || !slices.Equal(l.Silent, silent) {
			t.Errorf("learned %+v, want %v and %v", l, macs, silent)
		}
	}
	learn([]model.MAC{mac(1), mac(2)}, []model.MAC{mac(1), mac(2)}, nil)
	learn([]model.MAC{mac(2), mac(3)}, []model.MAC{mac(2), mac(3)}, []model.MAC{mac(1)})
	learn(nil, nil, []model.MAC{mac(1), mac(2), mac(3)})
	learn([]model.MAC{mac(1)}, []model.MAC{mac(1)}, []model.MAC{mac(2), mac(3)})
	var many []model.MAC
	for i := range model.MaxLearned {
		many = append(many, model.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)})
	}
	learn(many, many, nil)
	learn(many[1:], many[1:], many[:1])

	// What goes takes what was learned along, and is kept in mind until its switch is
	// clean.
	before := state()
	f.ok(f.SetSwitchStatus(ctx, hw.ID, "b", second, before.SwitchStatus))
	if after := state(); after.ChangedAt != before.ChangedAt {
		t.Error("what is known was written again")
	}
	f.ok(f.DeleteConnection(ctx, string(conn.ID), nil))
	f.ok(f.SetLearnedMACs(ctx, hw.ID, second, conn.ID, []model.MAC{mac(1)})) // passed over
	f.ok(f.DeleteL2Gateway(ctx, string(conn.L2GatewayID), nil))
	_, err = f.ForgetSwitch(ctx, hw.ID)
	f.wantErr(err, model.KindNotFound, "RetiredSwitchNotFound") // it is there
	f.wantErr(f.SwitchCleaned(ctx, hw.ID, second), model.KindNotFound, "RetiredSwitchNotFound")
	f.ok(f.DeleteGatewayDevice(ctx, string(hw.ID), nil))
	if st := state(); st == nil || st.Retired == nil || st.Retired.Management != *hw.Management || st.Epoch != second {
		t.Fatalf("deleted: %+v", st)
	}
	f.hwDevice("192.0.2.1", "200.0.0.2") // its address is free
	third, err := f.TakeSwitch(ctx, hw.ID, "c")
	f.ok(err)
	f.wantErr(f.SwitchCleaned(ctx, hw.ID, second), model.KindConflict, "SwitchTaken")
	f.ok(f.SetSwitchStatus(ctx, hw.ID, "c", third, up))
	if st := state(); st.Retired == nil || !st.InSync {
		t.Errorf("driven after its deletion: %+v", st)
	}
	f.ok(f.SwitchCleaned(ctx, hw.ID, third))
	f.wantErr(f.SwitchCleaned(ctx, hw.ID, third), model.KindNotFound, "RetiredSwitchNotFound")
	snap, err := f.View(ctx)
	f.ok(err)
	for _, kind := range []store.Kind{store.SwitchStates.Kind(), store.LearnedMACs.Kind()} {
		for id := range snap.List(kind) {
			t.Errorf("left behind: %s %s", kind, id)
		}
	}
	_, err = f.TakeSwitch(ctx, hw.ID, "b")
	f.wantErr(err, model.KindNotFound, "GatewayDeviceNotFound")
	f.wantErr(f.SetSwitchStatus(ctx, hw.ID, "b", 0, away), model.KindNotFound, "GatewayDeviceNotFound")

	// One that no controller has reached leaves nothing; one that is not coming back is
	// forgotten.
	for i, taken := range []bool{false, true} {
		hw := f.hwDevice("192.0.2.7", "200.0.0.7")
		f.ok(f.SetSwitchStatus(ctx, hw.ID, "a", 0, away))
		if taken {
			_, err := f.TakeSwitch(ctx, hw.ID, "a")
			f.ok(err)
		}
		f.ok(f.DeleteGatewayDevice(ctx, string(hw.ID), nil))
		snap, err := f.View(ctx)
		f.ok(err)
		if l := site.RetiredSwitches(snap); len(l) != i {
			t.Fatalf("taken %v: %+v are retired", taken, l)
		}
		if taken {
			st, err := f.ForgetSwitch(ctx, hw.ID)
			f.ok(err)
			if st.Retired.Management.IP != netip.MustParseAddr("192.0.2.7") {
				t.Errorf("forgotten: %+v", st)
			}
		}
	}
}
