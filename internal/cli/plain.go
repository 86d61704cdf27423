package cli

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What tenants and sites choose (names, descriptions, tags, the words of errors) is printed on an
// operator's terminal. A character that steers it, hides, or begins a line of its own is written
// out instead.

// Plain gives a text that stays in its line: what is not printable is written as in Go's strings.
func Plain(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		writePlain(&b, s[i:i+n], r)
		i += n
	}
	return b.String()
}

func writePlain(b *strings.Builder, text string, r rune) {
	switch {
	case r == utf8.RuneError && len(text) == 1:
		b.WriteString(`\x` + strconv.FormatUint(uint64(text[0]), 16))
	case unicode.IsPrint(r):
		b.WriteString(text)
	default:
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
}

// plainLines is Plain for a text of several lines of our own.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = Plain(strings.ReplaceAll(l, "\t", "  "))
	}
	return strings.Join(lines, "\n")
}

// Terminal is the one way to standard output and standard error. Whatever a command writes,
// no character passes that steers a terminal, but for the few sequences that the commands
// themselves colour and rewrite lines with, and these only where there is a terminal. What
// commands must still do themselves is to keep a name in its line, with Plain.
type Terminal struct {
	w io.Writer
	// live tells that w is a terminal.
	live bool
	part []byte // of a character whose rest is to come
}

// NewTerminal writes to w.
func NewTerminal(w io.Writer, live bool) *Terminal { return &Terminal{w: w, live: live} }

// Under is where it writes to.
func (t *Terminal) Under() io.Writer { return t.w }

// ours are the sequences of the commands' own (ECMA-48 §8.3.117, §8.3.41).
var ours = []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[K"}

// Write writes text.
func (t *Terminal) Write(p []byte) (int, error) {
	s := string(append(t.part, p...))
	t.part = nil
	var b strings.Builder
	for i := 0; i < len(s); {
		if t.live {
			if at := slices.IndexFunc(ours, func(seq string) bool { return strings.HasPrefix(s[i:], seq) }); at >= 0 {
				b.WriteString(ours[at])
				i += len(ours[at])
				continue
			}
		}
		if !utf8.FullRuneInString(s[i:]) {
			t.part = []byte(s[i:])
			break
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n', r == '\t', r == '\r' && t.live:
			b.WriteRune(r)
		default:
			writePlain(&b, s[i:i+n], r)
		}
		i += n
	}
	if _, err := io.WriteString(t.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escapeData writes out what JSON and YAML leave as it is, in texts between double quotes. JSON has
// two escapes for a character beyond 16 bits (RFC 8259 §7), YAML one of its own.
func escapeData(b []byte, inYAML bool) []byte {
	s := string(b)
	if !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		return b
	}
	var out strings.Builder
	for _, r := range s {
		switch {
		case r == '\n', unicode.IsPrint(r):
			out.WriteRune(r)
		case r <= 0xffff:
			out.WriteString(`\u` + hex4(r))
		case inYAML:
			h := strconv.FormatUint(uint64(r), 16)
			out.WriteString(`\U` + strings.Repeat("0", 8-len(h)) + h)
		default:
			r -= 0x10000
			out.WriteString(`\u` + hex4(0xd800+r>>10) + `\u` + hex4(0xdc00+r&0x3ff))
		}
	}
	return []byte(out.String())
}

func hex4(r rune) string {
	h := strconv.FormatUint(uint64(r), 16)
	return strings.Repeat("0", 4-len(h)) + h
}
