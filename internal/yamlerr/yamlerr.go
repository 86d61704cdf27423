// Package yamlerr says where a file of YAML is wrong. The parser tells of a wrong indentation the
// line on which the block begins, less one; people look for the line that is to be changed.
package yamlerr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	numbered = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	// block is what the parser says where a line is set in by too much or too little.
	block = map[string]string{
		"did not find expected key":                              "it is set in by too much or too little, or the line before is not ended",
		"did not find expected '-' indicator":                    "it is set in by too much or too little, or lacks its -",
		"mapping values are not allowed in this context":         "it is set in by too much, or has a colon too many",
		"block sequence entries are not allowed in this context": "a list cannot begin here",
		"found a tab character that violates indentation":        "it is set in by a tab; use spaces",
		"found character that cannot start any token":            "it begins with a character that must be in quotes, or with a tab",
		"could not find expected ':'":                            "it, or the line before, lacks a colon",
	}
)

// Explain gives the parser's error about data with the right line, and without the parser's name. Errors of
// other kinds are as they were.
func Explain(data []byte, err error) error {
	if err == nil {
		return nil
	}
	m := numbered.FindStringSubmatch(err.Error())
	var typed *yaml.TypeError
	if m == nil || errors.As(err, &typed) {
		return err
	}
	line, text := m[1], m[2]
	if why, ok := block[text]; ok {
		return fmt.Errorf("line %d: %s (%s)", firstWrong(data, text), why, text)
	}
	n, aerr := strconv.Atoi(line)
	switch {
	case aerr != nil && strings.HasPrefix(text, "did not find expected"):
		n = 1
	case aerr != nil:
		return errors.New(text)
	case strings.HasPrefix(text, "did not find expected"):
		n++ // the parser counts from 0 where it is not the scanner
	}
	return fmt.Errorf("line %d: %s", min(n, max(1, bytes.Count(data, []byte("\n")))), text)
}

// firstWrong is the first line with which a file is wrong for this reason.
func firstWrong(data []byte, text string) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	end := make([]int, len(lines)+1)
	for i, l := range lines {
		end[i+1] = end[i] + len(l)
	}
	n := sort.Search(len(lines), func(i int) bool {
		m := numbered.FindStringSubmatch(fmt.Sprint(parse(data[:end[i]])))
		return m != nil && m[2] == text
	})
	return min(max(n, 1), len(lines))
}

func parse(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
