package show

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain writes out what a text has of characters that steer a terminal or begin a line. Names are
// tenants', and what shows them is an operator's terminal, or the comment of a script.
func plain(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`), `\\`, `\`)
}
