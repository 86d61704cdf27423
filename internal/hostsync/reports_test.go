package hostsync

import (
	"maps"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// TestReportsThatAreKept: what is reported of a port is kept as long as there is somebody to tell it,
// also of one without an interface on the host, which the state's rows do not name.
func TestReportsThatAreKept(t *testing.T) {
	c, err := NewClient(ClientOptions{Targets: []string{"unix:///nowhere"}})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, other := PortAt("net", model.MAC{2, 0, 0, 0, 0, 1}), PortAt("net", model.MAC{2, 0, 0, 0, 0, 2})
	report := func(status model.PortStatus, ids ...model.PortID) {
		r := Report{Revision: 1}
		for _, id := range ids {
			r.Ports = append(r.Ports, PortReport{ID: id, Status: status})
		}
		c.Report(r)
	}
	full := func() {
		d := hoststate.Delta{Full: true, Set: hoststate.NewState()}
		d.Set.Ports[1] = hoststate.Port{ID: "here"}
		c.forget(d)
	}
	sends := func(when string, want ...model.PortID) {
		t.Helper()
		r, _ := c.take()
		var got []model.PortID
		for _, p := range r.Ports {
			got = append(got, p.ID)
		}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%s: %v are sent, want %v", when, got, want)
		}
	}
	keeps := func(when string, want ...model.PortID) {
		t.Helper()
		got := slices.Sorted(maps.Keys(c.ports))
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%s: %v are kept, want %v", when, got, want)
		}
		if len(c.dirty) > 0 {
			t.Errorf("%s: %v are still to be sent", when, c.dirty)
		}
	}

	report(model.PortActive, "here", "gone") // an agent that goes on from its journal
	report(model.PortError, elsewhere)
	c.again()
	full()
	sends("after the first state", "here", elsewhere)
	keeps("after the first state", "here", elsewhere)

	// A controller that comes back knows nothing of ports that are not bound.
	c.again()
	full()
	sends("after a reconnection", "here", elsewhere)

	// The agent has yet to be told that a port has gone.
	c.forget(hoststate.Delta{Set: hoststate.NewState(), Unset: hoststate.Keys{Ports: []model.PortKey{1}}})
	report(model.PortDown, "here")
	sends("after the port has gone")
	keeps("after the port has gone", elsewhere)

	report(model.PortActive, elsewhere)
	report(model.PortError, other)
	sends("when it works", elsewhere, other)
	keeps("when it works", other)

	report(model.PortActive, other) // while there is no stream
	c.again()
	full()
	sends("when it works by the next stream")
	keeps("when it works by the next stream")
}
