package controller

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

// deviceOn makes a gateway device bound to a host.
func (m *manyHosts) deviceOn(host model.HostName) *model.GatewayDevice {
	m.t.Helper()
	r, err := m.rules.CreateRouters(m.t.Context(), []*site.RouterInput{{Router: model.Router{AdminStateUp: true}}})
	if err != nil {
		m.t.Fatal(err)
	}
	d, err := m.rules.CreateGatewayDevice(m.t.Context(), &site.GatewayDeviceInput{
		GatewayDevice: model.GatewayDevice{Type: model.RouterVTEP, ResourceID: string(r[0].ID), HostID: host},
		TunnelIPs:     []netip.Addr{netip.MustParseAddr("200.0.0.1")},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

func (m *manyHosts) bindDevice(d *model.GatewayDevice, host model.HostName) {
	m.t.Helper()
	if _, err := m.rules.UpdateGatewayDevice(m.t.Context(), string(d.ID), func(in *site.GatewayDeviceInput) error { in.HostID = host; return nil }); err != nil {
		m.t.Fatal(err)
	}
}

func (m *manyHosts) placement(d *model.GatewayDevice) model.Placement {
	m.t.Helper()
	return *store.Get(m.view(), store.Placements, string(d.ID))
}

// patience sets how long a stage waits, as if the moves that go on had begun now.
func (m *manyHosts) patience(wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices.wait, m.devices.linger = wait, 0
}

// lookOnce takes on what is over by now.
func (m *manyHosts) lookOnce() {
	m.t.Helper()
	if err := m.advanceAll(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// TestDeviceStaysWhereNobodyTakesIt: a device is not handed to a host that has not applied what it was told, or that is gone, but
// turns back, in words; a host that does not keep up is waited for, however short the patience of ports.
func TestDeviceStaysWhereNobodyTakesIt(t *testing.T) {
	for _, gone := range []bool{false, true} {
		said := new(lines)
		m := startHubWith(t, openStore(t), slog.New(slog.NewTextHandler(said, nil)), 0)
		m.patience(time.Hour)
		m.setPace(pace{}) // ports do not wait
		m.connect(0, "h0000", "h0001")
		d := m.deviceOn("h0000")
		m.settle("h0000", "h0001")
		m.bindDevice(d, "h0001")
		m.settle("h0000", "h0001")
		testutil.Eventually(t, "the new host is to have it", func() bool { return m.placement(d).Stage == model.MoveBoth })
		m.settle("h0000")
		h := store.Get(m.view(), store.Hosts, "h0001")
		if gone {
			if ok, err := m.rules.HostGone(t.Context(), site.Signs{Host: h.Name, Controller: h.Controller, Session: h.Session, Beat: store.Get(m.view(), store.Controllers, h.Controller).Beat}); !ok || err != nil {
				t.Fatal(ok, err)
			}
			m.settle("h0000")
		}
		before := m.placement(d)
		m.lookOnce()
		if now := m.placement(d); now != before {
			t.Fatalf("gone %v: %+v, and it was %+v", gone, now, before)
		}
		m.patience(0)
		testutil.Eventually(t, "the device turns back", func() bool { return m.placement(d).Other == "" })
		if now := m.placement(d); now.Host != "h0000" || now.Epoch != before.Epoch+1 {
			t.Errorf("gone %v: it turned back to %+v", gone, now)
		}
		testutil.Eventually(t, "words", func() bool { return said.has("has turned back") })
	}
}

// TestDeviceMovesOnInWords: a host that is not the new one does not hold a device for ever, and the log says who may lose packets.
func TestDeviceMovesOnInWords(t *testing.T) {
	said := new(lines)
	m := startHubWith(t, openStore(t), slog.New(slog.NewTextHandler(said, nil)), 0)
	m.patience(time.Hour)
	m.setPace(pace{})
	m.connect(0, "h0000", "h0001")
	d := m.deviceOn("h0000")
	m.settle("h0000", "h0001")
	m.portOn(m.network(), "h0000", "a")
	testutil.Eventually(t, "host h0000 is behind", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.hosts["h0000"].sent > m.hosts["h0000"].acked
	})
	m.bindDevice(d, "h0001")
	m.settle("h0001")
	m.lookOnce()
	if now := m.placement(d); now.Stage != model.MoveAccept {
		t.Fatalf("host h0000 does not know, and the device is at %+v", now)
	}
	m.patience(0)
	testutil.Eventually(t, "words", func() bool { return said.has("packets of some may be lost") })
}

// declareGone has another controller find that a host is gone.
func (m *manyHosts) declareGone(name model.HostName) {
	m.t.Helper()
	h := store.Get(m.view(), store.Hosts, string(name))
	ok, err := m.rules.HostGone(m.t.Context(), site.Signs{
		Host: h.Name, Controller: h.Controller, Session: h.Session, Beat: store.Get(m.view(), store.Controllers, h.Controller).Beat,
	})
	if !ok || err != nil {
		m.t.Error("gone", ok, err)
	}
}

// TestDeviceTurnsBackFromHostThatGoes: a device whose new host is found gone after the stage was over, and before that was written,
// turns back in time.
func TestDeviceTurnsBackFromHostThatGoes(t *testing.T) {
	m := startHub(t, openStore(t))
	m.patience(time.Hour)
	m.setPace(pace{})
	m.connect(0, "h0000", "h0001")
	d := m.deviceOn("h0000")
	m.settle("h0000", "h0001")
	m.bindDevice(d, "h0001")
	m.settle("h0000", "h0001")
	testutil.Eventually(t, "the new host is to have it", func() bool { return m.placement(d).Stage == model.MoveBoth })
	m.settle("h0000")
	m.mu.Lock()
	host := m.hosts["h0001"]
	host.acked = host.sent
	m.place("h0001")
	now := time.Now()
	due := m.dueDevices(now, m.passed(now).all)
	m.declareGone("h0001")
	m.mu.Unlock()
	if len(due) != 1 || due[0].back {
		t.Fatalf("%+v", due)
	}
	if err := m.take(t.Context(), due[0]); err != nil {
		t.Fatal(err)
	}
	if p := m.placement(d); p.Stage != model.MoveBoth {
		t.Fatalf("the host is gone, and the device is at %+v", p)
	}
	m.patience(0)
	testutil.Eventually(t, "the device turns back", func() bool { return m.placement(d).Host == "h0000" && m.placement(d).Stage != model.MoveBoth })
}

// TestMarkIsNotOfHostsThatWereGone: what a controller has said of its hosts while one of them was gone, with its present session in the store
// already, says nothing of that one when it is back: no device is handed to it before it has applied what it was told.
func TestMarkIsNotOfHostsThatWereGone(t *testing.T) {
	st := openStore(t)
	one, two := startHub(t, st), startHub(t, st)
	for _, m := range []*manyHosts{one, two} {
		m.patience(time.Hour)
		m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
	}
	one.connect(0, "h0000")
	two.connect(0, "h0001", "h0002")
	d := one.deviceOn("h0000")
	settle := func(of2 ...model.HostName) {
		t.Helper()
		one.settle("h0000")
		two.settle(of2...)
	}
	settle("h0001", "h0002")
	one.bindDevice(d, "h0001")
	settle("h0001", "h0002")
	testutil.Eventually(t, "the new host is to have it", func() bool { return one.placement(d).Stage == model.MoveBoth })
	one.declareGone("h0001") // and has not applied that
	settle("h0002")
	two.connect(0, "h0001")
	two.connect(0, "h0002")
	settle("h0002")
	testutil.Eventually(t, "a mark beyond the session of the host that is gone", func() bool {
		c := store.Get(two.view(), store.Controllers, two.id)
		return c.LiveSessions >= store.Get(two.view(), store.Hosts, "h0002").Session
	})
	two.Report("h0001", queueOf(two.hub, "h0001"), hostsync.Report{UnderlayMTU: 1500})
	testutil.Eventually(t, "the host is back", func() bool { return !store.Get(two.view(), store.Hosts, "h0001").Gone })
	settle("h0002")
	one.lookOnce()
	if p := one.placement(d); p.Stage != model.MoveBoth {
		t.Fatalf("the hosts send to h0001, which has applied nothing: %+v", p)
	}
	settle("h0001", "h0002")
	testutil.Eventually(t, "the hosts send to it once it has applied all", func() bool { return one.placement(d).Host == "h0001" })
}
