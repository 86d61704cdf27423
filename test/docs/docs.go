// Package docs holds the papers to the product: what they show is run, and what
// they list is compared with what there is.
package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// block is a fenced "console" block of a page: commands after "$ ", each with the
// output that must follow it.
type block struct {
	name  string // of the "run" comment before it; "" if there is none
	line  int    // of the fence
	steps []step
}

type step struct {
	command string
	expect  []string
}

var runComment = regexp.MustCompile(`^<!-- run: ([a-z-]+) -->$`)

// blocks finds the console blocks of a page.
func blocks(page string) ([]block, error) {
	var out []block
	name := ""
	var open *block
	for i, line := range strings.Split(page, "\n") {
		switch {
		case open != nil && line == "```":
			out = append(out, *open)
			open, name = nil, ""
		case open != nil:
			n := len(open.steps)
			command, isCommand := strings.CutPrefix(line, "$ ")
			more, isMore := strings.CutPrefix(line, "> ")
			switch {
			case isCommand:
				open.steps = append(open.steps, step{command: command})
			case n == 0:
				return nil, fmt.Errorf("line %d: output before the first command", i+1)
			case isMore && len(open.steps[n-1].expect) == 0:
				open.steps[n-1].command += "\n" + more
			default:
				open.steps[n-1].expect = append(open.steps[n-1].expect, line)
			}
		case line == "```console":
			open = &block{name: name, line: i + 1}
		case runComment.MatchString(line):
			name = runComment.FindStringSubmatch(line)[1]
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block does not end", open.line)
	}
	return out, nil
}

// matches tells whether the lines expected stand in the output, in this order. "…"
// in a line stands for any text; runs of blanks are alike.
func matches(output string, expect []string) bool {
	lines := strings.Split(output, "\n")
	at := 0
	for _, want := range expect {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(squeeze(want)), "…", ".*") + "$")
		found := false
		for ; at < len(lines) && !found; at++ {
			found = pattern.MatchString(squeeze(lines[at]))
		}
		if !found {
			return false
		}
	}
	return true
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// replaceBetween puts text between two comments of a page.
func replaceBetween(page, from, to, text string) (string, error) {
	before, rest, ok := strings.Cut(page, from+"\n")
	if !ok {
		return "", fmt.Errorf("no %s", from)
	}
	_, after, ok := strings.Cut(rest, to+"\n")
	if !ok {
		return "", fmt.Errorf("no %s after %s", to, from)
	}
	return before + from + "\n" + text + to + "\n" + after, nil
}

// Commands are those of all blocks of a page's text that have this name, for a test of
// another package that runs them, and what each is shown to print.
func Commands(text, name string) (commands, expect []string, err error) {
	bs, err := blocks(text)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range bs {
		for _, s := range b.steps {
			if b.name == name {
				commands = append(commands, s.command)
				expect = append(expect, strings.Join(s.expect, "\n"))
			}
		}
	}
	if len(commands) == 0 {
		return nil, nil, fmt.Errorf("the page has no block %q", name)
	}
	return commands, expect, nil
}
