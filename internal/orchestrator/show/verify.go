package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
)

// maxTraces bounds the ways whose traces are written for people; --json has all.
const maxTraces = 4

// Verified writes what was proved of a peering: a line for each pair of sites, and for
// those that are not as they should be what is missing or wrong.
func Verified(w io.Writer, st Style, r *verify.Result) error {
	var b strings.Builder
	good := 0
	rows := make([][]string, 0, len(r.Pairs))
	for _, p := range r.Pairs {
		if p.State == verify.Passes {
			good++
		}
		rows = append(rows, verifiedRow(p))
	}
	word := st.paint(green, "all packets pass")
	if !r.Passes {
		word = st.paint(red, fmt.Sprintf("%d of %d ways are not as they should be", len(r.Pairs)-good, len(r.Pairs)))
	}
	fmt.Fprintf(&b, "%s: %s\n", st.paint(bold, "peering "+r.Peering), word)
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
		if err := cli.Table(&b, []string{"from", "to", "state", "answered", "lost", "round trip", "path MTU"}, rows); err != nil {
			return err
		}
	}
	traced := 0
	for _, p := range r.Pairs {
		if p.State == verify.Passes || len(p.Why) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s → %s: %s\n", p.From, p.To, st.paint(red, string(p.State)))
		for _, why := range p.Why {
			fmt.Fprintf(&b, "  %s\n", plain(why))
		}
		if len(p.Traces) > 0 && traced < maxTraces {
			traced++
			for _, t := range p.Traces {
				verifiedTrace(&b, t)
			}
		}
	}
	problems(&b, st, "In the way:", red, r.Problems)
	problems(&b, st, "Note:", yellow, r.Warnings)
	_, err := io.WriteString(w, b.String())
	return err
}

func verifiedRow(p verify.Way) []string {
	row := []string{p.From, p.To, string(p.State), "", "", "", ""}
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
