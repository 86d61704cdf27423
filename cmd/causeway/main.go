// Command causeway is the whole product: controller, agent, client commands,
// testbed and demo.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/causeway-net/causeway/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := markStart(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !*started {
		err = usageError(cmd, err)
	}
	return cli.Report(stderr, err)
}
