package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

type coded struct{ error }

func (coded) ExitCode() int { return 3 }
func (coded) Hint() string  { return "inner way out" }

func TestReport(t *testing.T) {
	base := errors.New("cause")
	for _, tc := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{base, 1, "causeway: cause\n"},
		{&Error{What: "x create", Err: base}, 1, "causeway: x create: cause\n"},
		{&Error{What: "x create", Err: Usagef("bad %d", 1)}, 2, "causeway: x create: bad 1\n"},
		{&Error{What: "x", Err: coded{base}}, 3, "causeway: x: cause\n  inner way out\n"},
		{&Error{What: "x", Err: fmt.Errorf("y: %w", coded{base}), Hint: "outer"}, 3, "causeway: x: y: cause\n  inner way out\n  outer\n"},
		{&Error{What: "x", Err: errors.Join(base, coded{base})}, 3, "causeway: x: cause\ncause\n"},
		{Hinted(base, "do %s", "that"), 1, "causeway: cause\n  do that\n"},
		{Hinted(nil, "x"), 0, ""},
		{Exit(7), 7, ""},
		{Hinted(errors.New("name\x1b[2Jä\u009b"), "a\r"), 1, "causeway: name\\x1b[2Jä\\u009b\n  a\\r\n"},
		{&Error{What: "x", Err: context.Canceled}, 130, "causeway: interrupted\n"},
	} {
		var b bytes.Buffer
		if code := Report(&b, tc.err); code != tc.code || b.String() != tc.want {
			t.Errorf("%v: code %d, %q; want %d, %q", tc.err, code, b.String(), tc.code, tc.want)
		}
	}
}

func TestText(t *testing.T) {
	for _, tc := range []struct{ json, want string }{
		{`null`, ""},
		{`true`, "True"},
		{`16777215`, "16777215"},
		{`"x"`, "x"},
		{`["a","b"]`, "a, b"},
		{`[{"b":1,"a":"x"},{"a":"y"}]`, "a='x', b='1'\na='y'"},
		{`{}`, ""},
	} {
		var v any
		if err := json.Unmarshal([]byte(tc.json), &v); err != nil {
			t.Fatal(err)
		}
		if got := Text(v); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.json, got, tc.want)
		}
	}
}

func TestOutput(t *testing.T) {
	rows := []Row{
		{"id": "1", "name": "grün", "n": 5.0, "list": []any{"a", "b"}, "extra": nil},
		{"id": "2", "name": "", "n": 6.0, "list": []any{}},
	}
	cols := []string{"id", "name", "list"}
	for _, tc := range []struct {
		name string
		out  Output
		want string
	}{
		{"table", Output{}, "+----+------+------+\n| id | name | list |\n+----+------+------+\n| 1  | grün | a, b |\n| 2  |      |      |\n+----+------+------+\n"},
		{"value", Output{Format: "value"}, "1 grün a, b\n2  \n"},
		{"json keeps the order", Output{Format: "json", Columns: []string{"list", "id"}}, "[\n  {\n    \"list\": [\n      \"a\",\n      \"b\"\n    ],\n    \"id\": \"1\"\n  },\n  {\n    \"list\": [],\n    \"id\": \"2\"\n  }\n]\n"},
		{"yaml", Output{Format: "yaml", Columns: []string{"n", "ID"}}, "- n: 5\n  id: \"1\"\n- n: 6\n  id: \"2\"\n"},
		{"a column that is not shown by itself", Output{Format: "value", Columns: []string{"N"}}, "5\n6\n"},
	} {
		var b bytes.Buffer
		if err := tc.out.List(&b, cols, rows); err != nil || b.String() != tc.want {
			t.Errorf("%s: %v\n%q, want\n%q", tc.name, err, b.String(), tc.want)
		}
	}
	var b bytes.Buffer
	if err := (Output{Columns: []string{"nme"}}).List(&b, cols, rows); err == nil || !strings.Contains(err.Error(), "there are id, name, list") {
		t.Errorf("unknown column: %v", err)
	}
	if err := (Output{Format: "csv"}).Show(&b, cols, rows[0]); err == nil {
		t.Error("unknown format is accepted")
	}
	b.Reset()
	if err := (Output{Format: "value", Columns: []string{"name", "n"}}).Show(&b, cols, rows[0]); err != nil || b.String() != "grün\n5\n" {
		t.Errorf("show: %v, %q", err, b.String())
	}
}

// TestGraver: of several results a failure counts most, whatever the numbers are.
func TestGraver(t *testing.T) {
	byGravity := []int{ExitOK, ExitChanges, ExitBlocked, ExitLeased, ExitFailure}
	for i, a := range byGravity {
		for j, b := range byGravity {
			if got, want := Graver(a, b), byGravity[max(i, j)]; got != want {
				t.Errorf("of %d and %d: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestData(t *testing.T) {
	v := []struct {
		Name string            `json:"name"`
		Tags map[string]string `json:"tags"`
		MTU  int               `json:"mtu"`
	}{{"a<b", map[string]string{"x": "1"}, 1450}}
	for format, want := range map[string]string{
		"json": "[\n  {\n    \"name\": \"a<b\",\n    \"tags\": {\n      \"x\": \"1\"\n    },\n    \"mtu\": 1450\n  }\n]\n",
		"yaml": "- name: a<b\n  tags:\n    x: \"1\"\n  mtu: 1450\n",
	} {
		var b bytes.Buffer
		if err := Data(&b, format, v); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%s", format, err, &b)
		}
	}
	if err := Data(&bytes.Buffer{}, "table", v); err == nil {
		t.Error("a table of anything")
	}
}

const steering = "a\x1b[2J\x9b\u009b31m\u202e\r\nFORGED\u2028\x7f\U000e0041"

func steers(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) })
}

// TestNothingSteers: in no form does a name steer a terminal or begin a line, and data keeps what it is.
func TestNothingSteers(t *testing.T) {
	valid := strings.ToValidUTF8(steering, "�")
	for _, format := range Formats() {
		var b bytes.Buffer
		steering := valid // as an API's JSON is read
		if format == "table" || format == "value" {
			steering = "a\x1b[2J\x9b\u009b31m\u202e\r\nFORGED\u2028\x7f\U000e0041"
		}
		row := Row{"name": steering, "list": []any{map[string]any{steering: steering}}, steering: steering}
		out := Output{Format: format}
		if err := errors.Join(out.List(&b, []string{"name", "list"}, []Row{row}), out.Show(&b, []string{"name", "list", steering}, row)); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); steers(got) || strings.Contains(got, "\nFORGED") || !strings.Contains(got, "FORGED") {
			t.Errorf("%s: %q", format, got)
		}
	}
	for _, format := range []string{FormatJSON, FormatYAML} {
		var b bytes.Buffer
		if err := Data(&b, format, map[string]any{"name": valid}); err != nil || steers(b.String()) {
			t.Errorf("%s: %v %q", format, err, &b)
		}
		var back map[string]string
		unmarshal := json.Unmarshal
		if format == FormatYAML {
			unmarshal = yaml.Unmarshal
		}
		if err := unmarshal(b.Bytes(), &back); err != nil || back["name"] != valid {
			t.Errorf("%s: %v, %q is read as %q", format, err, &b, back["name"])
		}
	}
	var b bytes.Buffer
	Report(&b, &Error{What: steering, Err: errors.Join(errors.New(steering), fmt.Errorf("x: %w", errors.New(steering))), Hint: steering})
	if got := b.String(); steers(got) || strings.Contains(got, "\nFORGED") || strings.Count(got, "FORGED") != 4 {
		t.Errorf("error: %q", got)
	}
}

// TestTerminal: only the commands' own sequences pass, and only to a terminal. Pieces do not matter.
func TestTerminal(t *testing.T) {
	for _, c := range []struct {
		live     bool
		in, want string
	}{
		{false, "grün\n\tx\n", "grün\n\tx\n"},
		{false, "\x1b[31mred\x1b[0m\r", `\x1b[31mred\x1b[0m\r`},
		{true, "\r\x1b[K\x1b[31mred\x1b[0m", "\r\x1b[K\x1b[31mred\x1b[0m"},
		{true, "\x1b[2J\x1b]0;x\x07\u009b2J\x9b", `\x1b[2J\x1b]0;x\a\u009b2J\x9b`},
		{true, "\x1b[8m", `\x1b[8m`},
	} {
		for cut := range len(c.in) {
			if c.live && strings.Contains(c.in[:cut], "\x1b") {
				break // our own sequences are written whole
			}
			var b bytes.Buffer
			w := NewTerminal(&b, c.live)
			for _, piece := range []string{c.in[:cut], c.in[cut:]} {
				if n, err := io.WriteString(w, piece); err != nil || n != len(piece) {
					t.Fatal(n, err)
				}
			}
			if b.String() != c.want {
				t.Errorf("%q cut at %d: %q, want %q", c.in, cut, &b, c.want)
			}
		}
	}
}
