package verify

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/probe"
)

// Finding is one thing that is wrong, or that could not be looked at.
type Finding struct {
	Site string `json:"site,omitempty"`
	// Remote is the other site, where it is about the two of them.
	Remote   string `json:"remote,omitempty"`
	Resource string `json:"resource,omitempty"`
	Text     string `json:"text"`
	// Hint is the way out; Command is the way out as a command, where there is one.
	Hint    string `json:"hint,omitempty"`
	Command string `json:"command,omitempty"`
	// Ways are those that do not pass because of it: "site-a → site-b, 10.0.1.0/24".
	Ways []string `json:"ways,omitempty"`
	// Unproved: nothing is known to be wrong, and nothing to be right.
	Unproved bool `json:"unproved,omitempty"`

	key      string
	drift    bool
	stops    bool
	networks []netip.Prefix
}

func (f Finding) String() string {
	s := f.Text
	if f.Resource != "" {
		s = f.Resource + ": " + s
	}
	if f.Site != "" {
		s = f.Site + ": " + s
	}
	return s
}

// findings are put together from what differs from the file, what is switched off, and what became of
// the packets.
type findings struct {
	run   *run
	list  []*Finding
	pairs []Way
}

// conclude says what was found.
func (r *run) conclude(res *Result) {
	f := &findings{run: r, pairs: res.Pairs}
	f.known()
	for i := range res.Pairs {
		f.pair(&res.Pairs[i])
	}
	for i := range res.Pairs {
		w := &res.Pairs[i]
		for _, n := range w.Networks {
			res.Ways.All++
			if n.State != NotProbed && n.State != NotMeasured {
				res.Ways.Probed++
			}
			if n.State == Passes {
				res.Ways.Passed++
			}
		}
		r.words(w)
	}
	f.tooMany(res)
	for _, x := range f.list {
		res.Findings = append(res.Findings, *x)
	}
	// What is known to be wrong comes first.
	slices.SortStableFunc(res.Findings, func(a, b Finding) int {
		switch {
		case a.Unproved == b.Unproved:
			return 0
		case a.Unproved:
			return 1
		}
		return -1
	})
	res.Passes = len(res.Findings) == 0 && !slices.ContainsFunc(res.Pairs, func(w Way) bool { return w.State != Passes })
}

// tooMany names what was not probed because it was too much.
func (f *findings) tooMany(res *Result) {
	pairs, networks := 0, 0
	for i := range res.Pairs {
		w := &res.Pairs[i]
		if w.base == NotProbed {
			pairs++
		}
		for _, n := range w.Networks {
			if n.State == NotProbed {
				networks++
			}
		}
	}
	const hint = "--all probes all of them; it takes longer."
	if pairs > 0 {
		f.list = append(f.list, &Finding{Unproved: true, Hint: hint,
			Text: fmt.Sprintf("%d of %d ways between routers were probed, and %d were not", len(res.Pairs)-pairs, len(res.Pairs), pairs)})
	}
	if networks > 0 {
		f.list = append(f.list, &Finding{Unproved: true, Hint: hint,
			Text: fmt.Sprintf("%d of %d ways from a router into a network of another site were probed, and %d were not", res.Ways.Probed, res.Ways.All, networks)})
	}
}

// known are what shows without a packet.
func (f *findings) known() {
	st := f.run.status
	for _, d := range st.Drift {
		f.list = append(f.list, &Finding{Site: d.Site, Remote: d.Remote, Resource: d.Resource, Text: d.Text, Command: f.run.Apply, drift: true})
	}
	for _, p := range st.Problems {
		o := f.run.observed(p.Site)
		f.list = append(f.list, &Finding{Site: strings.Join(sitesOf(p), ", "), Remote: p.Remote, Resource: p.Resource, Text: p.Text, Hint: p.Hint, Command: p.Command,
			Unproved: o != nil && o.Problem != nil})
	}
	for _, p := range st.Warnings {
		if p.Stops {
			f.stops(p)
		}
	}
	for _, c := range st.Choices.Sites {
		for _, net := range c.Advertise {
			for _, p := range f.run.further[siteNet{c.Site, net}].off {
				f.stops(p)
			}
		}
	}
}

// stops adds what is switched off, once for all networks that it stops.
func (f *findings) stops(p plan.Problem) {
	for _, x := range f.list {
		if x.stops && x.Site == p.Site && x.Resource == p.Resource && len(x.networks) > 0 {
			x.networks = append(slices.Clone(x.networks), p.Networks...)
			return
		}
	}
	f.list = append(f.list, &Finding{Site: p.Site, Remote: p.Remote, Resource: p.Resource, Text: p.Text, Hint: p.Hint, Command: p.Command, stops: true, networks: p.Networks})
}

func sitesOf(p plan.Problem) []string {
	if len(p.Sites) > 0 {
		return p.Sites
	}
	if p.Site == "" {
		return nil
	}
	return []string{p.Site}
}

// pair finds what is behind the ways of a pair that do not pass.
func (f *findings) pair(w *Way) {
	label := w.From + " → " + w.To
	w.base = f.way(w, nil, label)
	w.State = w.base
	for k := range w.Networks {
		n := &w.Networks[k]
		switch {
		case w.base == Broken && n.State != NotProbed && n.State != NotMeasured:
			n.State = Broken // and named with the way between the routers
		case w.base != Broken && w.base != NotMeasured:
			n.State = f.way(w, n, label+", "+n.Network.String())
		}
		w.State = worse(w.State, n.State)
	}
}

// way attaches a way to what was found, or adds a finding. It returns the way's state: what is switched
// off stops the packets of workloads though the routers themselves still answer.
// n is nil for the way between the routers.
func (f *findings) way(w *Way, n *NetworkWay, label string) State {
	net, state, why, x, hint := netip.Prefix{}, w.base, w.Why, &w.ex, ""
	if n != nil {
		net, state, why, x, hint = n.Network, n.State, n.Why, &n.ex, n.hint
	}
	if stopped := f.stopped(w, net); len(stopped) > 0 {
		for _, s := range stopped {
			s.Ways = append(s.Ways, label)
		}
		return Broken
	}
	switch state {
	case Passes:
		if n != nil && n.rest != "" {
			n.Why = append(n.Why, w.To+": "+n.rest)
			f.unproved(w, label, []string{w.To + ": " + n.rest}, hint)
			return NotMeasured
		}
	case NotProbed:
	case NotMeasured:
		f.unproved(w, label, why, hint)
	case Broken:
		// Where the routers reach each other, what the tables say of this network is the cause.
		if n != nil && len(x.causes) > 0 || !f.underlay(w, n, label) {
			f.broken(w, label, net, why, x)
		}
	default:
		one := f.at(string(state)+sorted(w.From, w.To), Finding{Site: w.From, Remote: w.To, Text: strings.Join(why, "; ")})
		one.Ways = append(one.Ways, label)
		if state == Small {
			one.Hint = "Raise what the underlay carries, or lower --underlay-mtu at both sites."
		}
	}
	return state
}

// stopped are the findings of what is switched off on a way.
func (f *findings) stopped(w *Way, net netip.Prefix) []*Finding {
	var out []*Finding
	for _, x := range f.list {
		whole := len(x.networks) == 0 && (x.Site == w.From || x.Site == w.To)
		if x.stops && (whole || x.Site == w.To && slices.Contains(x.networks, net)) {
			out = append(out, x)
		}
	}
	return out
}

func (f *findings) unproved(w *Way, label string, why []string, hint string) {
	text := strings.Join(why, "; ")
	for _, x := range f.list { // the site that does not answer is named already
		if x.Unproved && (x.Site == w.From || x.Site == w.To) && x.key == "" {
			x.Ways = append(x.Ways, label)
			return
		}
	}
	if hint == "" {
		hint = "Nothing is said of these ways. Run it again, or look at the site."
	}
	one := f.at("not measured "+text, Finding{Text: text, Unproved: true, Hint: hint})
	one.Ways = append(one.Ways, label)
}

// hostPath is what the host of a site knows of the underlay between two sites.
type hostPath struct {
	site, host string
	path       *probe.PathState
}

// hosts are what the hosts of both sites of a way know, as far as it is known. n is nil for the way
// between the routers.
func (f *findings) hosts(w *Way, n *NetworkWay) []hostPath {
	var out []hostPath
	add := func(site string, reports ...*probe.Report) {
		for _, r := range reports {
			if r != nil && r.Path != nil {
				out = append(out, hostPath{site, r.Host, r.Path})
				return
			}
		}
	}
	var of *probe.Report
	if n != nil {
		of = n.Probe
	}
	add(w.From, of, w.Probe)
	for i := range f.pairs {
		if back := &f.pairs[i]; back.From == w.To && back.To == w.From {
			add(w.To, back.Probe)
		}
	}
	return out
}

// underlay names what a host itself says to be wrong with its underlay, and tells whether one does.
func (f *findings) underlay(w *Way, n *NetworkWay, label string) bool {
	found := false
	for _, h := range f.hosts(w, n) {
		if h.path.Problem == "" {
			continue
		}
		one := f.at("host "+h.site+" "+h.path.Problem, Finding{Site: h.site, Resource: "host " + h.host, Text: h.path.Problem, Hint: "Mend it on that host: no tunnel packets pass there."})
		if !slices.Contains(one.Ways, label) {
			one.Ways = append(one.Ways, label)
		}
		found = true
	}
	return found
}

// broken finds what keeps the packets from coming back.
func (f *findings) broken(w *Way, label string, net netip.Prefix, why []string, x *explained) {
	if x.underlay {
		text := x.why[len(x.why)-1]
		for _, h := range f.hosts(w, nil) {
			text += fmt.Sprintf("; %s, host %s: %s", h.site, h.host, h.path)
		}
		one := f.at("underlay"+sorted(w.From, w.To), Finding{Site: w.From, Remote: w.To, Text: text,
			Hint: "Look at the way between these addresses from both hosts: the route to the other one, and what firewalls drop."})
		one.Ways = append(one.Ways, label)
		return
	}
	attached := false
	for _, c := range x.causes {
		known := f.ofCause(w, c, net)
		if len(known) == 0 {
			known = []*Finding{f.at("cause "+c.site+" "+c.text, Finding{Site: c.site, Text: c.text, Hint: c.remedy})}
		}
		for _, k := range known {
			if !slices.Contains(k.Ways, label) {
				k.Ways = append(k.Ways, label)
			}
		}
		attached = true
	}
	if attached {
		return
	}
	// The tables were not asked, or do not say: what is known of the two sites may be it.
	for _, k := range f.list {
		if !k.Unproved && f.concerns(k, w) {
			k.Ways = append(k.Ways, label)
			return
		}
	}
	text := "no packet comes back"
	if all := append(slices.Clone(why), x.why...); len(all) > 0 {
		text += ": " + strings.Join(unique(all), "; ")
	}
	one := f.at("broken"+sorted(w.From, w.To), Finding{Site: w.From, Remote: w.To, Text: text})
	one.Ways = append(one.Ways, label)
}

// ofCause are the differences from the file that explain where a packet ends: those of its network if
// there are any, else all of that site towards the other one.
func (f *findings) ofCause(w *Way, c cause, net netip.Prefix) []*Finding {
	var all, exact []*Finding
	for _, x := range f.list {
		if x.Unproved || x.key != "" || x.Site != c.site || !f.concerns(x, w) {
			continue
		}
		all = append(all, x)
		if net.IsValid() && strings.Contains(x.Text, net.String()) {
			exact = append(exact, x)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return all
}

// concerns tells whether a finding is about the two sites of a way.
func (f *findings) concerns(x *Finding, w *Way) bool {
	ofPair := func(site string) bool { return site == w.From || site == w.To }
	return x.key == "" && ofPair(x.Site) && (x.Remote == "" || ofPair(x.Remote))
}

// at gives the finding of a key, which is added if it is new.
func (f *findings) at(key string, x Finding) *Finding {
	for _, old := range f.list {
		if old.key == key {
			return old
		}
	}
	x.key = key
	f.list = append(f.list, &x)
	return &x
}

func sorted(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return " " + a + " " + b
}

// words puts what was found of a way into its report.
func (r *run) words(w *Way) {
	w.Why = append(w.Why, w.ex.why...)
	w.Traces = w.ex.traces
	if w.base == Broken || w.base == NotMeasured {
		for _, p := range r.status.Pairs { // of both directions: the answers come back
			if (p.From == w.From && p.To == w.To || p.From == w.To && p.To == w.From) && p.State != plan.InSync {
				w.Why = append(w.Why, p.Why...)
			}
		}
	}
	w.Why = unique(w.Why)
	for k := range w.Networks {
		n := &w.Networks[k]
		n.Why, n.Traces = unique(append(n.Why, n.ex.why...)), n.ex.traces
	}
}
