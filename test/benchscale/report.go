package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// row is one figure.
type row struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Aim   float64 `json:"aim,omitempty"` // at most; 0: there is none
	Met   *bool   `json:"met,omitempty"`
	Note  string  `json:"note,omitempty"`
}

// output is all that was found.
type output struct {
	Law      string  `json:"law"`
	Site     string  `json:"site"`
	CPUs     int     `json:"cpus"`
	Hosts    int     `json:"hosts"`
	Ports    int     `json:"ports"`
	Networks int     `json:"networks"`
	Routers  int     `json:"routers"`
	Real     bool    `json:"real_agent"`
	Took     float64 `json:"took_s"`
	Rows     []row   `json:"rows"`
}

// aim adds a figure that is to be at most so much.
func (o *output) aim(what string, value float64, unit string, most float64, note string, args ...any) {
	met := value <= most
	o.add(row{what, value, unit, most, &met, fmt.Sprintf(note, args...)})
}

// tell adds a figure without an aim.
func (o *output) tell(what string, value float64, unit, note string, args ...any) {
	o.add(row{What: what, Value: value, Unit: unit, Note: fmt.Sprintf(note, args...)})
}

// add says a figure at once: a large run takes long.
func (o *output) add(r row) {
	o.Rows = append(o.Rows, r)
	fmt.Printf("  %s: %.4g %s  %s\n", r.What, r.Value, r.Unit, r.Note)
}

var words = map[bool]string{true: "met", false: "SHORT"}

func (o *output) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s\n\nThe site is drawn so: %s.\n\n%d CPUs for the controller, all agents and this program; %.0f s in all.\n\n", o.Site, o.Law, o.CPUs, o.Took)
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "what\tvalue\taim\t\t")
	for _, r := range o.Rows {
		aim, met := "", ""
		if r.Met != nil {
			aim, met = fmt.Sprintf("<= %.4g", r.Aim), words[*r.Met]
		}
		fmt.Fprintf(tw, "%s\t%.4g %s\t%s\t%s\t%s\n", r.What, r.Value, r.Unit, aim, met, r.Note)
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
