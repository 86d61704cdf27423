package hwvtep

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
)

// Want is what a switch is to have for a gateway device.
type Want struct {
	Device   model.GatewayDeviceID
	TunnelIP netip.Addr // the zero Addr for a deleted device, which wants nothing
	Segments []Segment  // in order of VNI, which differ
	// Gone are the site's deleted devices whose switches are not known to be clean.
	// This one may be such a switch, under another address.
	Gone []model.GatewayDeviceID
}

// Segment is one VNI: a logical switch.
type Segment struct {
	Connection model.L2GatewayConnectionID
	Network    model.NetworkID
	VNI        model.VNI
	Bindings   []Binding
	Remote     []RemoteMAC  // each MAC once
	VTEPs      []netip.Addr // where to flood; each once
}

// Binding puts the frames of a VLAN on a physical port into the segment; VLAN 0
// are those without a tag.
type Binding struct {
	Port string
	VLAN uint16
}

// RemoteMAC is a MAC behind another VTEP.
type RemoteMAC struct {
	MAC  model.MAC
	VTEP netip.Addr
}

// ours is how the names of a device's logical switches begin.
func ours(device model.GatewayDeviceID) string { return "causeway-" + string(device) + "-" }

// leftOver tells whether a logical switch is one that the site made and does not
// want any more.
func (w *Want) leftOver(name string) bool {
	if strings.HasPrefix(name, ours(w.Device)) {
		return w.segment(name) == nil
	}
	return slices.ContainsFunc(w.Gone, func(id model.GatewayDeviceID) bool { return strings.HasPrefix(name, ours(id)) })
}

func (w *Want) nameOf(s *Segment) string { return fmt.Sprintf("%s%d", ours(w.Device), s.VNI) }

// description is for people who look at the switch.
func (s *Segment) description() string { return "Causeway: network " + string(s.Network) }

func (w *Want) segment(name string) *Segment {
	for i := range w.Segments {
		if w.nameOf(&w.Segments[i]) == name {
			return &w.Segments[i]
		}
	}
	return nil
}

// lockOf names the switch's lock for a device. A lock's name is an <id> of RFC 7047
// §3.1: letters, digits and underscores.
func lockOf(device model.GatewayDeviceID) string {
	return "causeway_" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, string(device))
}
