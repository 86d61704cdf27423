// Command report turns "go test -json" into what a person wants to read: go
// test's own line for each package, the whole output of each test that failed,
// the slowest tests, the tests that failed with the last they said, and those that skipped themselves. With -no-skips those
// are failures.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	noSkips := flag.Bool("no-skips", false, "a skipped test is a failure")
	flag.Parse()
	if err := report(os.Stdin, os.Stdout, *noSkips); err != nil {
		fmt.Fprintln(os.Stderr, "test-report:", err)
		os.Exit(1)
	}
}

// event is a line of go test -json; see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

type testName struct{ pkg, test string }

// failure is a test that failed, and the last of what it said.
type failure struct {
	name testName
	tail string
}

const tailLines = 20

// timing is how long a test took, seconds.
type timing struct {
	name    testName
	elapsed float64
}

// slowTests of those that took as long as slowTest, in seconds, are named.
const (
	slowTests = 15
	slowTest  = 10
)

func slowest(all []timing) []timing {
	slices.SortStableFunc(all, func(a, b timing) int { return cmp.Compare(b.elapsed, a.elapsed) })
	return all[:min(len(all), slowTests)]
}

func tail(text *strings.Builder) string {
	if text == nil {
		return ""
	}
	lines := slices.Collect(strings.Lines(text.String()))
	return strings.Join(lines[max(0, len(lines)-tailLines):], "")
}

// report copies until the end of in. Its error says what failed; a run without
// any package is an error too.
func report(in io.Reader, out io.Writer, noSkips bool) error {
	output := map[testName]*strings.Builder{}
	failed := map[string]bool{}
	var skipped []testName
	var failures []failure
	var slow []timing
	packages, tests := 0, 0
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the test events: %w", err)
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(out, "%s", line) // the go command itself speaks
			continue
		}
		name := testName{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "build-fail":
			failed[e.ImportPath] = true
		case "output":
			if output[name] == nil {
				output[name] = new(strings.Builder)
			}
			output[name].WriteString(e.Output)
		case "pass", "skip", "fail":
			finish(out, e, output[name])
			if e.Action == "fail" && e.Test != "" {
				failures = append(failures, failure{name, tail(output[name])})
			}
			delete(output, name)
			if e.Test == "" {
				packages++
				if e.Action == "fail" {
					failed[e.Package] = true
				}
				continue
			}
			tests++
			if e.Elapsed >= slowTest && !strings.Contains(e.Test, "/") {
				slow = append(slow, timing{name, e.Elapsed})
			}
			if e.Action == "skip" {
				skipped = append(skipped, name)
			}
		}
	}
	for name, rest := range output { // a process that died in the middle of a test
		fmt.Fprintf(out, "%s %s did not end:\n%s", name.pkg, name.test, rest)
		if name.test != "" {
			failures = append(failures, failure{name, tail(rest)})
		}
	}
	for _, s := range slowest(slow) {
		fmt.Fprintf(out, "%.0f s: %s %s\n", s.elapsed, s.name.pkg, s.name.test)
	}
	for _, f := range failures { // once more, at the end: what was printed of them may lie far above
		fmt.Fprintf(out, "FAILED %s %s\n%s", f.name.pkg, f.name.test, f.tail)
	}
	for _, s := range skipped {
		fmt.Fprintf(out, "SKIPPED %s %s\n", s.pkg, s.test)
	}
	fmt.Fprintf(out, "%d packages, %d tests, %d skipped\n", packages, tests, len(skipped))
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%d packages failed", len(failed))
	case packages == 0:
		return errors.New("no package was tested")
	case noSkips && len(skipped) > 0:
		return fmt.Errorf("%d tests skipped themselves", len(skipped))
	}
	return nil
}

// finish prints what a test or a package that has ended leaves to read: of a
// package go test's result line, all of it when it failed; of a test its
// output when it failed, nothing else.
func finish(out io.Writer, e event, text *strings.Builder) {
	if text == nil {
		return
	}
	switch {
	case e.Action == "fail":
		fmt.Fprint(out, text.String())
	case e.Test == "":
		for line := range strings.Lines(text.String()) {
			if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "? ") || strings.HasPrefix(line, "\t") {
				fmt.Fprint(out, line)
			}
		}
	}
}
