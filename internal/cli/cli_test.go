package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
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
