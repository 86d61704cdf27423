package main

import "github.com/spf13/cobra"

// serverCommands are the long-running processes of a site.
func serverCommands() []*cobra.Command {
	return []*cobra.Command{newControllerCommand(), newAgentCommand()}
}
