package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// Status writes the state of a peering: every pair of sites, and what has drifted.
func Status(w io.Writer, st Style, s *plan.Status) error {
	var b strings.Builder
	word := st.paint(green, "in sync")
	if !s.InSync {
		word = st.paint(red, "not in sync")
	}
	fmt.Fprintf(&b, "%s: %s\n", st.paint(bold, "peering "+s.Peering), word)
	rows := make([][]string, 0, len(s.Pairs))
	good := 0
	for _, p := range s.Pairs {
		if p.State == plan.InSync {
			good++
		}
		rows = append(rows, []string{p.From, p.To, string(p.State), fmt.Sprint(len(p.Why))})
	}
	// All pairs of many sites are too many lines; those that are well say nothing.
	const most = 30
	if len(rows) > most {
		fmt.Fprintf(&b, "%d of %d pairs are in sync\n", good, len(rows))
		kept := rows[:0]
		for _, r := range rows {
			if r[2] != string(plan.InSync) && len(kept) < most {
				kept = append(kept, r)
			}
		}
		if rows = kept; len(rows) < len(s.Pairs)-good {
			fmt.Fprintf(&b, "the first %d of the others:\n", len(rows))
		}
	}
	if len(rows) > 0 {
		if err := cli.Table(&b, []string{"from", "to", "state", "differences"}, rows); err != nil {
			return err
		}
	}
	for _, d := range s.Drift {
		fmt.Fprintf(&b, "  %s\n", plain(d.String()))
	}
	problems(&b, st, "In the way:", red, s.Problems)
	problems(&b, st, "Note:", yellow, s.Warnings)
	_, err := io.WriteString(w, b.String())
	return err
}
