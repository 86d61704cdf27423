package clients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The files of testdata are lists of exchanges, in this form:
//
//	# a comment
//	== a heading: what follows is a test of its own
//	$ a command of a client; "$!" of one that has to fail; "$ -" for requests that
//	the test makes itself, because no client here has the command
//	> a text that the command prints
//	as NAME: the requests from here on are made with that user's token
//	POST /v2.0/networks {"network":{"name":"a"}}
//	201 {"network":{"id":"<NET>","name":"a"}}
//	GET /v2.0/networks/nothing
//	404 NetworkNotFound Network nothing could not be found.
//
// In an answer a string in angle brackets stands for a kind of value (<uuid>, <int>,
// <bool>, <string>, <mac>, <time>, <any>, <absent>), or, in capitals, for a value that
// gets that name and that $NET stands for from then on. Objects of answers may have
// further keys; those of requests may not. ["..."] is any list;
// one that begins with "<unordered>" may come in any order.

// exchange is a request and its answer.
type exchange struct {
	line         int
	user         string // whose token goes with it; "" for the run's own
	method, path string
	body         string
	status       int
	errorType    string
	message      string
	answer       string
}

// step is a command, if any, and the exchanges it makes.
type step struct {
	line      int
	command   string
	fails     bool
	prints    []string
	exchanges []exchange
}

type section struct {
	name  string
	steps []step
}

func readSections(t *testing.T, path string) []section {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := parseSections(filepath.Base(path), string(b))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return out
}

var requestLine = regexp.MustCompile(`^(GET|PUT|POST|DELETE|PATCH|HEAD) `)

func parseSections(name, text string) ([]section, error) {
	out := []section{{name: name}}
	user := ""
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		last := &out[len(out)-1]
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "as "):
			user = line[3:]
		case strings.HasPrefix(line, "== "):
			out = append(out, section{name: line[3:]})
		case strings.HasPrefix(line, "$"):
			command, fails := strings.CutPrefix(line, "$! ")
			if !fails {
				command = strings.TrimPrefix(line, "$ ")
			}
			last.steps = append(last.steps, step{line: n, command: command, fails: fails})
		case strings.HasPrefix(line, "> "):
			if len(last.steps) == 0 {
				return nil, fmt.Errorf("line %d: output before a command", n)
			}
			s := &last.steps[len(last.steps)-1]
			s.prints = append(s.prints, line[2:])
		case requestLine.MatchString(line):
			if len(last.steps) == 0 {
				last.steps = append(last.steps, step{line: n})
			}
			e := exchange{line: n, user: user}
			e.method, e.path, _ = strings.Cut(line, " ")
			e.path, e.body, _ = strings.Cut(e.path, " ")
			s := &last.steps[len(last.steps)-1]
			s.exchanges = append(s.exchanges, e)
		default:
			if len(last.steps) == 0 || len(last.steps[len(last.steps)-1].exchanges) == 0 {
				return nil, fmt.Errorf("line %d: an answer before a request", n)
			}
			s := &last.steps[len(last.steps)-1]
			if err := s.exchanges[len(s.exchanges)-1].readAnswer(line); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	for _, sec := range out {
		for _, s := range sec.steps {
			for _, e := range s.exchanges {
				if e.status == 0 {
					return nil, fmt.Errorf("line %d: no answer", e.line)
				}
			}
		}
	}
	return slices.DeleteFunc(out, func(s section) bool { return len(s.steps) == 0 }), lines.Err()
}

func (e *exchange) readAnswer(line string) (err error) {
	if e.status != 0 {
		return fmt.Errorf("a second answer")
	}
	status, rest, _ := strings.Cut(line, " ")
	if e.status, err = strconv.Atoi(status); err != nil {
		return fmt.Errorf("neither a command, nor a request, nor an answer: %q", line)
	}
	if e.status/100 == 2 || strings.HasPrefix(rest, "{") {
		e.answer = rest
		return nil
	}
	e.errorType, e.message, _ = strings.Cut(rest, " ")
	return nil
}

// names are the values that got a name.
type names map[string]string

var nameUse = regexp.MustCompile(`\$([A-Z][A-Z0-9_]*)`)

// fill puts the values in the place of their names.
func (n names) fill(text string) string {
	return nameUse.ReplaceAllStringFunc(text, func(use string) string {
		if v, ok := n[use[1:]]; ok {
			return v
		}
		return use
	})
}

var (
	uuidText = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	macText  = regexp.MustCompile(`^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$`)
	timeText = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$`)
	nameText = regexp.MustCompile(`^<[A-Z][A-Z0-9_]*>$`)
)

var kinds = map[string]func(any) bool{
	"<any>":    func(any) bool { return true },
	"<string>": func(v any) bool { _, ok := v.(string); return ok },
	"<bool>":   func(v any) bool { _, ok := v.(bool); return ok },
	"<int>":    func(v any) bool { f, ok := v.(float64); return ok && f == float64(int64(f)) },
	"<uuid>":   func(v any) bool { s, ok := v.(string); return ok && uuidText.MatchString(s) },
	"<mac>":    func(v any) bool { s, ok := v.(string); return ok && macText.MatchString(s) },
	"<time>":   func(v any) bool { s, ok := v.(string); return ok && timeText.MatchString(s) },
}

// match compares a value with what is wanted and says where they differ. exact
// refuses keys that are not wanted.
func (n names) match(want, got any, exact bool, at string) error {
	switch want := want.(type) {
	case string:
		if kind, ok := kinds[want]; ok {
			if !kind(got) {
				return fmt.Errorf("%s is %s, no %s", at, asJSON(got), want)
			}
			return nil
		}
		if nameText.MatchString(want) {
			name := want[1 : len(want)-1]
			s, ok := got.(string)
			if !ok || s == "" {
				return fmt.Errorf("%s is %s, which cannot be %s", at, asJSON(got), name)
			}
			if have, ok := n[name]; ok && have != s {
				return fmt.Errorf("%s is %s, but %s was %s", at, s, name, have)
			}
			n[name] = s
			return nil
		}
		if got != any(n.fill(want)) {
			return fmt.Errorf("%s is %s, want %q", at, asJSON(got), n.fill(want))
		}
		return nil
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %s, no object", at, asJSON(got))
		}
		for k, w := range want {
			g, given := have[k]
			if w == "<absent>" {
				if given {
					return fmt.Errorf("%s has %s", at, k)
				}
				continue
			}
			if !given {
				return fmt.Errorf("%s has no %s: %s", at, k, asJSON(got))
			}
			if err := n.match(w, g, exact, at+"."+k); err != nil {
				return err
			}
		}
		if exact {
			for k := range have {
				if _, ok := want[k]; !ok {
					return fmt.Errorf("%s has %s too: %s", at, k, asJSON(have[k]))
				}
			}
		}
		return nil
	case []any:
		have, ok := got.([]any)
		if ok && len(want) == 1 && want[0] == "..." {
			return nil
		}
		if ok && len(want) == len(have)+1 && want[0] == "<unordered>" {
			return n.matchUnordered(want[1:], have, exact, at)
		}
		if !ok || len(have) != len(want) {
			return fmt.Errorf("%s is %s, want %s", at, asJSON(got), asJSON(want))
		}
		for i := range want {
			if err := n.match(want[i], have[i], exact, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Errorf("%s is %s, want %s", at, asJSON(got), asJSON(want))
	}
	return nil
}

// matchUnordered finds an element for each that is wanted.
func (n names) matchUnordered(want, have []any, exact bool, at string) error {
	left := slices.Clone(have)
	for _, w := range want {
		i := slices.IndexFunc(left, func(g any) bool { return n.match(w, g, exact, at) == nil })
		if i < 0 {
			return fmt.Errorf("%s is %s, without %s", at, asJSON(have), n.fill(asJSON(w)))
		}
		left = slices.Delete(left, i, i+1)
	}
	return nil
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// matchText compares JSON texts.
func (n names) matchText(want, got string, exact bool, at string) error {
	if want == "" {
		if got != "" && exact {
			return fmt.Errorf("%s is %s, want none", at, got)
		}
		return nil
	}
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		return fmt.Errorf("the wanted %s %s: %w", at, want, err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		return fmt.Errorf("%s %q is no JSON: %w", at, got, err)
	}
	return n.match(w, g, exact, at)
}

// matchAnswer compares a status and body with what the exchange wants.
func (e exchange) matchAnswer(n names, status int, body string) error {
	if status != e.status {
		return fmt.Errorf("answered %d %s, want %d", status, body, e.status)
	}
	if e.errorType == "" {
		return n.matchText(e.answer, body, false, "the answer")
	}
	var out struct {
		NeutronError *struct{ Type, Message, Detail string }
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil || out.NeutronError == nil {
		return fmt.Errorf("no Neutron error: %s", body)
	}
	if out.NeutronError.Type != e.errorType || !strings.Contains(out.NeutronError.Message, n.fill(e.message)) {
		return fmt.Errorf("answered %d %s %q, want %s %q", status, out.NeutronError.Type, out.NeutronError.Message, e.errorType, n.fill(e.message))
	}
	return nil
}

// sorted writes a query so that the order of its parts does not matter.
func sorted(q url.Values) string {
	for _, v := range q {
		slices.Sort(v)
	}
	return q.Encode()
}

// matchRequest compares a request that a client made with what the exchange wants.
func (e exchange) matchRequest(n names, method, path, body string) error {
	want, err := url.Parse(n.fill(e.path))
	if err != nil {
		return err
	}
	got, err := url.Parse(path)
	if err != nil {
		return err
	}
	if method != e.method || got.Path != want.Path || sorted(got.Query()) != sorted(want.Query()) {
		return fmt.Errorf("the client sent %s %s, want %s %s", method, path, e.method, want)
	}
	return n.matchText(n.fill(e.body), body, true, "the request")
}
