package main

import "github.com/spf13/cobra"

func resourceCommands() []*cobra.Command { return nil }
