package hostsync

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

const deadline = 20 * time.Second

// fakeHosts is a controller that says what the test wants.
type fakeHosts struct {
	mu      sync.Mutex
	refuse  error
	state   hoststate.State
	rev     int64
	queue   *Queue
	came    chan model.HostName
	left    chan model.HostName
	reports chan Report
}

func newFakeHosts() *fakeHosts {
	return &fakeHosts{
		state: hoststate.NewState(), rev: 1,
		came: make(chan model.HostName, 100), left: make(chan model.HostName, 100), reports: make(chan Report, 1000),
	}
}

func (f *fakeHosts) Connect(_ context.Context, host model.HostName, _ Agent) (*Queue, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.came <- host
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.queue = NewQueue()
	f.queue.Push(hoststate.Delta{Revision: f.rev, Full: true, Set: f.state.Clone()}, f.state)
	return f.queue, nil
}

func (f *fakeHosts) Disconnect(host model.HostName, _ *Queue) { f.left <- host }
func (f *fakeHosts) Report(_ model.HostName, r Report)        { f.reports <- r }
func (f *fakeHosts) change(fn func(*hoststate.Delta)) (rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rev++
	d := hoststate.Delta{Revision: f.rev, Set: hoststate.NewState()}
	fn(&d)
	f.state.Apply(d)
	if f.queue != nil {
		f.queue.Push(d, f.state)
	}
	return f.rev
}

// sink keeps what came; gate, if not nil, holds each update up.
type sink struct {
	gate    chan struct{}
	updates chan Update
}

func newSink() *sink { return &sink{updates: make(chan Update, 1000)} }

func (s *sink) Update(ctx context.Context, u Update) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
		}
	}
	s.updates <- Update{u.Delta, u.State.Clone()}
}

func wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(deadline):
		t.Fatalf("no %s within %v", what, deadline)
		panic("not reached")
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve runs a server on a unix socket and returns its target.
func serve(t testing.TB, hosts Hosts) (target string, s *Server) {
	t.Helper()
	s, err := NewServer(ServerOptions{Hosts: hosts, LocalHost: "h0", Version: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	return "unix://" + path, s
}

func run(t testing.TB, s *Server, l net.Listener) {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := wait(t, done, "end of the server"); err != nil {
			t.Error(err)
		}
	})
}

// connect runs a client until the test ends or stop is called.
func connect(t testing.TB, o ClientOptions, to Sink) (c *Client, stop func()) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet()
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, to) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := wait(t, done, "end of the client"); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

func setPort(k model.PortKey, id string) func(*hoststate.Delta) {
	return func(d *hoststate.Delta) {
		d.Set.Ports[k] = hoststate.Port{ID: model.PortID(id), Network: 1, Interface: "if" + id}
	}
}

func TestStream(t *testing.T) {
	hosts := newFakeHosts()
	hosts.change(setPort(1, "p1"))
	target, _ := serve(t, hosts)
	s := newSink()
	c, stop := connect(t, ClientOptions{Target: target}, s)
	if h := wait(t, hosts.came, "connection"); h != "h0" {
		t.Fatalf("host %q", h)
	}
	u := wait(t, s.updates, "full state")
	if !u.Delta.Full || u.Delta.Revision != 2 || len(u.State.Ports) != 1 {
		t.Fatalf("%+v", u)
	}
	rev := hosts.change(func(d *hoststate.Delta) {
		setPort(2, "p2")(d)
		d.Unset.Ports = append(d.Unset.Ports, 1)
	})
	u = wait(t, s.updates, "delta")
	if u.Delta.Full || u.Delta.Revision != rev || !u.State.Equal(hosts.state) {
		t.Fatalf("%+v", u)
	}
	c.Report(Report{Revision: rev, UnderlayMTU: 1500, Ports: []PortReport{{"p2", model.PortActive, ""}}})
	r := wait(t, hosts.reports, "report")
	if r.Revision != rev || r.UnderlayMTU != 1500 || len(r.Ports) != 1 || r.Ports[0].Status != model.PortActive {
		t.Fatalf("%+v", r)
	}
	// The same again says nothing new of the port.
	c.Report(Report{Revision: rev, Ports: []PortReport{{"p2", model.PortActive, ""}}})
	if r := wait(t, hosts.reports, "report"); len(r.Ports) != 0 || r.UnderlayMTU != 1500 {
		t.Fatalf("%+v", r)
	}
	// Bound anew: what was said of it is to be said again.
	hosts.change(setPort(2, "p2"))
	wait(t, s.updates, "rebinding")
	c.Report(Report{Revision: rev, Ports: []PortReport{{"p2", model.PortActive, ""}}})
	if r := wait(t, hosts.reports, "report"); len(r.Ports) != 1 {
		t.Fatalf("%+v", r)
	}
	stop()
	wait(t, hosts.left, "disconnection")
}

// TestReconnect: the controller goes and comes back, with another state; the
// agent gets all of it, and says all it knows.
func TestReconnect(t *testing.T) {
	hosts := newFakeHosts()
	hosts.change(setPort(1, "p1"))
	path := filepath.Join(t.TempDir(), "s")
	start := func() *Server {
		s, err := NewServer(ServerOptions{Hosts: hosts, LocalHost: "h0", Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go s.Serve(l)
		return s
	}
	first := start()
	s := newSink()
	c, _ := connect(t, ClientOptions{Target: "unix://" + path}, s)
	u := wait(t, s.updates, "full state")
	c.Report(Report{Revision: u.Delta.Revision, UnderlayMTU: 1400, Ports: []PortReport{{"p1", model.PortDown, "gone"}}})
	wait(t, hosts.reports, "report")
	first.Close()
	wait(t, hosts.left, "disconnection")
	hosts.change(setPort(2, "p2"))
	second := start()
	defer second.Close()
	u = wait(t, s.updates, "full state of the second")
	if !u.Delta.Full || len(u.State.Ports) != 2 {
		t.Fatalf("%+v", u)
	}
	r := wait(t, hosts.reports, "report to the second")
	if r.UnderlayMTU != 1400 || len(r.Ports) != 1 || r.Ports[0].Reason != "gone" {
		t.Fatalf("%+v", r)
	}
}

// TestSlowHost: what an agent does not take does not pile up.
func TestSlowHost(t *testing.T) {
	hosts := newFakeHosts()
	target, _ := serve(t, hosts)
	s := newSink()
	s.gate = make(chan struct{})
	connect(t, ClientOptions{Target: target}, s)
	wait(t, hosts.came, "connection")
	// Far more than the buffers on the way hold.
	const changes, rows = 2000, 100
	for i := range changes {
		hosts.change(func(d *hoststate.Delta) {
			for j := range rows {
				k := model.PortKey(1 + (i*rows+j)%5000)
				d.Set.Ports[k] = hoststate.Port{ID: model.PortID(fmt.Sprint(i, strings.Repeat("x", 100))), Network: 1}
			}
		})
	}
	hosts.mu.Lock()
	pending := hosts.queue.pending
	if n := pending.Set.Len() + pending.Unset.Len(); n > 5000 {
		t.Errorf("%d rows are waiting, of a state of 5000", n)
	}
	want, rev := hosts.state.Clone(), hosts.rev
	hosts.mu.Unlock()
	close(s.gate)
	for n := 1; ; n++ {
		u := wait(t, s.updates, "update")
		if u.Delta.Revision == rev {
			if !u.State.Equal(want) {
				t.Error("the state that arrived is not the one sent")
			}
			t.Logf("%d updates for %d changes", n, changes)
			return
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Run("in words", func(t *testing.T) {
		hosts := newFakeHosts()
		hosts.refuse = errors.New("this site has its host already")
		target, _ := serve(t, hosts)
		c, err := NewClient(ClientOptions{Target: target, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		welcome, err := c.stream(t.Context(), newSink())
		if welcome || err == nil || words(err) != "this site has its host already" {
			t.Errorf("%v, %v", welcome, err)
		}
	})
	t.Run("protocol version", func(t *testing.T) {
		target, _ := serve(t, newFakeHosts())
		_, err := rawConnect(t, target, unixCredentials{}, &pb.FromAgent{Message: &pb.FromAgent_Hello{Hello: &pb.Hello{Protocol: Protocol + 1, AgentVersion: "v9"}}})
		if err == nil || !strings.Contains(err.Error(), "agent v9 speaks version 2 of the agent protocol, this controller (test) version 1") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no hello", func(t *testing.T) {
		target, _ := serve(t, newFakeHosts())
		_, err := rawConnect(t, target, unixCredentials{}, &pb.FromAgent{Message: &pb.FromAgent_Report{Report: &pb.Report{}}})
		if err == nil || !strings.Contains(err.Error(), "does not begin with a hello") {
			t.Errorf("%v", err)
		}
	})
	t.Run("TCP without TLS", func(t *testing.T) {
		s, err := NewServer(ServerOptions{Hosts: newFakeHosts(), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := s.Serve(l); err == nil || !strings.Contains(err.Error(), "needs TLS") {
			t.Errorf("%v", err)
		}
		if _, err := NewClient(ClientOptions{Target: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "needs TLS") {
			t.Errorf("%v", err)
		}
		client, server := net.Pipe()
		defer client.Close()
		if _, _, err := (unixCredentials{}).ServerHandshake(server); err == nil {
			t.Error("a connection that is no unix socket got in without TLS")
		}
	})
	t.Run("uid", func(t *testing.T) {
		for _, c := range []struct {
			peer, own uint32
			ok        bool
		}{{0, 0, true}, {0, 7, true}, {7, 7, true}, {7, 0, false}, {8, 7, false}} {
			if admitted(c.peer, c.own) != c.ok {
				t.Errorf("%+v", c)
			}
		}
	})
}

// rawConnect opens a stream, says m and returns the first answer.
func rawConnect(t *testing.T, target string, creds credentials.TransportCredentials, m *pb.FromAgent) (*pb.FromController, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			if p, ok := strings.CutPrefix(target, "unix://"); ok {
				return d.DialContext(ctx, "unix", p)
			}
			return d.DialContext(ctx, "tcp", target)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	stream, err := pb.NewHostSyncClient(conn).Connect(ctx)
	if err != nil {
		return nil, err
	}
	_ = stream.Send(m)
	return stream.Recv()
}

// authority makes certificates.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	ca   string
	n    int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.ca = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func (a *authority) issue(cn string, dns []string, ips ...net.IP) *TLSFiles {
	a.n++
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: cn}, DNSNames: dns, IPAddresses: ips,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	name := fmt.Sprint(a.n)
	return &TLSFiles{Cert: a.write(name+".pem", "CERTIFICATE", der), Key: a.write(name+".key", "EC PRIVATE KEY", k), CA: a.ca}
}

func TestMutualTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	hosts := newFakeHosts()
	loopback := net.IPv4(127, 0, 0, 1)
	s, err := NewServer(ServerOptions{Hosts: hosts, TLS: ca.issue("controller", nil, loopback), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	target := l.Addr().String()
	for _, c := range []struct {
		files *TLSFiles
		host  model.HostName
	}{
		{ca.issue("a-name", []string{"gw1.site", "gw1"}), "gw1.site"},
		{ca.issue("gw2", nil), "gw2"},
	} {
		sink := newSink()
		_, stop := connect(t, ClientOptions{Target: target, TLS: c.files}, sink)
		if h := wait(t, hosts.came, "connection"); h != c.host {
			t.Errorf("host %q, want %q", h, c.host)
		}
		wait(t, sink.updates, "full state")
		stop()
	}
	stranger := other.issue("gw1.site", []string{"gw1.site"})
	stranger.CA = ca.ca
	nameless := ca.issue("", nil)
	impostor := other.issue("controller", nil, loopback)
	for name, c := range map[string]*TLSFiles{"stranger": stranger, "nameless": nameless} {
		client, err := NewClient(ClientOptions{Target: target, TLS: c, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if welcome, err := client.stream(t.Context(), newSink()); welcome || err == nil {
			t.Errorf("%s: %v, %v", name, welcome, err)
		}
	}
	client, err := NewClient(ClientOptions{Target: target, TLS: impostor, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.stream(t.Context(), newSink()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a controller of another authority was believed: %v", err)
	}
	if _, err := rawConnect(t, target, insecure.NewCredentials(), &pb.FromAgent{}); err == nil {
		t.Error("no TLS, and in")
	}
	select {
	case h := <-hosts.came:
		t.Errorf("%q got in", h)
	default:
	}
}

// genAddr, genState: any state that can be.
func genAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "v6") {
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))).WithZone("")
	}
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
}

func genMAC(t *rapid.T) model.MAC {
	return model.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
}

func genState(t *rapid.T) hoststate.State {
	s := hoststate.NewState()
	key := func() uint32 { return rapid.Uint32Range(1, model.MaxKey).Draw(t, "key") }
	text := func() string { return rapid.StringN(0, 10, 20).Draw(t, "text") }
	drop := func() reason.Reason {
		return reason.Reason(rapid.Uint8Range(0, uint8(reason.Count)-1).Draw(t, "reason"))
	}
	vni := func() model.VNI { return model.VNI(rapid.Uint32Range(1, model.MaxVNI).Draw(t, "vni")) }
	prefix := func() netip.Prefix {
		a := genAddr(t)
		return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "rows") {
		p := hoststate.Port{ID: model.PortID(text()), Network: model.NetworkKey(key()), Interface: text(), MAC: genMAC(t), PortSecurity: rapid.Bool().Draw(t, "security"), Drop: drop()}
		for range rapid.IntRange(0, 3).Draw(t, "addrs") {
			p.Addrs = append(p.Addrs, genAddr(t))
		}
		s.Ports[model.PortKey(key())] = p
		s.Networks[model.NetworkKey(key())] = hoststate.Network{ID: model.NetworkID(text()), Name: text(), MTU: rapid.IntRange(0, 65535).Draw(t, "mtu")}
		s.Routers[model.RouterKey(key())] = hoststate.Router{ID: model.RouterID(text()), Name: text()}
		e := hoststate.Endpoint{Kind: hoststate.EndpointKind(rapid.Uint8Range(1, 4).Draw(t, "kind"))}
		switch e.Kind {
		case hoststate.EndpointPort:
			e.Port = model.PortKey(key())
		case hoststate.EndpointRouter:
			e.Router, e.Addr = model.RouterKey(key()), genAddr(t)
		case hoststate.EndpointRemote:
			e.Addr, e.TunnelIP, e.VNI, e.Gateway = genAddr(t), genAddr(t), vni(), model.GatewayDeviceID(text())
		case hoststate.EndpointDrop:
			e.Drop = drop()
		}
		s.Endpoints[hoststate.EndpointKey{Network: model.NetworkKey(key()), MAC: genMAC(t)}] = e
		s.Neighbors[hoststate.NeighborKey{Network: model.NetworkKey(key()), IP: genAddr(t)}] = genMAC(t)
		r := hoststate.Route{Kind: hoststate.RouteKind(rapid.Uint8Range(1, 4).Draw(t, "kind")), Network: model.NetworkKey(key()), MAC: genMAC(t), Drop: drop()}
		if r.Kind == hoststate.RouteVia {
			r.NextHop = genAddr(t)
		}
		s.Routes[hoststate.RouteKey{Router: model.RouterKey(key()), Prefix: prefix().Masked()}] = r
		s.VNIs[hoststate.VNIKey{TunnelIP: genAddr(t), VNI: vni()}] = model.NetworkKey(key())
		s.Peers[hoststate.PeerKey{TunnelIP: genAddr(t), Remote: genAddr(t), VNI: vni()}] = hoststate.Peer{Network: model.NetworkKey(key()), Gateway: model.GatewayDeviceID(text()), Drop: drop()}
		g := hoststate.Gateway{TunnelIP: genAddr(t), Epoch: rapid.Uint64().Draw(t, "epoch"), Router: model.RouterKey(key())}
		for range rapid.IntRange(0, 2).Draw(t, "uplinks") {
			g.Uplinks = append(g.Uplinks, hoststate.Uplink{Port: model.PortID(text()), Interface: text(), MAC: genMAC(t), Addr: prefix(), Down: rapid.Bool().Draw(t, "down")})
			g.Routes = append(g.Routes, hoststate.UnderlayRoute{Prefix: prefix().Masked(), NextHop: genAddr(t)})
		}
		s.Gateways[model.GatewayDeviceID(text())] = g
	}
	return s
}

// TestRowsSurvive: whatever the size of the parts, what is sent is what arrives.
func TestRowsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := genState(t), genState(t)
		d := hoststate.Diff(from, to)
		d.Revision = rapid.Int64Range(1, 1<<60).Draw(t, "revision")
		got := hoststate.Delta{Set: hoststate.NewState()}
		n, more := rapid.IntRange(1, 50).Draw(t, "part"), true
		for p := range encode(d, n) {
			if !more {
				t.Fatal("a part after the last")
			}
			if err := decode(p, &got); err != nil {
				t.Fatal(err)
			}
			if p.Revision != d.Revision || p.Full {
				t.Fatalf("%v", p)
			}
			more = p.More
		}
		if more {
			t.Fatal("the last part says there is more")
		}
		state := from.Clone()
		state.Apply(got)
		if !state.Equal(to) || got.Set.Len() != d.Set.Len() || got.Unset.Len() != d.Unset.Len() {
			t.Fatalf("sent %+v\ngot %+v", d, got)
		}
	})
}

func TestBadRows(t *testing.T) {
	mac := make([]byte, 6)
	for name, p := range map[string]*pb.Delta{
		"short MAC":      {Neighbors: []*pb.NeighborRow{{Network: 1, Ip: make([]byte, 4), Mac: make([]byte, 5)}}},
		"odd address":    {Neighbors: []*pb.NeighborRow{{Network: 1, Ip: make([]byte, 7), Mac: mac}}},
		"no key":         {Neighbors: []*pb.NeighborRow{{Ip: make([]byte, 4), Mac: mac}}},
		"big key":        {Ports: []*pb.PortRow{{Key: 1 << 24, Network: 1, Mac: mac}}},
		"unknown reason": {Ports: []*pb.PortRow{{Key: 1, Network: 1, Mac: mac, Drop: uint32(reason.Count)}}},
		"unknown kind":   {Endpoints: []*pb.EndpointRow{{Network: 1, Mac: mac, Kind: 5}}},
		"host bits":      {GoneRoutes: []*pb.RouteRow{{Router: 1, Prefix: &pb.Prefix{Addr: []byte{10, 0, 0, 1}, Bits: 24}}}},
		"long prefix":    {GoneRoutes: []*pb.RouteRow{{Router: 1, Prefix: &pb.Prefix{Addr: []byte{10, 0, 0, 0}, Bits: 33}}}},
		"no prefix":      {Routes: []*pb.RouteRow{{Router: 1, Kind: 1, Mac: mac}}},
		"no VNI":         {GoneVnis: []*pb.VNIRow{{TunnelIp: make([]byte, 4)}}},
		"no uplink":      {Gateways: []*pb.GatewayRow{{Id: "g", TunnelIp: make([]byte, 4), Uplinks: []*pb.UplinkRow{{Mac: mac}}}}},
	} {
		d := hoststate.Delta{Set: hoststate.NewState()}
		if err := decode(p, &d); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, r := range map[string]*pb.Report{
		"status":   {Ports: []*pb.PortReport{{Id: "p", Status: "FINE"}}},
		"revision": {Revision: -1},
		"MTU":      {UnderlayMtu: 1 << 20},
		"too many": {Ports: make([]*pb.PortReport, maxReports+1)},
	} {
		if _, err := decodeReport(r); err == nil {
			t.Errorf("report with %s: taken", name)
		}
	}
}
