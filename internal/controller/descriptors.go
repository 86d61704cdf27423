package controller

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/hostsync"
)

// Connections take file descriptors, of which a process has a bounded number, and the
// store needs some at any moment: without them etcd cannot go on. So the listeners may
// have between them what is left when the store, the logs and the connections that the
// controller makes itself have their share.

// ownDescriptors are kept back: for etcd's files and those that it makes anew, for
// questions to Keystone, for switches, for a cluster.
const ownDescriptors = 384

// leastAPI and leastAgents are what a controller is of use with.
const leastAPI, leastAgents = 16, 16

// connectionLimits are how many connections the listeners may have.
type connectionLimits struct{ api, agents int }

// shareDescriptors divides a process's descriptors. What is wanted is given where it
// fits; else both get less in proportion.
func shareDescriptors(descriptors uint64, want connectionLimits) (connectionLimits, error) {
	fixed := uint64(ownDescriptors + apiserver.MetricsConnections + 2*hostsync.MaxUnauthenticated)
	if descriptors < fixed+leastAPI+leastAgents {
		return want, fmt.Errorf("the limit of open files of this process is %d, less than %d: raise it (ulimit -n, LimitNOFILE= of a unit)", descriptors, fixed+leastAPI+leastAgents)
	}
	left := int64(min(descriptors-fixed, 1<<40))
	if int64(want.api)+int64(want.agents) <= left {
		return want, nil
	}
	total := int64(want.api) + int64(want.agents)
	got := connectionLimits{api: max(leastAPI, int(int64(want.api)*left/total))}
	got.api = min(got.api, int(left)-leastAgents)
	got.agents = int(left) - got.api
	return got, nil
}

// limitConnections divides the descriptors that this process has.
func limitConnections(api int, log *slog.Logger) (connectionLimits, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return connectionLimits{}, fmt.Errorf("limit of open files: %w", err)
	}
	want := connectionLimits{api, hostsync.DefaultConnections}
	got, err := shareDescriptors(r.Cur, want)
	if err == nil && got != want {
		log.Warn("the limit of open files is low: there may be fewer connections, so that the store has files left", "open_files", r.Cur,
			"api_connections", got.api, "api_connections_wanted", want.api, "agent_connections", got.agents, "agent_connections_wanted", want.agents)
	}
	return got, err
}
