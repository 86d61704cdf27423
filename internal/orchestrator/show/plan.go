// Package show writes plans, their progress and the state of peerings for people,
// and plans as the commands of the OpenStack clients.
package show

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// Style says how output looks.
type Style struct{ Colour bool }

// The colours of terminals (ECMA-48 §8.3.117).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

func (s Style) paint(code, text string) string {
	if !s.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Plan writes a plan as a difference: what is added (+), changed (~) and taken away
// (-) at each site; and what stands in the way.
func Plan(w io.Writer, st Style, p *plan.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", st.paint(bold, "peering "+p.Peering))
	if p.Goal == plan.Apply && len(p.Blockers) == 0 {
		choices(&b, p)
	}
	problems(&b, st, "In the way:", red, p.Blockers)
	if len(p.Blockers) > 0 && len(p.Actions) > 0 {
		b.WriteString(st.paint(yellow, "As far as can be told, this is to be done then:") + "\n")
	}
	for _, site := range p.Sites {
		steps(&b, st, p, site)
	}
	problems(&b, st, "Note:", yellow, p.Warnings)
	b.WriteString(summary(p) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func choices(b *strings.Builder, p *plan.Plan) {
	c := p.Choices
	fmt.Fprintf(b, "  multi-site network %s, VNI %d", c.CIDR, c.VNI)
	if c.MTU != 0 {
		fmt.Fprintf(b, ", MTU %d", c.MTU)
	}
	b.WriteString("\n")
	wide := 0
	for _, s := range c.Sites {
		wide = max(wide, len(s.Site))
	}
	for _, s := range c.Sites {
		if !s.Address.IsValid() {
			continue
		}
		nets := make([]string, len(s.Advertise))
		for i, n := range s.Advertise {
			nets[i] = n.String()
		}
		const most = 6
		if len(nets) > most {
			nets = append(nets[:most:most], fmt.Sprintf("and %d more", len(s.Advertise)-most))
		}
		fmt.Fprintf(b, "  %-*s  %s, %s, tunnel IP %s: %s\n", wide, s.Site, s.Address, s.MAC, s.TunnelIP, strings.Join(nets, ", "))
	}
}

// steps writes one site's actions. Marks that go with what is made are not worth a
// line each.
func steps(b *strings.Builder, st Style, p *plan.Plan, site string) {
	begun := false
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Site != site || !a.IsStep() {
			continue
		}
		if !begun {
			begun = true
			fmt.Fprintf(b, "%s\n", st.paint(bold, site))
		}
		l := line(a)
		code := map[byte]string{'+': green, '~': yellow, '-': red}[l[0]]
		fmt.Fprintf(b, "  %s %s\n", st.paint(code, l[:1]), plain(l[2:]))
	}
}

// line is what a step looks like in a difference.
func line(a *plan.Action) string {
	switch a.Op {
	case plan.Create, plan.Attach:
		return "+ " + a.What
	case plan.Delete, plan.Detach:
		return "- " + a.What
	case plan.AddTag:
		return "~ " + a.What + ": mark " + a.Tag
	case plan.RemoveTag:
		return "~ " + a.What + ": no mark " + a.Tag
	case plan.AddRoutes:
		return "+ " + a.What + ": " + routes(a.Routes)
	case plan.RemoveRoutes:
		return "- " + a.What + ": " + routes(a.Routes)
	case plan.Update:
		var out []string
		for _, k := range slices.Sorted(maps.Keys(a.Attrs)) {
			out = append(out, fmt.Sprintf("%s %s → %s", k, plan.Text(a.Before[k]), plan.Text(a.Attrs[k])))
		}
		return "~ " + a.What + ": " + strings.Join(out, ", ")
	}
	return "~ " + a.What
}

// routes are those of one step: by each next hop the networks that it leads to.
func routes(list []observed.Route) string {
	by := map[netip.Addr][]string{}
	var hops []netip.Addr
	for _, r := range list {
		if by[r.NextHop] == nil {
			hops = append(hops, r.NextHop)
		}
		by[r.NextHop] = append(by[r.NextHop], r.Destination.String())
	}
	parts := make([]string, 0, len(hops))
	for _, h := range hops {
		word := "route"
		if len(by[h]) > 1 {
			word = "routes"
		}
		parts = append(parts, fmt.Sprintf("%s to %s by %s", word, strings.Join(by[h], ", "), h))
	}
	return strings.Join(parts, "; ")
}

func problems(b *strings.Builder, st Style, title, colour string, ps []plan.Problem) {
	if len(ps) == 0 {
		return
	}
	fmt.Fprintf(b, "%s\n", st.paint(colour, title))
	for _, p := range ps {
		fmt.Fprintf(b, "  %s\n", plain(p.String()))
		if p.Hint != "" {
			fmt.Fprintf(b, "    %s\n", plain(p.Hint))
		}
		if p.Command != "" {
			fmt.Fprintf(b, "    Mend it with: %s\n", plain(p.Command))
		}
	}
}

// summary is a plan in one line.
func summary(p *plan.Plan) string {
	switch c := plan.CountOf(p.Actions); {
	case len(p.Blockers) == 1:
		return "1 thing stands in the way; nothing can be done until it is gone."
	case len(p.Blockers) > 1:
		return fmt.Sprintf("%d things stand in the way; nothing can be done until they are gone.", len(p.Blockers))
	case len(p.Actions) == 0 && p.Goal == plan.Destroy:
		return "Nothing of it is there."
	case len(p.Actions) == 0:
		return "Everything is as the file says."
	default:
		return fmt.Sprintf("%s at %s: %d to add, %d to change, %d to take away.", Count(c.Steps, "step"), Count(c.Sites, "site"), c.Add, c.Change, c.Remove)
	}
}

// Count is a number of things.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
