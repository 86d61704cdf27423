package main

import (
	"strings"
	"testing"
)

const passing = `{"Action":"start","Package":"example/a"}
{"Action":"run","Package":"example/a","Test":"TestOne"}
{"Action":"output","Package":"example/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"output","Package":"example/a","Test":"TestOne","Output":"chatter\n"}
{"Action":"pass","Package":"example/a","Test":"TestOne","Elapsed":0}
{"Action":"output","Package":"example/a","Output":"PASS\n"}
{"Action":"output","Package":"example/a","Output":"ok  \texample/a\t0.003s\n"}
{"Action":"pass","Package":"example/a","Elapsed":0.003}
`

const skipping = `{"Action":"output","Package":"example/b","Test":"TestTwo","Output":"    b_test.go:9: needs root\n"}
{"Action":"skip","Package":"example/b","Test":"TestTwo","Elapsed":0}
{"Action":"output","Package":"example/b","Output":"ok  \texample/b\t0.001s\n"}
{"Action":"pass","Package":"example/b","Elapsed":0.001}
`

const failing = `{"Action":"output","Package":"example/c","Test":"TestThree","Output":"    c_test.go:7: wrong\n"}
{"Action":"fail","Package":"example/c","Test":"TestThree","Elapsed":0}
{"Action":"output","Package":"example/c","Output":"FAIL\n"}
{"Action":"output","Package":"example/c","Output":"FAIL\texample/c\t0.001s\n"}
{"Action":"fail","Package":"example/c","Elapsed":0.001}
`

const dying = `{"Action":"output","Package":"example/d","Test":"TestFour","Output":"half a sentence\n"}
{"Action":"output","Package":"example/d","Output":"panic: out of luck\n"}
{"Action":"output","Package":"example/d","Output":"FAIL\texample/d\t0.001s\n"}
{"Action":"fail","Package":"example/d","Elapsed":0.001}
`

const slow = `{"Action":"pass","Package":"example/f","Test":"TestQuick","Elapsed":9.9}
{"Action":"pass","Package":"example/f","Test":"TestSlow","Elapsed":12}
{"Action":"pass","Package":"example/f","Test":"TestSlower/part","Elapsed":60}
{"Action":"pass","Package":"example/f","Test":"TestSlower","Elapsed":61}
{"Action":"pass","Package":"example/f","Elapsed":83}
`

const unbuilt = `{"ImportPath":"example/e","Action":"build-output","Output":"e.go:3:1: syntax error\n"}
{"ImportPath":"example/e","Action":"build-fail"}
`

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, in string
		noSkips  bool
		err      string
		has      []string
		hasNot   []string
	}{
		{"pass", passing, true, "", []string{"ok  \texample/a\t0.003s\n", "1 packages, 1 tests, 0 skipped"}, []string{"chatter", "PASS"}},
		{"skip allowed", passing + skipping, false, "", []string{"SKIPPED example/b TestTwo"}, nil},
		{"skip refused", passing + skipping, true, "1 tests skipped themselves", []string{"SKIPPED example/b TestTwo"}, nil},
		{"fail", passing + failing, false, "1 packages failed", []string{"FAIL\texample/c", "FAILED example/c TestThree\n    c_test.go:7: wrong\n2 packages"}, nil},
		{"panic", dying, false, "1 packages failed", []string{"panic: out of luck", "FAILED example/d TestFour\nhalf a sentence\n"}, nil},
		{"slow", slow, false, "", []string{"61 s: example/f TestSlower\n12 s: example/f TestSlow\n"}, []string{"part", "Quick"}},
		{"no build", unbuilt, false, "1 packages failed", []string{"e.go:3:1: syntax error"}, nil},
		{"nothing", "", false, "no package was tested", nil, nil},
		{"go itself", "go: no such package\n", false, "no package was tested", []string{"go: no such package"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := report(strings.NewReader(c.in), &out, c.noSkips)
			if got := errText(err); got != c.err {
				t.Errorf("error %q, want %q", got, c.err)
			}
			for _, s := range c.has {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output lacks %q:\n%s", s, out.String())
				}
			}
			for _, s := range c.hasNot {
				if strings.Contains(out.String(), s) {
					t.Errorf("output has %q:\n%s", s, out.String())
				}
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
