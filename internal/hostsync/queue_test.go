package hostsync

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// TestHostsOfTheSiteAreMerged: a host that comes is told of at once, and of many that come one after the other the others
// hear together; whatever else changes waits for nothing, and takes them along.
func TestHostsOfTheSiteAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(sourceOf(fakeGroups{}), &Forms{})
		q.open(true, true)
		site, net := hoststate.Group{Kind: hoststate.GroupSite}, hoststate.Group{Kind: hoststate.GroupNetwork, Key: 1}
		rev := int64(0)
		comes := func(name model.HostName) {
			rev++
			q.Push(rev, Change{Group: site, Delta: &hoststate.Delta{Set: hoststate.State{Hosts: map[model.HostName]hoststate.Host{name: {}}}}})
		}
		changes := func() {
			rev++
			q.Push(rev, Change{Group: net, Delta: &hoststate.Delta{Set: hoststate.State{Networks: map[model.NetworkKey]hoststate.Network{1: {MTU: int(rev)}}}}})
		}
		next := func(what string, hosts int, within time.Duration) {
			t.Helper()
			begin := time.Now()
			u, _, err := q.next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); u == nil || len(u.Set.Hosts) != hosts || took != within || u.Revision != rev {
				t.Errorf("%s: after %v %+v", what, took, u)
			}
		}
		comes("a")
		next("the first host", 1, 0)
		comes("b")
		time.Sleep(sitePause / 2)
		comes("c")
		next("two more", 2, sitePause/2)
		comes("d")
		changes()
		comes("e")
		next("a network that changes", 2, 0)
		comes("f")
		changes()
		next("a network that changes later", 1, 0)
		comes("g")
		q.probes.out = []*pb.FromController{{}}
		next("a probe, whose way may be to it", 1, 0)
		q.probes.out = nil
		comes("h")
		q.PushAll(rev)
		next("everything", 0, 0)
		comes("i")
		q.Push(rev)
		next("a revision", 1, 0)
		time.Sleep(sitePause)
		comes("j")
		next("one after a while", 1, 0)
	})
}
