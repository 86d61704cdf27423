package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Formats are the values of -f.
var formats = []string{"table", "json", "yaml", "value"}

// Formats lists the values of -f.
func Formats() []string { return slices.Clone(formats) }

// Output is how the user wants to see resources.
type Output struct {
	Format  string   // table if empty
	Columns []string // all if empty; names in any case, with _ or space
}

// Row is one resource: values by column name. A value is what encoding/json makes
// of a reply: nil, string, bool, json.Number or float64, []any, map[string]any.
type Row map[string]any

// Validate checks the format.
func (o Output) Validate() error {
	if o.Format != "" && !slices.Contains(formats, o.Format) {
		return Usagef("-f %s: unknown format; one of %s", o.Format, strings.Join(formats, ", "))
	}
	return nil
}

// pick chooses the columns to show, in the order asked for.
func (o Output) pick(columns []string, known func(string) bool) ([]string, error) {
	if len(o.Columns) == 0 {
		return columns, nil
	}
	var out []string
	for _, c := range o.Columns {
		name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(c)), " ", "_")
		if !slices.Contains(columns, name) && !known(name) {
			return nil, Usagef("-c %s: no such column; there are %s", c, strings.Join(columns, ", "))
		}
		out = append(out, name)
	}
	return out, nil
}

// List writes many resources, one a line in table and value.
func (o Output) List(w io.Writer, columns []string, rows []Row) error {
	if err := o.Validate(); err != nil {
		return err
	}
	cols, err := o.pick(columns, func(c string) bool {
		return slices.ContainsFunc(rows, func(r Row) bool { _, ok := r[c]; return ok })
	})
	if err != nil {
		return err
	}
	switch o.Format {
	case "json":
		return writeJSON(w, jsonList(cols, rows))
	case "yaml":
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, r := range rows {
			m, err := yamlRow(cols, r)
			if err != nil {
				return err
			}
			n.Content = append(n.Content, m)
		}
		return writeYAML(w, n)
	case "value":
		for _, r := range rows {
			cells := make([]string, len(cols))
			for i, c := range cols {
				cells[i] = Text(r[c])
			}
			if _, err := fmt.Fprintln(w, strings.Join(cells, " ")); err != nil {
				return err
			}
		}
		return nil
	}
	body := make([][]string, len(rows))
	for i, r := range rows {
		for _, c := range cols {
			body[i] = append(body[i], Text(r[c]))
		}
	}
	return Table(w, cols, body)
}

// Show writes one resource, a field a line in table and value.
func (o Output) Show(w io.Writer, columns []string, row Row) error {
	if err := o.Validate(); err != nil {
		return err
	}
	cols, err := o.pick(columns, func(c string) bool { _, ok := row[c]; return ok })
	if err != nil {
		return err
	}
	switch o.Format {
	case "json":
		return writeJSON(w, jsonRow(cols, row))
	case "yaml":
		n, err := yamlRow(cols, row)
		if err != nil {
			return err
		}
		return writeYAML(w, n)
	case "value":
		for _, c := range cols {
			if _, err := fmt.Fprintln(w, Text(row[c])); err != nil {
				return err
			}
		}
		return nil
	}
	var body [][]string
	for _, c := range cols {
		body = append(body, []string{Plain(c), Text(row[c])})
	}
	return Table(w, []string{"Field", "Value"}, body)
}

// Table draws rows in a frame, as the OpenStack client does. What is not printable in a cell is written
// out, but for the ends of its lines.
func Table(w io.Writer, header []string, rows [][]string) error {
	lines := make([][][]string, 0, len(rows)) // row → cell → lines of the cell
	width := make([]int, len(header))
	for i, h := range header {
		width[i] = utf8.RuneCountInString(h)
	}
	for _, r := range rows {
		cells := make([][]string, len(header))
		for i := range header {
			cells[i] = strings.Split(r[i], "\n")
			for j, l := range cells[i] {
				cells[i][j] = Plain(l)
				width[i] = max(width[i], utf8.RuneCountInString(cells[i][j]))
			}
		}
		lines = append(lines, cells)
	}
	var b bytes.Buffer
	rule := func() {
		for _, n := range width {
			b.WriteString("+" + strings.Repeat("-", n+2))
		}
		b.WriteString("+\n")
	}
	line := func(cells []string) {
		for i, n := range width {
			b.WriteString("| " + cells[i] + strings.Repeat(" ", n-utf8.RuneCountInString(cells[i])) + " ")
		}
		b.WriteString("|\n")
	}
	rule()
	line(header)
	rule()
	for _, cells := range lines {
		height := 1
		for _, c := range cells {
			height = max(height, len(c))
		}
		for y := range height {
			one := make([]string, len(cells))
			for i, c := range cells {
				if y < len(c) {
					one[i] = c[y]
				}
			}
			line(one)
		}
	}
	if len(lines) > 0 {
		rule()
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Text is a value as people read it in a cell.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return Plain(v)
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		return v.String()
	case []any:
		parts := make([]string, len(v))
		simple := true
		for i, e := range v {
			parts[i] = Text(e)
			if _, ok := e.(map[string]any); ok {
				simple = false
			}
		}
		if simple {
			return strings.Join(parts, ", ")
		}
		return strings.Join(parts, "\n")
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		parts := make([]string, len(keys))
		for i, k := range keys {
			parts[i] = Plain(k) + "='" + Text(v[k]) + "'"
		}
		return strings.Join(parts, ", ")
	}
	return Plain(fmt.Sprint(v))
}

// orderedRow marshals with its columns in order.
type orderedRow struct {
	cols []string
	row  Row
}

func (o orderedRow) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, c := range o.cols {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(o.row[c])
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func jsonRow(cols []string, r Row) orderedRow { return orderedRow{cols, r} }

func jsonList(cols []string, rows []Row) []orderedRow {
	out := make([]orderedRow, len(rows))
	for i, r := range rows {
		out[i] = jsonRow(cols, r)
	}
	return out
}

func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escapeData(b.Bytes(), false))
	return err
}

func yamlRow(cols []string, r Row) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, c := range cols {
		var v yaml.Node
		if err := v.Encode(plain(r[c])); err != nil {
			return nil, fmt.Errorf("write column %s as yaml: %w", c, err)
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: c}, &v)
	}
	return n, nil
}

// plain turns json.Number, which yaml would quote, into numbers.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	}
	return v
}

func writeYAML(w io.Writer, n *yaml.Node) error {
	quoteUnprintable(n)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(n), e.Close()); err != nil {
		return err
	}
	_, err := w.Write(escapeData(b.Bytes(), true))
	return err
}

// quoteUnprintable has texts in double quotes where escapes are to have a meaning.
func quoteUnprintable(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && Plain(n.Value) != n.Value {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		quoteUnprintable(c)
	}
}
