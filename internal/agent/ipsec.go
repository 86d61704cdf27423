package agent

import (
	"fmt"
	"maps"
	"slices"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
)

// reconcilePolicies reads the host's IPsec policies. Tunnel packets that the programs send and take
// pass the kernel's IPsec by: a VTEP that a policy speaks of is shut in both directions, so
// that nothing goes in clear that was to be protected.
func (a *Agent) reconcilePolicies() {
	o := &a.objs
	if len(o.policies.Take()) == 0 {
		return
	}
	if a.cfg.KernelOutput {
		o.policies.Done(single{})
		return
	}
	s, err := a.host.IPsec()
	settle(a, o.policies, single{}, err)
	if err != nil {
		return // what was known stays
	}
	a.ipsec = s
	for v := range a.leads {
		if (a.policyAbout(v) != "") != (a.shut[v] != "") {
			o.vteps.DueAll()
			return
		}
	}
}

// policyAbout tells in words which IPsec policy speaks of what goes to a VTEP and comes from it: tunnels,
// the fabric, or both where another host's address is a remote VTEP too. "": none does.
func (a *Agent) policyAbout(v dataplane.VTEP) string {
	var ports []uint16
	if a.isHost(v) {
		ports = append(ports, a.cfg.Fabric.Port)
	}
	if a.isTunnel(v) {
		ports = append(ports, hostnet.VXLANPort)
	}
	return a.ipsec.About(v.Local, v.Remote, ports...)
}

// noteShut says that a VTEP is shut, or that it no longer is.
func (a *Agent) noteShut(v dataplane.VTEP, shut bool) {
	_, was := a.shut[v]
	switch {
	case shut:
		a.shut[v] = a.policyAbout(v)
		if !was {
			a.log.Error("an IPsec policy of this host speaks of a VTEP, and tunnels would pass it by: nothing is sent to it or taken from it; see --underlay-output",
				"vtep", v.Remote, "tunnel_ip", v.Local, "policy", a.shut[v])
		}
	case was:
		delete(a.shut, v)
		a.log.Info("no IPsec policy speaks of the VTEP any more", "vtep", v.Remote, "tunnel_ip", v.Local)
	}
	a.stats.setShut(len(a.shut))
}

// refuseIPsec is the error with which an agent does not start where a policy speaks of a VTEP
// of its journal. The rows are shut by then: what a predecessor left sends nothing either.
func (a *Agent) refuseIPsec() error {
	vs := slices.SortedFunc(maps.Keys(a.shut), func(v, w dataplane.VTEP) int {
		if c := v.Remote.Compare(w.Remote); c != 0 {
			return c
		}
		return v.Local.Compare(w.Local)
	})
	if len(vs) == 0 {
		return nil
	}
	return fmt.Errorf("an IPsec policy of this host speaks of %d remote VTEPs, the first of them %s (%s), and tunnels would pass it by: start with --underlay-output=kernel, or take the policy away",
		len(vs), vs[0].Remote, a.shut[vs[0]])
}
