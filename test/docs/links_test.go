package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	fenced     = regexp.MustCompile("(?ms)^```.*?^```$")
	notInSlugs = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// slug is the anchor that a heading has where Markdown is shown with links to headings.
func slug(heading string) string {
	return strings.ReplaceAll(notInSlugs.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// TestLinks: what a page links to in this tree is there, down to the heading.
func TestLinks(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	anchors := map[string]map[string]bool{}
	for _, p := range pages {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		anchors[p] = map[string]bool{}
		for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(b), ""), -1) {
			anchors[p][slug(m[1])] = true
		}
	}
	links := 0
	for _, p := range pages {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(b), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			to := p
			if file != "" {
				to = filepath.Join(filepath.Dir(p), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: link to %s: %v", p, m[1], err)
			} else if anchor != "" && !anchors[to][anchor] {
				t.Errorf("%s: link to %s: the page has no such heading", p, m[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were looked at", links)
	}
}
