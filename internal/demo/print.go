package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// width is that of the lines, for the times at their right end.
const width = 96

// printer writes what people read. Errors of the output are not the demo's
// business: what it found stands in the exit code.
type printer struct {
	w      io.Writer
	colour bool
}

func newPrinter(w io.Writer, colour bool) *printer { return &printer{w, colour} }

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (p *printer) paint(code, s string) string {
	if !p.colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) title(s string)   { fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, s)) }
func (p *printer) line(s string)    { fmt.Fprintf(p.w, "  %s\n", s) }
func (p *printer) note(s string)    { fmt.Fprintf(p.w, "  %s\n", p.paint(dim, s)) }
func (p *printer) good(s string)    { fmt.Fprintf(p.w, "  %s\n", p.paint(green, s)) }
func (p *printer) bad(s string)     { fmt.Fprintf(p.w, "  %s\n", p.paint(red, s)) }
func (p *printer) pair(a, b string) { fmt.Fprintf(p.w, "  %s %s\n", p.paint(dim, pad(a, 30)), b) }

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// timed writes a line with the time at its right end. mark stands before the text
// and takes n columns.
func (p *printer) timed(mark string, n int, s string, took time.Duration) {
	t := formatTime(took)
	fmt.Fprintf(p.w, "  %s%s %s\n", mark, pad(s, width-3-n-utf8.RuneCountInString(t)), p.paint(dim, t))
}

func formatTime(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%6.2f s ", d.Seconds())
	}
	return fmt.Sprintf("%6.1f ms", float64(d.Microseconds())/1000)
}

func (p *printer) done(s string, took time.Duration) {
	p.timed(p.paint(green, "✓")+" ", 2, s, took)
}

func (p *printer) step(n int, site, what string, took time.Duration) {
	p.timed(p.paint(bold, fmt.Sprintf("%2d", n))+" "+p.paint(dim, site)+" ", 4+utf8.RuneCountInString(site), what, took)
}

func (p *printer) check(ok bool, name, detail string) {
	mark := p.paint(green, "✓")
	if !ok {
		mark = p.paint(red, "✗")
	}
	if detail != "" {
		detail = p.paint(dim, ": ") + detail
	}
	fmt.Fprintf(p.w, "  %s %s%s\n", mark, name, detail)
}

// table writes rows under a header, in columns; marked rows are those that are not
// as they must be.
func (p *printer) table(header []string, rows [][]string, bad func(i int) bool) {
	w := make([]int, len(header))
	for _, r := range append([][]string{header}, rows...) {
		for i, c := range r {
			w[i] = max(w[i], utf8.RuneCountInString(c))
		}
	}
	line := func(r []string, code string) {
		var b strings.Builder
		for i, c := range r {
			if i < len(r)-1 {
				c = pad(c, w[i]+2)
			}
			b.WriteString(c)
		}
		fmt.Fprintf(p.w, "      %s\n", p.paint(code, strings.TrimRight(b.String(), " ")))
	}
	line(header, dim)
	for i, r := range rows {
		code := ""
		if bad != nil && bad(i) {
			code = red
		}
		if code == "" {
			line(r, "0")
			continue
		}
		line(r, code)
	}
}
