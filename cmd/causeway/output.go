package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
)

// formatValue is the value of -f, which means the format of the output in every command, as
// in the OpenStack client. What is none is refused while the flags are read.
type formatValue struct {
	to    *string
	among []string
}

func (f formatValue) String() string {
	if f.to == nil {
		return ""
	}
	return *f.to
}

func (formatValue) Type() string { return "string" }

func (f formatValue) Set(s string) error {
	if !slices.Contains(f.among, s) {
		err := fmt.Errorf("one of %s", strings.Join(f.among, ", "))
		if ext := filepath.Ext(s); ext == ".yaml" || ext == ".yml" || s == "-" || exists(s) {
			err = fmt.Errorf("%w; a file is given with --file", err)
		}
		return err
	}
	*f.to = s
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// registerFormat adds -f with the formats that there are; the first is the default.
func registerFormat(cmd *cobra.Command, to *string, among []string, usage string) {
	*to = among[0]
	cmd.Flags().VarP(formatValue{to, among}, "format", "f", usage)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(among, cobra.ShellCompDirectiveNoFileComp))
}

// registerJSON adds --json, the short form of -f json.
func registerJSON(cmd *cobra.Command) *bool {
	short := cmd.Flags().Bool("json", false, "the same as -f json")
	cmd.MarkFlagsMutuallyExclusive("json", "format")
	return short
}

// reportFlags say how a report is printed that is no list of resources.
type reportFlags struct {
	format string
	json   *bool
}

func (r *reportFlags) register(cmd *cobra.Command) {
	registerFormat(cmd, &r.format, cli.ReportFormats(), "`FORMAT`: table (for people), json or yaml")
	r.json = registerJSON(cmd)
}

// data is the format of data that is wanted; "" where people read it.
func (r *reportFlags) data() string {
	switch {
	case *r.json:
		return cli.FormatJSON
	case r.format == cli.FormatTable:
		return ""
	}
	return r.format
}

// write prints v, or what text writes of it for people.
func (r *reportFlags) write(w io.Writer, v any, text func(io.Writer) error) error {
	if format := r.data(); format != "" {
		return cli.Data(w, format, v)
	}
	return text(w)
}
