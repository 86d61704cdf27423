package site

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// HAState is what a host is to a gateway device, as Neutron's l3-ha names it for routers.
type HAState string

const (
	HAActive  HAState = "active"
	HAStandby HAState = "standby"
	HAUnknown HAState = "unknown" // the host does not answer
)

// RankedHost is a host that serves a gateway device or stands by.
type RankedHost struct {
	Host  model.HostName
	State HAState
}

// mostStandbys bounds what is shown of a device: where no agent says --gateway all hosts of a site stand by.
const mostStandbys = 8

// HostsOf are the host that serves a gateway device, and its standbys in order of rank: where the device has to leave its
// host, it goes to the first of them. At most mostStandbys are shown. A device that nobody serves has none.
func HostsOf(r store.Reader, d *model.GatewayDevice) []RankedHost {
	p := store.Get(r, store.Placements, string(d.ID))
	if !placed(d) || p == nil {
		return nil
	}
	list := []RankedHost{{p.Host, HAActive}}
	if h := store.Get(r, store.Hosts, string(p.Host)); h == nil || h.Gone {
		list[0].State = HAUnknown
	}
	for _, h := range rank(d.ID, candidates(r)) {
		switch {
		case h.Name == p.Host:
			continue
		case len(list) > mostStandbys:
			return list
		case h.Gone:
			list = append(list, RankedHost{h.Name, HAUnknown})
		default:
			list = append(list, RankedHost{h.Name, HAStandby})
		}
	}
	return list
}

// rank orders hosts for a device: those that answer, by priority, and by rendezvous hash among equals, so that the devices of one
// host have different standbys, and a host that comes or goes leaves the order of the others as it was.
func rank(id model.GatewayDeviceID, hosts []*model.Host) []*model.Host {
	type weighed struct {
		*model.Host
		weight uint64
	}
	list := make([]weighed, len(hosts))
	for i, h := range hosts {
		list[i] = weighed{h, rendezvous(id, h.Name)}
	}
	slices.SortFunc(list, func(a, b weighed) int {
		return cmp.Or(byPriority(a.Host, b.Host), cmp.Compare(b.weight, a.weight), cmp.Compare(a.Name, b.Name))
	})
	ranked := make([]*model.Host, len(list))
	for i, w := range list {
		ranked[i] = w.Host
	}
	return ranked
}

// rendezvous is a host's weight for a device: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998. Controllers
// of other releases must come to the same, so that it never changes.
func rendezvous(id model.GatewayDeviceID, host model.HostName) uint64 {
	sum := sha256.Sum256([]byte(string(id) + "\x00" + string(host)))
	return binary.BigEndian.Uint64(sum[:8])
}
