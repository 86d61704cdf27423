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
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// survivePipe keeps a command that has something to clean up alive when whoever
// reads its output goes away; writes fail from then on. The function returned ends
// that.
func survivePipe() func() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGPIPE)
	return func() { signal.Stop(c) }
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
