// Command gen writes the C side of package reason.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/causeway-net/causeway/internal/reason"
)

func main() {
	out := flag.String("o", "reasons.h", "file to write")
	flag.Parse()
	var b strings.Builder
	b.WriteString("/* SPDX-License-Identifier: Apache-2.0 */\n/* Code generated from internal/reason; DO NOT EDIT. */\n#pragma once\n\nenum drop_reason {\n")
	for r := range reason.Count {
		fmt.Fprintf(&b, "\tDROP_%s = %d,\n", strings.ToUpper(r.String()), r)
	}
	fmt.Fprintf(&b, "\tDROP_COUNT = %d,\n};\n", reason.Count)
	if err := os.WriteFile(*out, []byte(b.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
