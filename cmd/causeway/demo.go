package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/demo"
)

func newDemoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Peer two sites on this machine and show that it works",
		Long: `Start two sites on this machine, each with a controller and an agent of its own in
network namespaces, do the steps of router peering through their APIs, attach a
workload at each, and show what happens to real packets: ping, traceroute, tables,
counters, and the headers of a captured packet beside what they must be.

With --orchestrated it is three sites and one file: apply, verify, a tenant adds a subnet
while the service runs, a site is lost and returns, destroy; and it says how many
commands that would have been by hand.

With --hosts it is two sites of three hosts and a gateway host each, peered by one file: all
workloads reach each other, packets are followed from host to host, and an agent is killed.

The exit code is 0 only if all of it held. Nothing is left behind, also when it is
interrupted. Needs root, and Linux 6.6 or newer.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			defer survivePipe()()
			if (o.Orchestrated || o.Hosts) && (o.Hold || o.PCAP != "") {
				return usageError(cmd, errors.New("--hold and --pcap go with the demo of two sites"))
			}
			if o.Orchestrated && o.Hosts {
				return usageError(cmd, errors.New("--orchestrated and --hosts are two demos"))
			}
			o.Colour = wantsColour(cmd.OutOrStdout())
			return labError(cmd, demo.Run(cmd.Context(), o, cmd.OutOrStdout()))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Orchestrated, "orchestrated", false, "peer three sites by one file instead of two step by step")
	f.BoolVar(&o.Hosts, "hosts", false, "peer two sites of several hosts each, and follow packets from host to host")
	f.BoolVar(&o.Hold, "hold", false, "keep the lab until Ctrl-C, and say how to look around")
	f.StringVar(&o.PCAP, "pcap", "", "`FILE` for the captured packets (pcapng)")
	f.StringVar(&o.JSON, "json", "", "`FILE` for the results")
	return cmd
}

// fileOf is the file that a command writes to at last.
func fileOf(w any) (*os.File, bool) {
	if t, ok := w.(*cli.Terminal); ok {
		w = t.Under()
	}
	f, ok := w.(*os.File)
	return f, ok
}

// wantsColour: a terminal, unless NO_COLOR says otherwise (https://no-color.org).
func wantsColour(w io.Writer) bool {
	f, ok := fileOf(w)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
