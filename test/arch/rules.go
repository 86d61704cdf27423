package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"regexp"
	"sort"
	"strings"
)

// maxLines is the length from which a file is too long to be read as one thing.
const maxLines = 600

// unfinished are words that mark what was left for later. They are put together
// here so that this file passes its own rule.
var unfinished = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	"TO" + "DO", "FIX" + "ME", "X" + "XX", "not " + "implemented", "un" + "implemented", "place" + "holder", "for " + "now",
}, "|") + `)\b`)

// machinePath are paths that exist on somebody's machine only.
var machinePath = regexp.MustCompile(`(^|[^a-zA-Z0-9_.\-/])/(work|farm|home/[a-z]+|root|tmp/cw)/`)

// skipOwner is the one package that may stop a test from running.
const skipOwner = "internal/testutil"

// fileProblems checks what each file must keep on its own.
func fileProblems(files []*file) []string {
	var out []string
	for _, f := range files {
		add := func(format string, args ...any) {
			out = append(out, f.path+": "+fmt.Sprintf(format, args...))
		}
		if f.generated {
			continue
		}
		code := f.isGo() || f.isC()
		if n := bytes.Count(f.content, []byte("\n")); code && n > maxLines {
			add("%d lines; over %d a file is seldom one thing", n, maxLines)
		}
		if f.isC() && !bytes.Contains(firstLine(f.content), []byte("SPDX-License-Identifier: ")) {
			add("no SPDX licence line; the kernel asks for the licence of each program")
		}
		if code || strings.HasSuffix(f.path, ".md") {
			for n, line := range bytes.Split(f.content, []byte("\n")) {
				if w := unfinished.Find(line); w != nil {
					add("line %d says %q; finish it, or refuse it in words", n+1, w)
				}
			}
		}
		if m := machinePath.Find(f.content); m != nil && f.path != "go.sum" {
			add("has a path of one machine: %q", m)
		}
		if f.isGo() {
			if formatted, err := format.Source(f.content); err != nil || !bytes.Equal(formatted, f.content) {
				add("gofmt would change it")
			}
			for _, p := range goProblems(f) {
				add("%s", p)
			}
		}
	}
	sort.Strings(out)
	return out
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return line
}

// goProblems looks at the declarations and calls of one Go file.
func goProblems(f *file) []string {
	var out []string
	ast.Inspect(f.parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				out = append(out, "func init(): what runs before main has no caller to tell of an error")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			switch {
			case f.isTest() && !within(f.dir(), skipOwner) && (n.Sel.Name == "Skip" || n.Sel.Name == "Skipf" || n.Sel.Name == "SkipNow") && len(x.Name) <= 2:
				out = append(out, x.Name+"."+n.Sel.Name+": a test skips itself through "+skipOwner+", which makes that a failure in CI")
			case x.Name == "time" && n.Sel.Name == "Sleep" && !f.isTest():
				out = append(out, "time.Sleep: wait for the event, with a deadline, and let a context end the wait")
			}
		}
		return true
	})
	return out
}

// packageProblems checks that each package says what it is for, in one file.
func packageProblems(files []*file) []string {
	docs := map[string]int{}
	kind := map[string]string{}
	for _, f := range files {
		if !f.isGo() || f.isTest() || f.generated {
			continue
		}
		name := f.parsed.Name.Name
		want := "Package " + name + " "
		if name == "main" {
			want = "Command "
		}
		kind[f.dir()] = want
		if strings.HasPrefix(f.doc, want) {
			docs[f.dir()]++
		} else {
			docs[f.dir()] += 0
		}
	}
	var out []string
	for dir, n := range docs {
		if n != 1 {
			out = append(out, fmt.Sprintf("%s: %d package comments that begin %q, want one", dir, n, kind[dir]))
		}
	}
	sort.Strings(out)
	return out
}
