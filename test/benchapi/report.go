package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/causeway-net/causeway/test/stats"
)

// series is the values of one test and server, one a round.
type series struct {
	Test   string    `json:"test"`
	Server string    `json:"server"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
	Low    float64   `json:"low"`
	High   float64   `json:"high"`
	more   bool
}

// ratio compares two series round by round.
type ratio struct {
	Test   string  `json:"test"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	// Exact is false where there were too few rounds for a 95 % interval: then low
	// and high are the extremes.
	Exact bool    `json:"exact_95"`
	Goal  float64 `json:"goal,omitempty"`
	Met   *bool   `json:"met,omitempty"`
}

// aim is a figure of Causeway alone beside what it is to be.
type aim struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Most  float64 `json:"at_most"`
	Met   bool    `json:"met"`
}

// goals are how many times better than Neutron Causeway has to be.
var goals = map[string]float64{
	"create port":            50,
	"create port, 8 clients": 100,
	"list 400 ports":         50,
}

// Aims of Causeway's own.
const (
	mostList   = 150.0 // ms for 10,000 ports
	mostGrowth = 1.2   // the low end of the ratio's interval
	mostMemory = 500.0 // MB resident
	mostBare   = 1.6   // of a bare transaction's time
	mostEight  = 0.25  // ms for each of eight clients' creates: 4,000 a second
)

// output is all that a run found; it is what -json writes.
type output struct {
	CPUs   int       `json:"cpus"`
	Rounds int       `json:"rounds"`
	Disk   float64   `json:"fdatasync_ms"`
	Series []*series `json:"series"`
	Ratios []ratio   `json:"ratios"`
	// Older are the ratios to the older version.
	Older  []ratio `json:"older,omitempty"`
	Own    *own    `json:"own,omitempty"`
	Growth *ratio  `json:"growth,omitempty"`
	// Bare is the rate of eight clients' creates over that of bare transactions.
	Bare *ratio  `json:"bare_8_clients,omitempty"`
	Aims []aim   `json:"aims,omitempty"`
	Took float64 `json:"took_s"`
}

func (o *output) find(test, server string) *series {
	for _, s := range o.Series {
		if s.Test == test && s.Server == server {
			return s
		}
	}
	return nil
}

func (o *output) add(t test, server string, value float64) {
	s := o.find(t.name, server)
	if s == nil {
		s = &series{Test: t.name, Server: server, Unit: t.unit, more: t.more}
		o.Series = append(o.Series, s)
	}
	s.Values = append(s.Values, value)
}

// conclude computes medians, ratios and whether they are what they are to be.
func (o *output) conclude() {
	for _, s := range o.Series {
		s.Median = stats.Median(s.Values)
		s.Low, s.High, _ = stats.Interval(s.Values)
	}
	o.Ratios, o.Older = o.better("Neutron"), o.better(older)
	for i := range o.Ratios {
		r := &o.Ratios[i]
		if goal, ok := goals[r.Test]; ok {
			met := r.Median >= goal
			r.Goal, r.Met = goal, &met
		}
	}
	if s := o.find("list 10,000 ports", "Causeway"); s != nil {
		o.Aims = append(o.Aims, aim{"list of 10,000 ports", s.Median, "ms", mostList, s.Median <= mostList})
	}
	if s := o.find("create port, 8 clients", "Causeway"); s != nil {
		each := 1000 / s.Median
		o.Aims = append(o.Aims, aim{"create port, 8 clients, for each", each, "ms", mostEight, each <= mostEight})
	}
	if b := o.find(bareTransaction, "Causeway"); b != nil {
		x := stats.Median(stats.Ratios(o.find("create port", "Causeway").Values, b.Values))
		o.Aims = append(o.Aims, aim{"create port, against a bare etcd transaction", x, "times", mostBare, x <= mostBare})
	}
	if b := o.find(bareTransactions, "Causeway"); b != nil {
		x := stats.Ratios(o.find("create port, 8 clients", "Causeway").Values, b.Values)
		r := ratio{Test: "create port, 8 clients, against the same of bare etcd", Median: stats.Median(x)}
		r.Low, r.High, r.Exact = stats.Interval(x)
		o.Bare = &r
	}
	if o.Own != nil {
		g := o.Own.growth()
		o.Growth = &g
		o.Aims = append(o.Aims,
			aim{"low end of the growth's interval", g.Low, "times", mostGrowth, g.Low <= mostGrowth},
			aim{fmt.Sprintf("resident with %d ports", o.Own.Many), o.Own.Resident, "MB", mostMemory, o.Own.Resident <= mostMemory})
	}
}

// better is how many times better Causeway is than another, whichever way better is.
func (o *output) better(other string) []ratio {
	var out []ratio
	for _, c := range o.Series {
		n := o.find(c.Test, other)
		if c.Server != causeway || n == nil {
			continue
		}
		x := stats.Ratios(n.Values, c.Values)
		if c.more {
			x = stats.Ratios(c.Values, n.Values)
		}
		r := ratio{Test: c.Test, Median: stats.Median(x)}
		r.Low, r.High, r.Exact = stats.Interval(x)
		out = append(out, r)
	}
	return out
}

var words = map[bool]string{true: "met", false: "NOT met"}

func (o *output) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%d CPUs, %d rounds, %.0f s in all; fdatasync of this disk %.3f ms p50\n", o.CPUs, o.Rounds, o.Took, o.Disk)
	fmt.Fprintf(w, "one client and p50 unless it says otherwise; medians of the rounds, 95 %% intervals\n\n")
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	for _, s := range o.Series {
		fmt.Fprintf(tw, "%s\t%s\t%.4g %s\t[%.4g, %.4g]\n", s.Test, s.Server, s.Median, s.Unit, s.Low, s.High)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(o.Ratios) > 0 {
		fmt.Fprintf(w, "\nhow many times better than Neutron: medians of the ratios of each round, 95 %% intervals\n\n")
	}
	for _, r := range o.Ratios {
		line := r.line()
		if r.Met != nil {
			line += fmt.Sprintf("\tgoal %.3g: %s", r.Goal, words[*r.Met])
		}
		fmt.Fprintln(tw, line)
	}
	if len(o.Older) > 0 {
		fmt.Fprintf(tw, "\nhow many times better than the older version: medians of the ratios of each round, 95 %% intervals\n\n")
	}
	for _, r := range o.Older {
		fmt.Fprintln(tw, r.line())
	}
	if o.Bare != nil {
		fmt.Fprintf(tw, "\n%s\n", o.Bare.line())
	}
	if o.Own != nil {
		fmt.Fprintf(tw, "\nCauseway alone, all ports in one network\n\n")
		fmt.Fprintf(tw, "create port, %d there\t%.3f ms\n", o.Own.Little, stats.Median(o.Own.CreateLittle))
		fmt.Fprintf(tw, "create port, %d there\t%.3f ms\n", o.Own.Many, stats.Median(o.Own.CreateMany))
		fmt.Fprintln(tw, o.Growth.line())
		fmt.Fprintf(tw, "resident: empty %.0f MB, with %d ports %.0f MB, of which live heap %.0f MB\n", o.Own.EmptyRSS, o.Own.Many, o.Own.Resident, o.Own.LiveHeap)
		fmt.Fprintf(tw, "the %d ports were made in %.1f s (%.0f a second)\n", o.Own.Many, o.Own.Filled, float64(o.Own.Many)/o.Own.Filled)
	}
	if len(o.Aims) > 0 {
		fmt.Fprintln(tw)
	}
	for _, a := range o.Aims {
		fmt.Fprintf(tw, "%s\t%.4g %s\tat most %.4g: %s\n", a.What, a.Value, a.Unit, a.Most, words[a.Met])
	}
	return tw.Flush()
}

func (r ratio) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\t%.2f\t[%.2f, %.2f]", r.Test, r.Median, r.Low, r.High)
	if !r.Exact {
		b.WriteString(" (extremes: too few rounds for an interval)")
	}
	return b.String()
}

func (o *output) write(path string) error {
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
