package scenario

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
)

// portStatus is what "causeway port status" says of a port.
type portStatus struct {
	HostState      string `json:"host_state"`
	InterfaceThere *bool  `json:"interface_there"`
	Traffic        *struct {
		RxPackets uint64 `json:"rx_packets"`
		TxPackets uint64 `json:"tx_packets"`
	} `json:"traffic"`
	Drops []struct {
		Reason  string `json:"reason"`
		Packets uint64 `json:"packets"`
	} `json:"drops"`
	Unanswered string `json:"unanswered"`
}

func (l *lab) portStatus(s *site, port string) (v portStatus) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.causeway(s, "port", "status", port, "-f", "json")), &v); err != nil {
		l.t.Fatal(err)
	}
	return v
}

func (v portStatus) drops(reason string) uint64 {
	for _, d := range v.Drops {
		if d.Reason == reason {
			return d.Packets
		}
	}
	return 0
}

// TestPortStatus: one command says of a port whether its host and its interface are there, what it has sent and
// got, and which of its packets were dropped for what, whoever else's were; and of a port that is on no
// host, or on one that nobody has heard of, that it is so.
func TestPortStatus(t *testing.T) {
	p := newPair(t)
	s, port := p.a.site, p.a.workloadPorts[p.vmA]
	p.mustPing(p.vmA, p.addrB)
	before := p.portStatus(s, port)
	if before.HostState != "alive" || before.InterfaceThere == nil || !*before.InterfaceThere || before.Traffic == nil || before.Unanswered != "" {
		t.Fatalf("of a port that works: %+v", before)
	}
	if before.Traffic.RxPackets == 0 || before.Traffic.TxPackets == 0 || before.drops("spoof_ip") != 0 {
		t.Errorf("after a ping: %+v", *before.Traffic)
	}
	p.mustRun(p.vmA, "ip", "addr", "add", "10.0.0.99/32", "dev", "eth0")
	p.ping(p.vmA, p.addrB, 3, "-I", "10.0.0.99")
	after := p.portStatus(s, port)
	if n := after.drops("spoof_ip"); n != 3 {
		t.Errorf("%d packets with another's address were dropped, want 3: %+v", n, after.Drops)
	}
	if b := p.portStatus(p.b.site, p.b.workloadPorts[p.vmB]); b.drops("spoof_ip") != 0 || b.Traffic == nil || b.Traffic.TxPackets == 0 {
		t.Errorf("of the port at the other site: %+v", b)
	}

	if err := p.Kill(s.host); err != nil {
		t.Fatal(err)
	}
	testutil.Succeeds(t, "the status to say that nobody answers", func() error {
		if v := p.portStatus(s, port); v.Traffic != nil || v.InterfaceThere != nil || v.Unanswered == "" {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	if err := p.Restart(t.Context(), s.host); err != nil {
		t.Fatal(err)
	}
	testutil.Succeeds(t, "what was counted to be there after the restart", func() error {
		if v := p.portStatus(s, port); v.drops("spoof_ip") != 3 {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
	net := client.Str(s.get(client.Ports, port), "network_id")
	for host, want := range map[string]string{"": "unbound", "a7": "unknown"} {
		id := s.create(client.Ports, client.Attrs{"network_id": net, "binding:host_id": host})
		if v := p.portStatus(s, id); v.HostState != want || v.Unanswered == "" || v.Traffic != nil {
			t.Errorf("bound to %q: %+v", host, v)
		}
	}
}
