package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/probe"
)

// To the fabric, another host of the site is a remote VTEP of this host's address on it.

// fabricVTEP is the VTEP of a host; false: it is this host, or none of the fabric's.
func (a *Agent) fabricVTEP(h hoststate.Host) (dataplane.VTEP, bool) {
	local := a.cfg.Fabric.Addr
	return dataplane.VTEP{Local: local, Remote: h.Addr}, a.cfg.Fabric.On() && h.Addr.IsValid() && h.Addr != local
}

// indexHost notes the row of a host that was and is (the zero Host: was not, is not), and returns the
// VTEPs that are to be looked at for it.
func (a *Agent) indexHost(name model.HostName, was, is hoststate.Host) (look []dataplane.VTEP) {
	if v, ok := a.fabricVTEP(was); ok && was.Addr != is.Addr {
		delete(a.remote.of(v).hosts, name)
		a.remote.tidy(v)
		look = append(look, v)
	}
	if v, ok := a.fabricVTEP(is); ok && was.Addr != is.Addr {
		a.remote.of(v).hosts[name] = struct{}{}
		look = append(look, v)
	}
	return look
}

// hostsAt are the hosts whose address a VTEP has, in words; "": it is none's.
func (a *Agent) hostsAt(v dataplane.VTEP) string {
	x := a.remote.rows[v]
	if x == nil || len(x.hosts) == 0 {
		return ""
	}
	return "host " + string(slices.Min(slices.Collect(maps.Keys(x.hosts))))
}

// isHost tells whether a VTEP is another host of the site.
func (a *Agent) isHost(v dataplane.VTEP) bool {
	x := a.remote.rows[v]
	return x != nil && len(x.hosts) > 0
}

// isTunnel tells whether a VTEP is another site's.
func (a *Agent) isTunnel(v dataplane.VTEP) bool {
	x := a.remote.rows[v]
	return x != nil && len(x.fdb)+len(x.peers) > 0
}

// vtepWanted says what is wanted of a VTEP.
func (a *Agent) vtepWanted(v dataplane.VTEP) string {
	if h := a.hostsAt(v); h != "" {
		return fmt.Sprintf("packets leave for %s, and come in from it", h)
	}
	return "packets leave for it, and come in from it"
}

// fabricDevice puts the device of the fabric right: it is set up, if it is new, after its program is
// attached. A host that is not on the fabric has none; reconcilePrune takes an old one away.
func (a *Agent) fabricDevice() error {
	f := a.cfg.Fabric
	if !f.On() {
		return nil
	}
	index, err := a.host.PrepareFabric(f.Port)
	if err != nil {
		return err
	}
	if f.Index = index; a.env.Fabric != f {
		a.env.Fabric = f
		a.pending.all()
	}
	if err := a.dp.AttachVXLAN(index); err != nil {
		return err
	}
	_, err = a.host.EnsureFabric(f.Port)
	return err
}

// pruneFabric takes away the device of a fabric that the host is no longer on.
func (a *Agent) pruneFabric() error {
	if a.cfg.Fabric.On() {
		return nil
	}
	return a.host.RemoveFabric()
}

// reconcileFabric looks whether the host has its address on the fabric. Without it no route leads to
// another host, which is told of each.
func (a *Agent) reconcileFabric() {
	o := a.objs.fabric
	if len(o.Take()) == 0 {
		return
	}
	addrs, err := a.host.Addrs()
	if err != nil {
		settle(a, o, single{}, err)
		return
	}
	at := slices.IndexFunc(addrs, func(x hostnet.Addr) bool { return x.Prefix.Addr() == a.cfg.Fabric.Addr })
	if at < 0 {
		text := fmt.Sprintf("no interface of this host has the address %s (--fabric-address)", a.cfg.Fabric.Addr)
		if a.fabric.setProblem(text) {
			a.log.Warn(text + "; nothing goes to other hosts until one has")
		}
		o.Waits(single{}, text)
	} else {
		a.fabric.setProblem("")
		settle(a, o, single{}, nil)
	}
	for v := range a.remote.rows {
		if a.isHost(v) {
			a.objs.vteps.Soon(v)
		}
	}
	a.objs.underlay.Due(allUnderlay) // the MTU may be that of another interface
}

// measureFabric is the MTU that the controller is told of the fabric: the least of the interfaces that
// lead to other hosts; while none does, that of the interface with the address. 0: unknown, as where a
// routing daemon announces an address of the loopback device.
func (a *Agent) measureFabric() (mtu int, err error) {
	if !a.cfg.Fabric.On() {
		return 0, nil
	}
	seen := map[int]bool{}
	for v, out := range a.out {
		if a.isHost(v) {
			seen[out.index] = true
		}
	}
	if len(seen) == 0 {
		addrs, err := a.host.Addrs()
		if err != nil {
			return 0, err
		}
		for _, x := range addrs {
			if x.Prefix.Addr() == a.cfg.Fabric.Addr {
				seen[x.Index] = true
			}
		}
	}
	for index := range seen {
		l, ok, err := a.host.LinkByIndex(index)
		if err != nil {
			return 0, err
		}
		if ok && !l.Loopback && (mtu == 0 || l.MTU < mtu) {
			mtu = l.MTU
		}
	}
	return mtu, nil
}

// fabricView is what others than the loop know of the fabric.
type fabricView struct {
	mu      sync.Mutex
	problem string
	mtu     int
	hosts   map[model.HostName]hoststate.Host
}

// setProblem keeps what is wrong with the host's own end; it tells whether that is new.
func (f *fabricView) setProblem(text string) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = f.problem != text
	f.problem = text
	return news
}

func (f *fabricView) ownProblem() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem
}

func (f *fabricView) setMTU(mtu int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mtu = mtu
}

// setHosts keeps all hosts.
func (f *fabricView) setHosts(hosts map[model.HostName]hoststate.Host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = maps.Clone(hosts)
}

// Fabric is what an agent says of the fabric between the site's hosts.
type Fabric struct {
	Address netip.Addr `json:"address"` // this host's
	Port    uint16     `json:"port"`    // UDP
	Device  string     `json:"device"`
	MTU     int        `json:"mtu"` // bytes of the largest IP packet of its underlay; 0: unknown
	// Problem is what keeps this host off the fabric; empty: nothing is known to.
	Problem string       `json:"problem,omitempty"`
	Hosts   []FabricHost `json:"hosts"` // the others, by name
}

// FabricHost is another host.
type FabricHost struct {
	Host    model.HostName `json:"host"`
	Address netip.Addr     `json:"address"`
	// State is that of the way to it: probe.Unreachable where this host cannot send to it or take from
	// it, or else what is known of its path (pathmtu.Kind). Only "proven" says that the host answers.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	MTU   int    `json:"mtu"` // bytes of the largest outer IP packet that is sent to it
}

// fabricStatus is what is known of the fabric; nil: the host is not on it.
func (a *Agent) fabricStatus() *Fabric {
	if !a.cfg.Fabric.On() {
		return nil
	}
	v := &a.fabric
	v.mu.Lock()
	f := &Fabric{Address: a.cfg.Fabric.Addr, Port: a.cfg.Fabric.Port, Device: hostnet.FabricDevice, MTU: v.mtu, Problem: v.problem, Hosts: []FabricHost{}}
	hosts := v.hosts // replaced as a whole, never changed
	v.mu.Unlock()
	states := a.pathMTU.States()
	asked := 0
	for name, h := range hosts {
		vtep, other := a.fabricVTEP(h)
		if !other {
			continue
		}
		k := pathmtu.Key(vtep)
		x := FabricHost{Host: name, Address: h.Addr, State: pathmtu.Searching.String(), Why: "not looked at yet"}
		if s, ok := states[k]; ok {
			quiet := s.Silent || s.Kind == pathmtu.Unproven
			if quiet {
				asked++
			}
			p := a.pathState(k, s, quiet && asked <= maxUnresolved)
			x.State, x.Why, x.MTU = p.State, cmp.Or(p.Problem, p.Why), p.MTU
		} else if t, ok := a.trouble.at(k); ok {
			x.State, x.Why = probe.Unreachable, t.text
		}
		f.Hosts = append(f.Hosts, x)
	}
	slices.SortFunc(f.Hosts, func(x, y FabricHost) int { return cmp.Compare(x.Host, y.Host) })
	return f
}
