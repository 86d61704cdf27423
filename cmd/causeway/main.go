// Command causeway is the whole product: controller, agent, client commands,
// testbed and demo.
package main

import (
	"context"
	"io"
	"os"

	"github.com/causeway-net/causeway/internal/cli"
)

func main() {
	ctx, stop := watchSignals(os.Stderr)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	// What tenants and sites choose steers no terminal.
	stdout, stderr = cli.NewTerminal(stdout, isTerminal(stdout)), cli.NewTerminal(stderr, isTerminal(stderr))
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := markStart(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !*started {
		err = usageError(cmd, err)
	}
	return cli.Report(stderr, err)
}
