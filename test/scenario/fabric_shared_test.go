package scenario

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// portOf is the port of a workload, and the port's MAC.
func (l *lab) portOf(workload string) (id string, mac model.MAC) {
	l.t.Helper()
	for _, w := range l.Workloads() {
		if w.Name == workload {
			return w.PortID, model.MustMAC(w.MAC)
		}
	}
	l.t.Fatalf("no workload %s", workload)
	return "", model.MAC{}
}

// testFabricShared: two workloads on two hosts share an address, with their own MACs and with VRRP's. Who is on the
// network at a third host, and whose packets a router takes in at any host, reach the one that said last that it has
// the address.
func testFabricShared(t *testing.T, l *lab, s *site, router string) {
	const vip, vrrp, nearVRRP = "10.0.61.99", "10.0.61.98", "10.0.0.98"
	vmac := model.MAC{0, 0, 0x5e, 0, 1, 7}
	// No port of this network is on a3, which routes into it all the same.
	pair := s.create(client.Networks, client.Attrs{"name": "pair"})
	s.addInterface(router, "subnet_id", s.create(client.Subnets, client.Attrs{"network_id": pair, "ip_version": 4, "cidr": "10.0.61.0/24"}))
	for i, h := range []string{"a1", "a2"} {
		s.attachOn(h, "pair-"+h, pair, fmt.Sprintf("10.0.61.%d", 11+i))
		id, _ := l.portOf("pair-" + h)
		s.update(client.Ports, id, client.Attrs{"allowed_address_pairs": []client.Attrs{
			{"ip_address": vip}, {"ip_address": vrrp, "mac_address": vmac.String()},
		}})
		id, _ = l.portOf("near-" + h)
		s.update(client.Ports, id, client.Attrs{"allowed_address_pairs": []client.Attrs{{"ip_address": nearVRRP, "mac_address": vmac.String()}}})
	}
	l.reach("near-a3", "10.0.61.11")
	l.reach("near-a3", "10.0.61.12")
	for _, c := range []struct {
		name, vip, holders, from string
		mac                      model.MAC
	}{
		{"own MACs, by a router where no port is", vip, "pair-", "near-a3", model.MAC{}},
		{"own MACs, by a router where a holder is", vip, "pair-", "far-a1", model.MAC{}},
		{"VRRP's MAC, by a router where no port is", vrrp, "pair-", "near-a3", vmac},
		{"VRRP's MAC, within the network", nearVRRP, "near-", "near-a3", vmac},
	} {
		l.sub(c.name, func(t *testing.T) {
			for i, h := range []string{"a1", "a2", "a1"} {
				other := []string{"a2", "a1"}[i%2]
				l.failover(c.from, c.vip, c.holders+other, c.holders+h, c.mac, i > 0)
			}
		})
	}
	// Nobody has said anything: the router asks on all hosts.
	l.sub("an address that nobody has announced", func(*testing.T) {
		for _, h := range []string{"a1", "a2"} {
			id, _ := l.portOf("pair-" + h)
			s.update(client.Ports, id, client.Attrs{"allowed_address_pairs": []client.Attrs{{"ip_address": "10.0.61.97"}}})
		}
		l.mustRun("pair-a2", "ip", "addr", "add", "10.0.61.97/32", "dev", "eth0")
		l.reach("near-a3", "10.0.61.97")
		l.reach("far-a1", "10.0.61.97")
	})
}

// pingsASecond is how many pings failover sends.
const pingsASecond = 50

// failover has a workload say that it has an address, and waits until pings from another come to it. moves: until then they came
// to old. It takes less than a second of pings.
func (l *lab) failover(from, vip, old, holder string, mac model.MAC, moves bool) {
	l.t.Helper()
	if _, own := l.portOf(holder); mac == (model.MAC{}) {
		mac = own
	}
	to := netip.MustParseAddr(vip).As4()
	pings := func(f []byte) bool {
		return len(f) >= 42 && binary.BigEndian.Uint16(f[12:]) == 0x0800 && f[23] == 1 && [4]byte(f[30:34]) == to && f[34] == 8
	}
	seq := func(frames []probe.Frame) int {
		return int(binary.BigEndian.Uint16(frames[len(frames)-1].Data[40:]))
	}
	before, after := l.capture(old, "eth0", pings), l.capture(holder, "eth0", pings)
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ping", "-q", "-n", "-i", fmt.Sprint(1./pingsASecond), vip)
	if err := l.Start(from, cmd); err != nil {
		l.t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	some := func(f []probe.Frame) bool { return len(f) >= 5 }
	last := 0
	if moves {
		if err := before.WaitFor(ctx, some); err != nil {
			l.t.Fatalf("pings of %s from %s do not come to %s: %v", vip, from, old, err)
		}
		last = seq(before.Frames())
	}
	l.newSender(holder, "eth0").send(announce(mac, vip))
	if err := after.WaitFor(ctx, some); err != nil {
		l.t.Fatalf("pings of %s from %s do not come to %s: %v", vip, from, holder, err)
	}
	first := int(binary.BigEndian.Uint16(after.Frames()[0].Data[40:]))
	if moves && first-last > pingsASecond {
		l.t.Errorf("pings of %s from %s: %d was the last before %s said that it has it, %d the first to come to it", vip, from, last, holder, first)
	} else if moves {
		l.t.Logf("%s: %d pings until the first came to %s", vip, first-last, holder)
	}
}
