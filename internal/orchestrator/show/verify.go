package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
)

// maxTraces bounds the ways whose traces are written for people; --json has all.
const maxTraces = 4

// maxLabels bounds the ways that are named with a finding.
const maxLabels = 6

// Verified writes what was proved of a peering: each finding once, with what mends it, and a line for each
// pair of sites.
func Verified(w io.Writer, st Style, r *verify.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", st.paint(bold, "peering "+r.Peering), verdict(st, r))
	found(&b, st, r)
	var rows [][]string
	for i := range r.Pairs {
		rows = append(rows, verifiedRow(&r.Pairs[i]))
	}
	// All pairs of many sites are too many lines; those that are well say nothing.
	const most = 60
	if len(rows) > most {
		kept := rows[:0]
		for i, row := range rows {
			if r.Pairs[i].State != verify.Passes && len(kept) < most {
				kept = append(kept, row)
			}
		}
		rows = kept
	}
	if len(rows) > 0 {
		if err := cli.Table(&b, []string{"from", "to", "state", "answered", "lost", "round trip", "path MTU", "networks"}, rows); err != nil {
			return err
		}
	}
	traces(&b, r)
	var notes []plan.Problem
	for _, p := range r.Warnings {
		if !p.Stops { // else it is among the findings
			notes = append(notes, p)
		}
	}
	problems(&b, st, "Note:", yellow, notes)
	_, err := io.WriteString(w, b.String())
	return err
}

// verdict is all of it in one line.
func verdict(st Style, r *verify.Result) string {
	if r.Passes {
		s := fmt.Sprintf("all packets pass, between %s", Count(len(r.Pairs), "pair")+" of routers")
		if r.Ways.All > 0 {
			s += fmt.Sprintf(" and into %d of %d networks of other sites", r.Ways.Passed, r.Ways.All)
		}
		return st.paint(green, s)
	}
	wrong, unproved, ways := 0, 0, 0
	for _, f := range r.Findings {
		if f.Unproved {
			unproved++
		} else {
			wrong++
		}
	}
	for i := range r.Pairs {
		if s := r.Pairs[i].State; s != verify.Passes && s != verify.NotProbed && s != verify.NotMeasured {
			ways++
		}
	}
	if wrong > 0 {
		return st.paint(red, fmt.Sprintf("%s; packets of %d of %d pairs of sites do not pass as they should", Count(wrong, "finding"), ways, len(r.Pairs)))
	}
	return st.paint(yellow, fmt.Sprintf("what was probed passes (%d of %d ways into networks); %s not proved", r.Ways.Passed, r.Ways.All, Count(unproved, "thing")))
}

func found(b *strings.Builder, st Style, r *verify.Result) {
	title := ""
	for _, f := range r.Findings {
		now, colour := "Found:", red
		if f.Unproved {
			now, colour = "Not proved:", yellow
		}
		if now != title {
			title = now
			fmt.Fprintf(b, "%s\n", st.paint(colour, title))
		}
		fmt.Fprintf(b, "  %s\n", plain(f.String()))
		if n := len(f.Ways); n > 0 {
			labels := strings.Join(f.Ways[:min(n, maxLabels)], "; ")
			if n > maxLabels {
				labels += fmt.Sprintf("; and %d more", n-maxLabels)
			}
			word := "Packets are lost"
			if f.Unproved {
				word = "Not known"
			}
			fmt.Fprintf(b, "    %s: %s\n", word, plain(labels))
		}
		if f.Hint != "" {
			fmt.Fprintf(b, "    %s\n", plain(f.Hint))
		}
		if f.Command != "" {
			fmt.Fprintf(b, "    Mend it with: %s\n", plain(f.Command))
		}
	}
}

// traces writes the ways of packets that nothing else explains.
func traces(b *strings.Builder, r *verify.Result) {
	traced := 0
	one := func(label string, ts []verify.SiteTrace) {
		if len(ts) == 0 || traced == maxTraces {
			return
		}
		traced++
		fmt.Fprintf(b, "%s by the sites' tables:\n", plain(label))
		for _, t := range ts {
			verifiedTrace(b, t)
		}
	}
	for i := range r.Pairs {
		p := &r.Pairs[i]
		one(p.From+" → "+p.To, p.Traces)
		for _, n := range p.Networks {
			one(p.From+" → "+p.To+", "+n.Network.String(), n.Traces)
		}
	}
}

func verifiedRow(p *verify.Way) []string {
	row := []string{p.From, p.To, string(p.State), "", "", "", "", ""}
	if n := len(p.Networks); n > 0 {
		good := 0
		for _, x := range p.Networks {
			if x.State == verify.Passes {
				good++
			}
		}
		row[7] = fmt.Sprintf("%d of %d", good, n)
	}
	if p.Probe == nil {
		return row
	}
	row[3], row[4] = fmt.Sprintf("%d of %d", p.Probe.Received, p.Probe.Sent), fmt.Sprintf("%.0f %%", 100*p.Probe.Loss)
	if t := p.Probe.RTT; t != nil {
		row[5] = fmt.Sprintf("%.2f ms", t.Avg/1000)
	}
	if p.Probe.PathMTU > 0 {
		row[6] = fmt.Sprint(p.Probe.PathMTU)
	}
	return row
}

func verifiedTrace(b *strings.Builder, t verify.SiteTrace) {
	fmt.Fprintf(b, "  %s, %s:\n", t.Site, t.Part)
	for _, h := range t.Trace.Hops {
		line := h.At + ": " + h.Decision
		switch {
		case h.Reason != "":
			line += " → dropped: " + h.Reason
		case h.Result != "":
			line += " → " + h.Result
		}
		fmt.Fprintf(b, "    %s\n", plain(line))
		if h.Remedy != "" {
			fmt.Fprintf(b, "      %s\n", plain(h.Remedy))
		}
	}
}
