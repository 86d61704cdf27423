package site

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/model"
)

// names are hosts' names in order.
func names(hosts []*model.Host) []model.HostName {
	list := make([]model.HostName, len(hosts))
	for i, h := range hosts {
		list[i] = h.Name
	}
	return list
}

// someHosts draws hosts with different names.
func someHosts(t *rapid.T) []*model.Host {
	host := rapid.Custom(func(t *rapid.T) *model.Host {
		return &model.Host{
			Name:            model.HostName(fmt.Sprintf("h%d", rapid.IntRange(0, 50).Draw(t, "name"))),
			Gone:            rapid.IntRange(0, 4).Draw(t, "gone") == 0,
			GatewayPriority: rapid.SampledFrom([]uint8{0, 1, 100, 100, 100, 255}).Draw(t, "priority"),
		}
	})
	return rapid.SliceOfNDistinct(host, 1, 12, func(h *model.Host) model.HostName { return h.Name }).Draw(t, "hosts")
}

// TestRank: the rank of hosts does not depend on the order in which they are listed, puts those that answer first and then those of
// higher priority, and is the same without a host that goes, but for that host.
func TestRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := model.GatewayDeviceID(rapid.StringMatching(`[0-9a-f]{8}`).Draw(t, "device"))
		hosts := someHosts(t)
		ranked := rank(id, hosts)
		want := names(ranked)
		if again := names(rank(id, rapid.Permutation(hosts).Draw(t, "listed"))); !slices.Equal(again, want) {
			t.Fatalf("%v, and %v where they are listed otherwise", want, again)
		}
		for i, h := range ranked[1:] {
			switch before := ranked[i]; {
			case before.Gone && !h.Gone:
				t.Fatalf("host %s is gone and before host %s: %v", before.Name, h.Name, want)
			case before.Gone == h.Gone && before.GatewayPriority < h.GatewayPriority:
				t.Fatalf("host %s is before host %s, which has a higher priority: %v", before.Name, h.Name, want)
			}
		}
		goes := rapid.IntRange(0, len(ranked)-1).Draw(t, "goes")
		left := names(rank(id, slices.Delete(slices.Clone(ranked), goes, goes+1)))
		if want := slices.Delete(slices.Clone(want), goes, goes+1); !slices.Equal(left, want) {
			t.Fatalf("without one the rank is %v, want %v", left, want)
		}
	})
}

// TestRankSpreads: among hosts of one priority each is the first of about as many devices; and where one goes, no device but its own has
// another first.
func TestRankSpreads(t *testing.T) {
	const devices, hosts = 4000, 4
	var list []*model.Host
	for i := range hosts {
		list = append(list, &model.Host{Name: model.HostName(fmt.Sprintf("gateway-%d", i)), GatewayPriority: 100})
	}
	first := map[model.HostName]int{}
	second := map[model.HostName]int{}
	for i := range devices {
		id := model.GatewayDeviceID(fmt.Sprintf("device-%d", i))
		ranked := names(rank(id, list))
		first[ranked[0]]++
		if ranked[0] == list[0].Name {
			second[ranked[1]]++
		}
	}
	for _, h := range list {
		if n := first[h.Name]; n < devices/hosts*4/5 || n > devices/hosts*6/5 {
			t.Errorf("host %s is the first of %d of %d devices", h.Name, n, devices)
		}
	}
	for _, h := range list[1:] {
		if n, of := second[h.Name], first[list[0].Name]; n < of/(hosts-1)*3/4 || n > of/(hosts-1)*5/4 {
			t.Errorf("host %s takes %d of %d devices of a host that goes", h.Name, n, of)
		}
	}
}
