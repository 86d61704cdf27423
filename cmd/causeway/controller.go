package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/controller"
	"github.com/causeway-net/causeway/internal/systemd"
)

func newControllerCommand() *cobra.Command {
	var settings config.Controller
	set := config.NewSet("controller")
	settings.Bind(set)
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run a site's controller: API, state and the agents' source",
		Long: `Run a site's controller: the Neutron v2.0 API, the site's state in etcd
(embedded, or a cluster), and the streams that tell the hosts' agents what to
forward. It ends cleanly on SIGTERM and SIGINT. At SIGHUP it reads the files of
certificates and policy and opens the audit log again; settings are read at the start only.

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
			defer survivePipe()()
			ctx, log := cmd.Context(), settings.Log.Logger()
			defer controllerGC.collect(ctx)()
			err := controller.Run(ctx, controller.Config{
				Controller: settings, Version: version(), Logger: log, Reload: hangups(ctx), Service: systemd.New(log),
			})
			log.Info("controller ended", endOf(ctx, err)...)
			if err != nil {
				return &cli.Error{What: "controller", Err: err}
			}
			return nil
		},
	}
	cmd.Flags().AddFlagSet(set.Flags())
	markServer(cmd)
	cmd.AddCommand(newStoreExport("controller", "backup FILE"))
	return cmd
}
