package main

import (
	"bytes"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/controller"
)

// serverCommands are the long-running processes of a site, and what belongs to them.
func serverCommands() []*cobra.Command {
	return []*cobra.Command{newControllerCommand(), newAgentCommand(), newHealthCommand(), newPolicyCommand(), newPKICommand(), newStoreCommand(), newOpenAPICommand()}
}

func newOpenAPICommand() *cobra.Command {
	return &cobra.Command{
		Use:   "openapi",
		Short: "Print the OpenAPI description of the API",
		Long: `Print the OpenAPI 3.1 description of the API that "causeway controller" of this
version serves: the document that it gives at /openapi.json. No controller is asked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out bytes.Buffer
			if err := json.Indent(&out, controller.Description(), "", "  "); err != nil {
				return err
			}
			out.WriteByte('\n')
			_, err := cmd.OutOrStdout().Write(out.Bytes())
			return err
		},
	}
}
