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

// series is the values of one test and variant, one a round.
type series struct {
	Test    string    `json:"test"`
	Variant string    `json:"variant"`
	Unit    string    `json:"unit"`
	Values  []float64 `json:"values"`
	Median  float64   `json:"median"`
}

// ratio compares two variants round by round.
type ratio struct {
	Test   string  `json:"test"`
	Num    string  `json:"numerator"`
	Den    string  `json:"denominator"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	// Exact is false where there were too few rounds for a 95 % interval: then
	// low and high are the extremes.
	Exact bool    `json:"exact_95"`
	Goal  float64 `json:"goal,omitempty"`
	Met   *bool   `json:"met,omitempty"`
}

// goal is a ratio to reach: at least, or (of times) at most. With byInterval it
// is enough that the interval reaches it.
type goal struct {
	test, num, den string
	value          float64
	atMost         bool
	byInterval     bool
}

var goals = []goal{
	{"udp64", "C", "K", 2.4, false, false},
	{"udp64", "C", "R", 1.7, false, false},
	{"rtt", "C", "K", 0.62, true, false},
	{"bulk", "C", "K", 1.2, false, false},
	{"udp64", "L", "C", 0.95, false, true},
	{"rtt", "L", "C", 1 / 0.95, true, true},
	{"bulk", "L", "C", 0.95, false, true},
}

func (g goal) met(r ratio) bool {
	value := r.Median
	if g.byInterval {
		value = r.High
		if g.atMost {
			value = r.Low
		}
	}
	if g.atMost {
		return value <= g.value
	}
	return value >= g.value
}

// output is all that a run found; it is what -json writes.
type output struct {
	Kernel   string             `json:"kernel"`
	CPUs     int                `json:"cpus"`
	Rounds   int                `json:"rounds"`
	Loaded   string             `json:"loaded,omitempty"`
	Series   []series           `json:"series"`
	Ratios   []ratio            `json:"ratios"`
	Programs []programCost      `json:"programs,omitempty"`
	Memory   map[string]float64 `json:"memory_mb,omitempty"`
	Times    []latency          `json:"times,omitempty"`
}

// letters says what the variants are.
var letters = []struct{ letter, meaning string }{
	{"K", "Linux bridges, a namespace as router, a kernel vxlan device"},
	{"N", "K with bridge netfilter and connection tracking, as reference agents leave it"},
	{"R", "plain routing into a point-to-point kernel vxlan device"},
	{"V", "plain routing, no tunnel"},
	{"C", "Causeway"},
	{"O", "another binary of Causeway (-older)"},
	{"L", "Causeway with 10,000 routes, 10,000 remote MAC entries and 1,000 VNIs"},
}

// compare makes the ratios of Causeway to each other variant, and of loaded to
// unloaded Causeway.
func (o *output) compare() {
	values := map[[2]string][]float64{}
	for _, s := range o.Series {
		values[[2]string{s.Test, s.Variant}] = s.Values
	}
	for _, t := range tests {
		for _, pair := range [][2]string{{"C", "K"}, {"C", "N"}, {"C", "R"}, {"C", "V"}, {"C", "O"}, {"L", "C"}} {
			x := stats.Ratios(values[[2]string{t.name, pair[0]}], values[[2]string{t.name, pair[1]}])
			if len(x) == 0 {
				continue
			}
			r := ratio{Test: t.name, Num: pair[0], Den: pair[1], Median: stats.Median(x)}
			r.Low, r.High, r.Exact = stats.Interval(x)
			for _, g := range goals {
				if g.test == r.Test && g.num == r.Num && g.den == r.Den {
					met := g.met(r)
					r.Goal, r.Met = g.value, &met
				}
			}
			o.Ratios = append(o.Ratios, r)
		}
	}
}

func (o *output) print(w io.Writer) error {
	fmt.Fprintf(w, "\nkernel %s, %d CPUs, %d rounds; medians\n\n", o.Kernel, o.CPUs, o.Rounds)
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	for _, l := range letters {
		var row []string
		for _, s := range o.Series {
			if s.Variant == l.letter {
				row = append(row, fmt.Sprintf("%s %.4g %s", s.Test, s.Median, s.Unit))
			}
		}
		if len(row) > 0 {
			fmt.Fprintf(tw, "%s\t%s\t%s\n", l.letter, strings.Join(row, "\t"), l.meaning)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(o.Ratios) > 0 {
		fmt.Fprintf(w, "\nmedians of the ratios of each round, 95 %% intervals\n\n")
	}
	for _, r := range o.Ratios {
		line := fmt.Sprintf("%s\t%s/%s\t%.3f\t[%.3f, %.3f]", r.Test, r.Num, r.Den, r.Median, r.Low, r.High)
		if !r.Exact {
			line += " (extremes: too few rounds for an interval)"
		}
		if r.Met != nil {
			line += fmt.Sprintf("\tgoal %.3g: %s", r.Goal, map[bool]string{true: "met", false: "NOT met"}[*r.Met])
		}
		fmt.Fprintln(tw, line)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(o.Programs) > 0 {
		fmt.Fprintf(w, "\nprograms under 64-byte UDP, measured apart (the measurement costs time itself)\n\n")
	}
	for _, p := range o.Programs {
		fmt.Fprintf(tw, "%s\t%s\t%d runs\t%.0f ns each\n", p.Where, p.Program, p.Runs, p.Nanoseconds)
	}
	if len(o.Memory) > 0 {
		fmt.Fprintf(tw, "\nmemory\t\n")
	}
	for _, k := range sortedKeys(o.Memory) {
		fmt.Fprintf(tw, "%s\t%.1f MB\n", k, o.Memory[k])
	}
	if len(o.Times) > 0 {
		fmt.Fprintf(tw, "\ntimes\t\n")
	}
	for _, t := range o.Times {
		fmt.Fprintf(tw, "%s\tp50 %.2f ms\tworst %.2f ms\t%d times\n", t.What, t.P50, t.Worst, t.Count)
	}
	return tw.Flush()
}

func (o *output) write(path string) error {
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
