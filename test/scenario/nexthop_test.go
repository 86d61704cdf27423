package scenario

import (
	"fmt"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestNextHopChangesMAC gives the underlay's router another MAC, as when a standby
// takes over and announces it: the host's outer packets follow.
func TestNextHopChangesMAC(t *testing.T) {
	p := newPair(t)
	p.sink(p.vmB, 9999)
	f := p.startFlood(p.vmA, p.addrB+":9999")
	defer func() {
		if err := f.end(); err != nil {
			t.Error(err)
		}
	}()
	const standby = "02:00:00:00:00:aa"
	p.mustRun("core", "ip", "link", "set", "to-a1", "address", standby)
	s := p.newSender("core", "to-a1")
	announcement := serialize(t,
		&layers.Ethernet{SrcMAC: mac(standby), DstMAC: mac("ff:ff:ff:ff:ff:ff"), EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: 1, SourceHwAddress: mac(standby), SourceProtAddress: []byte{172, 16, 1, 1},
			DstHwAddress: make([]byte, 6), DstProtAddress: []byte{172, 16, 1, 1},
		})
	testutil.Succeeds(t, "traffic to flow by the new address", func() error {
		s.send(announcement)
		if p.ping(p.vmA, p.addrB, 1) != 1 {
			return fmt.Errorf("a ping is lost")
		}
		return nil
	})
}
