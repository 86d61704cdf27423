package arch

import (
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/reason"
)

func tree(t *testing.T) []*file {
	t.Helper()
	files, err := load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found %d files: not the project's tree", len(files))
	}
	return files
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func TestImports(t *testing.T)  { report(t, importProblems(tree(t))) }
func TestFiles(t *testing.T)    { report(t, fileProblems(tree(t))) }
func TestPackages(t *testing.T) { report(t, packageProblems(tree(t))) }

// TestRuledPackagesExist fails when a rule names a package that is gone: a rule
// about nothing guards nothing.
func TestRuledPackagesExist(t *testing.T) {
	g := newGraph(tree(t))
	for _, e := range exactImports {
		if g[e.pkg] == nil {
			t.Errorf("a rule is about %s, which does not exist", e.pkg)
		}
	}
}

func TestReasons(t *testing.T) {
	names, texts := map[string]bool{}, map[string]bool{}
	for r := range reason.Count {
		if r.String() == "" || r.Text() == "" {
			t.Errorf("reason %d has no name or no text", r)
		}
		if names[r.String()] || texts[r.Text()] {
			t.Errorf("reason %d: name %q or text %q stands for another one too", r, r.String(), r.Text())
		}
		names[r.String()], texts[r.Text()] = true, true
		if back, ok := reason.Parse(r.String()); !ok || back != r {
			t.Errorf("Parse(%q) = %d, %v", r.String(), back, ok)
		}
	}
}

// TestAddressesAre16Bytes keeps the maps ready for IPv6: an address in the ABI
// is struct addr, and the only big-endian numbers are the first ones in tries' keys.
func TestAddressesAre16Bytes(t *testing.T) {
	var types string
	for _, f := range tree(t) {
		if f.path == "internal/dataplane/bpf/types.h" {
			types = string(f.content)
		}
	}
	if !strings.Contains(types, "struct addr {\n\t__u8 b[16];\n};") {
		t.Error("types.h: struct addr is not 16 bytes")
	}
	// What the programs alone remember, for as long as they are loaded, is no interface: a row that
	// has another width tomorrow is another program's.
	cached := map[string]bool{"outer": true}
	in := ""
	for line := range strings.Lines(types) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "struct" && fields[2] == "{" {
			in = fields[1]
		}
		if len(fields) < 2 || cached[in] {
			continue
		}
		switch strings.TrimRight(fields[1], ";") {
		case "addr", "local", "remote", "nexthop", "src":
			if fields[0] != "struct" && !strings.HasPrefix(fields[0], "/") {
				t.Errorf("types.h: %s", line)
			}
		}
		if fields[0] == "__be32" && fields[1] != "router;" && fields[1] != "id;" {
			t.Errorf("types.h: a 32-bit address? %s", line)
		}
	}
}

// TestRulesCanFail gives each rule a file that breaks it.
func TestRulesCanFail(t *testing.T) {
	pkg := func(path, imports string) *file {
		f, err := newFile(path, []byte("// Package x is.\npackage x\n\nimport (\n"+imports+")\n"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	src := func(path, content string) *file {
		f, err := newFile(path, []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	own := func(dir string) string { return "\t_ \"" + module + "/" + dir + "\"\n" }
	for _, c := range []struct {
		name  string
		check func([]*file) []string
		files []*file
		want  string
	}{
		{"model imports", importProblems, []*file{pkg("internal/model/a.go", own("internal/reason"))}, "share, so they depend on none"},
		{"trace imports", importProblems, []*file{pkg("internal/trace/a.go", own("internal/hostnet"))}, "the pipeline for people is pure"},
		{"host reaches store", importProblems, []*file{
			pkg("internal/agent/a.go", own("internal/between")),
			pkg("internal/between/a.go", own("internal/site")),
		}, "internal/agent → internal/between → internal/site"},
		{"client reaches site", importProblems, []*file{pkg("internal/demo/a.go", own("internal/site"))}, "only through its HTTP API"},
		{"second owner of etcd", importProblems, []*file{pkg("internal/site/a.go", "\t_ \"go.etcd.io/etcd/client/v3\"\n")}, "belongs to internal/store/etcdstore"},
		{"second owner of ebpf", importProblems, []*file{pkg("internal/agent/a.go", "\t_ \"github.com/cilium/ebpf/link\"\n")}, "maps and programs have one writer"},
		{"impure", importProblems, []*file{pkg("internal/packet/a.go", "\t_ \"net\"\n")}, "do no I/O"},
		{"model with a library", importProblems, []*file{pkg("internal/model/a.go", "\t_ \"github.com/google/uuid\"\n")}, "standard library only"},
		{"long", fileProblems, []*file{src("a.c", "/* SPDX-License-Identifier: Apache-2.0 */"+strings.Repeat("\n", maxLines+1))}, "seldom one thing"},
		{"licence", fileProblems, []*file{src("a.c", "int x;\n")}, "no SPDX"},
		{"later", fileProblems, []*file{src("a.md", "this is a TO"+"DO\n")}, "line 1 says"},
		{"machine", fileProblems, []*file{src("a.md", "see /wo"+"rk/main\n")}, "path of one machine"},
		{"gofmt", fileProblems, []*file{src("a.go", "package x\nvar  a int\n")}, "gofmt"},
		{"init", fileProblems, []*file{src("a.go", "package x\n\nfunc init() {}\n")}, "func init()"},
		{"skip", fileProblems, []*file{src("a_test.go", "package x\n\nfunc f(t T) { t.Skip() }\n")}, "skips itself through"},
		{"sleep", fileProblems, []*file{src("a.go", "package x\n\nfunc f() { time.Sleep(1) }\n")}, "wait for the event"},
		{"no package comment", packageProblems, []*file{src("a/a.go", "package x\n")}, "0 package comments"},
		{"two package comments", packageProblems, []*file{pkg("a/a.go", ""), pkg("a/b.go", "")}, "2 package comments"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(c.check(c.files), "\n")
			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}
