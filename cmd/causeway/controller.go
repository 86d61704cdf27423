package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/controller"
)

// controllerGC is the garbage collector's target where GOGC is not set: a site's
// state is small and changes seldom, so memory is worth more than the time.
const controllerGC = 50

func newControllerCommand() *cobra.Command {
	var settings config.Controller
	set := config.NewSet("controller")
	settings.Bind(set)
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run a site's controller: API, state and the agents' source",
		Long: `Run a site's controller: the Neutron v2.0 API, the site's state in etcd
(embedded, or a cluster), and the streams that tell the hosts' agents what to
forward. It ends cleanly on SIGTERM and SIGINT.

Each flag is also an environment variable (--api-listen:
CAUSEWAY_CONTROLLER_API_LISTEN) and a key of the YAML file given with --config
(api-listen). A flag wins over the variable, the variable over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := set.Resolve(os.Environ()); err != nil {
				return usageError(cmd, err)
			}
			if err := settings.Finish(set); err != nil {
				return usageError(cmd, err)
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(controllerGC)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			err := controller.Run(ctx, controller.Config{Controller: settings, Version: version(), Logger: settings.Log.Logger()})
			if err != nil {
				return &cli.Error{What: "controller", Err: err}
			}
			return nil
		},
	}
	cmd.Flags().AddFlagSet(set.Flags())
	return cmd
}
