// Package show writes plans, their progress and the state of peerings for people,
// and plans as the commands of the OpenStack clients.
package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

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
	for _, site := range p.Sites {
		steps(&b, st, p, site)
	}
	problems(&b, st, "In the way:", red, p.Blockers)
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
	made := map[string]bool{}
	begun := false
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Site != site {
			continue
		}
		if a.Op == plan.Create {
			made[a.ID] = true
		}
		for _, l := range lines(a, made) {
			if !begun {
				begun = true
				fmt.Fprintf(b, "%s\n", st.paint(bold, site))
			}
			code := map[byte]string{'+': green, '~': yellow, '-': red}[l[0]]
			fmt.Fprintf(b, "  %s %s\n", st.paint(code, l[:1]), plain(l[2:]))
		}
	}
}

// lines are what an action looks like in a difference.
func lines(a *plan.Action, made map[string]bool) []string {
	switch a.Op {
	case plan.Create:
		return []string{"+ " + a.What}
	case plan.Delete, plan.Detach:
		return []string{"- " + a.What}
	case plan.Attach:
		return []string{"+ " + a.What}
	case plan.AddTag:
		if made[a.Target.From] {
			return nil
		}
		return []string{"~ " + a.What + ": mark " + a.Tag}
	case plan.RemoveTag:
		return []string{"~ " + a.What + ": no mark " + a.Tag}
	case plan.AddRoutes, plan.RemoveRoutes:
		sign := "+"
		if a.Op == plan.RemoveRoutes {
			sign = "-"
		}
		var out []string
		for _, r := range a.Routes {
			out = append(out, fmt.Sprintf("%s %s: route to %s by %s", sign, a.What, r.Destination, r.NextHop))
		}
		return out
	case plan.Update:
		var out []string
		for _, k := range slices.Sorted(maps.Keys(a.Attrs)) {
			out = append(out, fmt.Sprintf("~ %s: %s %s → %s", a.What, k, plan.Text(a.Before[k]), plan.Text(a.Attrs[k])))
		}
		return out
	}
	return nil
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
	}
}

// summary is a plan in one line.
func summary(p *plan.Plan) string {
	var add, change, remove int
	sites := map[string]bool{}
	for i := range p.Actions {
		sites[p.Actions[i].Site] = true
		switch p.Actions[i].Op {
		case plan.Create, plan.Attach, plan.AddRoutes:
			add++
		case plan.Delete, plan.Detach, plan.RemoveRoutes:
			remove++
		case plan.AddTag:
			if p.Actions[i].Target.From == "" { // else it goes with what is added
				change++
			}
		case plan.Update, plan.RemoveTag:
			change++
		}
	}
	switch n := len(p.Actions); {
	case len(p.Blockers) == 1:
		return "1 thing stands in the way; nothing can be done until it is gone."
	case len(p.Blockers) > 1:
		return fmt.Sprintf("%d things stand in the way; nothing can be done until they are gone.", len(p.Blockers))
	case n == 0 && p.Goal == plan.Destroy:
		return "Nothing of it is there."
	case n == 0:
		return "Everything is as the file says."
	default:
		return fmt.Sprintf("%s at %s: %d to add, %d to change, %d to take away.", Count(n, "step"), Count(len(sites), "site"), add, change, remove)
	}
}

// Count is a number of things.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
