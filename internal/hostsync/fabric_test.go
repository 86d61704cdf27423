package hostsync

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
)

// TestEndOfFabricArrives: the controller learns a host's end of the fabric, and its MTU.
func TestEndOfFabricArrives(t *testing.T) {
	hosts := newFakeHosts()
	target, _ := serve(t, hosts)
	s := newSink()
	end := netip.MustParseAddrPort("[2001:db8::1]:4798")
	c, _ := connect(t, ClientOptions{Targets: []string{target}, Fabric: end}, s)
	wait(t, hosts.came, "connection")
	hosts.mu.Lock()
	agent := hosts.agent
	hosts.mu.Unlock()
	if agent.Fabric != end || !agent.KnowsFabric {
		t.Errorf("%+v", agent)
	}
	wait(t, s.updates, "full state")
	c.Report(Report{FabricMTU: 9000})
	for {
		if r := wait(t, hosts.reports, "report"); r.FabricMTU == 9000 {
			break
		}
	}
	for name, h := range map[string]*pb.Hello{
		"no port":     {FabricAddr: []byte{192, 0, 2, 1}},
		"no address":  {FabricPort: 4798},
		"odd address": {FabricAddr: []byte{192, 0, 2}, FabricPort: 4798},
		"big port":    {FabricAddr: []byte{192, 0, 2, 1}, FabricPort: 1 << 16},
	} {
		if end, err := decodeFabric(h); err == nil {
			t.Errorf("%s: taken as %v", name, end)
		}
	}
	if end, err := decodeFabric(&pb.Hello{}); err != nil || end.IsValid() {
		t.Errorf("no end: %v %v", end, err)
	}
}

// olderController is one from before the fabric, which asks what the agent has and has one port for it.
type olderController struct {
	pb.UnimplementedHostSyncServer
	has chan *pb.Have
}

func (o olderController) Connect(stream grpc.BidiStreamingServer[pb.FromAgent, pb.FromController]) error {
	hello, err := stream.Recv()
	if err != nil {
		return err
	}
	resumes := hello.GetHello().Digest != nil
	if err := stream.Send(&pb.FromController{Message: &pb.FromController_Welcome{Welcome: &pb.Welcome{Protocol: Protocol, Host: "h0", Have: resumes}}}); err != nil {
		return err
	}
	if resumes {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		o.has <- m.GetHave()
	}
	part := &pb.Delta{Revision: 9, Replaced: []*pb.Group{{Kind: uint32(hoststate.GroupHost)}}}
	if err := stream.Send(&pb.FromController{Message: &pb.FromController_Delta{Delta: part}}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// TestOlderController: one that does not know the fabric is told of no group of it, and the agent drops their rows, as
// nobody else can.
func TestOlderController(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	older := olderController{has: make(chan *pb.Have, 1)}
	g := grpc.NewServer(grpc.Creds(unixCredentials{"h0"}))
	pb.RegisterHostSyncServer(g, older)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	r := &resumer{sink: newSink(), known: true}
	r.state = hoststate.NewState()
	r.state.Networks[1] = hoststate.Network{ID: "n"}
	r.state.Hosts["h1"] = hoststate.Host{Addr: netip.MustParseAddr("192.0.2.1"), Port: 4798}
	r.state.Speakers[hoststate.SpeakerKey{Domain: 1, Host: "h1"}] = hoststate.Speaker{}
	connect(t, ClientOptions{Targets: []string{"unix://" + path}}, r)
	has := wait(t, older.has, "word of what the agent has")
	for _, d := range has.Groups {
		if d.Group.Kind > uint32(hoststate.GroupDevice) {
			t.Errorf("it hears of group %v", d.Group)
		}
	}
	if len(has.Groups) != 1 {
		t.Errorf("it hears of %v", has.Groups)
	}
	u := wait(t, r.updates, "first update")
	if len(u.State.Hosts)+len(u.State.Speakers) != 0 || len(u.State.Networks) != 1 {
		t.Errorf("the agent has %+v", u.State)
	}
}
