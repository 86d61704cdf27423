package hwvtep

import (
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// noneOf looks for what is left of a device on a switch.
func noneOf(id model.GatewayDeviceID) func(*have) string {
	return func(h *have) string {
		for _, l := range h.logical {
			if strings.HasPrefix(l.name, ours(id)) {
				return l.name + " is left"
			}
		}
		return ""
	}
}

func cleaned(s *fakeSite) bool { return slices.Equal(s.cleaned, []model.GatewayDeviceID{device}) }

func away(s *fakeSite) bool { return !s.status.Connected && s.status.Error != "" }

// TestDeletedWhileAway: what is deleted while its switch is away goes when the switch
// comes back, also where the controller was another process by then; and what others
// made stays.
func TestDeletedWhileAway(t *testing.T) {
	const device2 = model.GatewayDeviceID("33333333-3b8f-4f0e-8f0c-1d2e3f405162")
	for _, c := range []struct {
		name string
		// then are the targets after the deletion, and done says that the site knows.
		then func(*ovs) []Target
		done func(*fakeSite) bool
	}{
		{"a connection", func(o *ovs) []Target {
			w := example()
			w.Segments = w.Segments[1:]
			return o.target(w)
		}, inSync},
		{"all connections", func(o *ovs) []Target { return o.target(Want{Device: device, TunnelIP: tunnelIP()}) }, inSync},
		{"the device", (*ovs).retired, cleaned},
		{"the device, and its switch is another's at once", func(o *ovs) []Target {
			w := example()
			w.Device = device2
			return append(o.retired(), o.target(w)...)
		}, cleaned},
		// The deleted device's address answers nobody: the switch has another now.
		{"the device, and its switch has another address", func(o *ovs) []Target {
			w := example()
			w.Device, w.Gone = device2, []model.GatewayDeviceID{device}
			return o.target(w)
		}, inSync},
	} {
		for _, restart := range []bool{false, true} {
			name := c.name
			if restart {
				name += ", and the controller restarts"
			}
			t.Run(name, func(t *testing.T) {
				o := newOVS(t)
				check := o.foreign()
				site := newFakeSite()
				targets, stop := drive(t, site, "one")
				want := example()
				targets <- o.target(want)
				site.until(t, "in sync", inSync)
				// Another site drives the switch too.
				o.ctl("add-ls", ours("22222222-2222-2222-2222-222222222222")+"300", "--", "bind-ls", "vt0", "p1", "30", ours("22222222-2222-2222-2222-222222222222")+"300")
				o.stop()
				site.until(t, "it is away", away)
				if restart {
					stop()
					targets, _ = drive(t, site, "two")
				}
				then := c.then(o)
				targets <- then
				o.start()
				site.until(t, "the site knows", c.done)
				w := o.watch()
				for _, x := range then {
					if !x.Retired {
						w.has(x.Want)
					}
				}
				if then[0].Want.Device != device || then[0].Retired {
					w.until("nothing is left of the deleted device", noneOf(device))
				}
				check()
				if b := o.ctl("list-bindings", "vt0", "p1"); !strings.Contains(b, "0030 causeway-22222222") {
					t.Errorf("another site's binding is gone: %s", b)
				}
			})
		}
	}
}

// TestRetiredIsNotDone: a deleted device is not forgotten while its switch refuses to
// let its rows go.
func TestRetiredIsNotDone(t *testing.T) {
	o := newOVS(t)
	site := newFakeSite()
	targets, _ := drive(t, site, "one")
	want := example()
	targets <- o.target(want)
	site.until(t, "in sync", inSync)
	// Somebody's router on the switch holds one of ours.
	ls := o.ctl("--columns=_uuid", "--bare", "find", "Logical_Switch", "name="+want.nameOf(&want.Segments[0]))
	router := o.ctl("create", "Logical_Router", "name=theirs", "switch_binding:\"192.0.2.0/24\"="+ls)
	targets <- o.retired()
	site.until(t, "the site is told why", func(s *fakeSite) bool {
		return s.status.Connected && !s.status.InSync && strings.HasPrefix(s.status.Error, "VNI 100: the switch refuses: referential integrity violation")
	})
	site.until(t, "the site does not take it for clean", func(s *fakeSite) bool { return len(s.cleaned) == 0 })
	o.watch().until("the other logical switch is gone", func(h *have) string {
		if _, there := h.find(want.nameOf(&want.Segments[1])); there {
			return "it is there"
		}
		return ""
	})
	o.ctl("destroy", "Logical_Router", router)
	// It is tried again at the next change that is seen.
	o.ctl("add-port", "vt0", "p7")
	site.until(t, "clean", cleaned)
	o.watch().until("nothing is left", noneOf(device))
}
