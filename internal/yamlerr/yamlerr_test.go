package yamlerr

import (
	"fmt"
	"strings"
	"testing"
)

// TestLines: the line that is told is the one to be changed.
func TestLines(t *testing.T) {
	long := strings.Repeat("# comment\n", 500)
	for text, want := range map[string]string{
		"a: 1\n b: 2\n":                       "line 2: it is set in",
		"a:\n    b: 1\n  c: 1\n\n\n\nd: 1\n":  "line 3: it is set in",
		"a:\n  - b\n c: 1\nd: 1\n":            "line 3: it is set in",
		"---\na: 1\n---\nb:\n  c: 1\n d: 1\n": "line 6: it is set in",
		"a: 1\n\tb: 2\n":                      "line 2: it is set in by a tab",
		"a: b: c\n":                           "line 1: it is set in by too much, or has a colon too many",
		"x: y\na: 1\nb: [1,\nc: 2\n":          "line 3: did not find expected ',' or ']'",
		"x: y\na: {b: 1\nc: 2\n":              "line 2: did not find expected ',' or '}'",
		"a: 'x\nb: 1\n":                       "found unexpected end of stream",
		"a: [":                                "line 1: did not find expected node content",
		"spec:\n  sites:\n  - name: a\n    cloud: x\n   gateway: g\n    router: r\n":    "line 5: it is set in",
		"spec:\n  sites:\n  - name: a\n    cloud: x\n     gateway: g\n    router: r\n":  "line 5: it is set in by too much, or has a colon",
		"spec:\n  a: 1\n" + long + "  b: 1\n c: 2\n" + long + "  sites:\n  - name: a\n": "line 504: it is set in",
	} {
		err := parse([]byte(text))
		if err == nil {
			t.Errorf("%q is no error", text)
			continue
		}
		if got := fmt.Sprint(Explain([]byte(text), err)); !strings.Contains(got, want) || strings.Contains(got, "yaml:") {
			t.Errorf("%.60q: %s (of %v), want %s", text, got, err, want)
		}
	}
}

func FuzzExplain(f *testing.F) {
	f.Add("a:\n    b: 1\n  c: 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		if err := parse([]byte(text)); err != nil && Explain([]byte(text), err) == nil {
			t.Error("the error is gone")
		}
	})
}
