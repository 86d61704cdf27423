package neutronapi_test

import (
	"fmt"
	"strings"
)

// repeated is s n times, with commas between.
func repeated(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }

// numbered is format with each number below n, with commas between.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, format, i/65536%256, i/256%256, i%256)
	}
	return b.String()
}
