package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/policy"
)

func newPolicyCommand() *cobra.Command {
	defaults := &cobra.Command{
		Use:   "defaults",
		Short: "Print the default policy as a file to change",
		Long: `Print the default policy in the form of oslo.policy: every rule in a comment.
A file for --policy-file names only the rules that it changes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), policy.DefaultFile())
			return err
		},
	}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a policy file is sound",
		Long: `Say whether a policy file is sound: the controller would take it. Rules that
nothing asks for are named; they may be misspelt. "-" reads standard input.

The exit code is 0 for a sound file, 2 for any other.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return checkPolicy(cmd, args[0]) },
	}
	return needSubcommand("policy", "Print or check the policy: who may do what with the API", "", defaults, check)
}

func checkPolicy(cmd *cobra.Command, path string) error {
	data, err := readPolicy(cmd.InOrStdin(), path)
	if err != nil {
		return &cli.Error{What: "policy check", Err: err, Code: cli.ExitUsage}
	}
	rules, err := policy.Parse(data)
	if err != nil {
		return &cli.Error{What: "policy check", Err: fmt.Errorf("%s: %w", path, err), Code: cli.ExitUsage}
	}
	out := "sound\n"
	if unused := rules.Unused(); len(unused) > 0 {
		out = "sound; nothing asks for: " + strings.Join(unused, ", ") + "\n"
	}
	_, err = io.WriteString(cmd.OutOrStdout(), out)
	return err
}

func readPolicy(stdin io.Reader, path string) (data []byte, err error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(stdin, policy.MaxFile+1))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, policy.MaxFile+1))
}
