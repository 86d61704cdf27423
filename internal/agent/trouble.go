package agent

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/probe"
)

// trouble is what the host knows to keep the packets of a tunnel from leaving, or from coming in.
type trouble struct {
	text string
	out  bool // nothing leaves
}

// troubles are those of all paths that have one. The loop finds them, and whoever asks for the
// state of paths reads them.
type troubles struct {
	mu sync.Mutex
	of map[pathmtu.Key]trouble
}

// set notes that of one path; the zero trouble is none.
func (t *troubles) set(v dataplane.VTEP, x trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.text == "" {
		delete(t.of, pathmtu.Key(v))
		return
	}
	if t.of == nil {
		t.of = map[pathmtu.Key]trouble{}
	}
	t.of[pathmtu.Key(v)] = x
}

func (t *troubles) all() map[pathmtu.Key]trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.of)
}

func (t *troubles) at(k pathmtu.Key) (trouble, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x, ok := t.of[k]
	return x, ok
}

// lookForTrouble works out what is wrong with the way to a VTEP on this host.
func (a *Agent) lookForTrouble(u *underlays, v dataplane.VTEP) (trouble, error) {
	if !a.remote.sendsTo(v) {
		return trouble{}, nil
	}
	named, err := u.namedTrouble()
	if err != nil {
		return trouble{}, err
	}
	out, leaves := a.out[v]
	if !leaves {
		text := named
		if own := a.fabric.ownProblem(); own != "" && a.isHost(v) {
			text = own
		}
		if text == "" {
			text = fmt.Sprintf("the host has no route from %s to %s", v.Local, v.Remote)
		}
		return trouble{text, true}, nil
	}
	l, err := u.link(out.index)
	if err != nil {
		return trouble{}, err
	}
	lead, looked := a.leads[v]
	switch {
	case l.Index == 0:
		return trouble{"the interface that its route leads by has gone", true}, nil
	case linkTrouble(l) != "":
		return trouble{fmt.Sprintf("the underlay interface %s %s", l.Name, linkTrouble(l)), true}, nil
	case a.shut[v] != "":
		return trouble{fmt.Sprintf("an IPsec policy of the host speaks of it (%s), and tunnels would pass it by: see --underlay-output", a.shut[v]), true}, nil
	case looked && len(lead.now) == 0:
		text := fmt.Sprintf("the host's route to it leads by %s, which carries no tunnels (--underlay-interface): what comes in there is refused", l.Name)
		if named != "" {
			text = named + "; " + text
		}
		return trouble{text, false}, nil
	}
	return trouble{}, nil
}

// namedTrouble is what is wrong with the interfaces that --underlay-interface names.
func (u *underlays) namedTrouble() (string, error) {
	if u.trouble != nil {
		return *u.trouble, nil
	}
	var out []string
	for _, name := range u.a.cfg.UnderlayInterfaces {
		l, err := u.named(name)
		if err != nil {
			return "", err
		}
		if words := linkTrouble(l); words != "" {
			out = append(out, fmt.Sprintf("the underlay interface %s %s", name, words))
		}
	}
	text := strings.Join(out, ", ")
	u.trouble = &text
	return text, nil
}

func linkTrouble(l hostnet.Link) string {
	switch {
	case l.Index == 0:
		return "is not there"
	case !l.Up:
		return "is down"
	case !l.Carrier:
		return "has no carrier"
	}
	return ""
}

// maxUnresolved bounds the silent paths whose next hop is looked up for one answer.
const maxUnresolved = 64

// pathStates is what is known of all paths.
func (a *Agent) pathStates() []probe.PathState {
	var out []probe.PathState
	states := a.pathMTU.States()
	silent := 0
	for k, s := range states {
		if len(out) == probe.MaxPaths {
			return out
		}
		quiet := s.Silent || s.Kind == pathmtu.Unproven
		if quiet {
			silent++
		}
		out = append(out, a.pathState(k, s, quiet && silent <= maxUnresolved))
	}
	for k, t := range a.trouble.all() {
		if _, told := states[k]; told || len(out) == probe.MaxPaths {
			continue
		}
		p := probe.PathState{TunnelIP: k.Local, VTEP: k.Remote, MTU: defaultPathMTU, By: pathmtu.NoMethod.Name()}
		out = append(out, t.tell(p))
	}
	return out
}

// pathState is what is known of one path. silent: nothing comes back by it.
func (a *Agent) pathState(k pathmtu.Key, s pathmtu.State, silent bool) probe.PathState {
	p := probe.PathState{TunnelIP: k.Local, VTEP: k.Remote, MTU: s.MTU, State: s.Kind.String(), By: s.By.Name(), Why: s.Words()}
	if t, ok := a.trouble.at(k); ok {
		return t.tell(p)
	}
	if silent {
		if hop, device, is := a.host.Unresolved(k.Local, k.Remote); is {
			p.Problem = fmt.Sprintf("the next hop %s answers no ARP request on %s", hop, device)
		}
	}
	return p
}

func (t trouble) tell(p probe.PathState) probe.PathState {
	p.Problem = t.text
	if t.out {
		p.State, p.Why = probe.Unreachable, t.text
	}
	return p
}
