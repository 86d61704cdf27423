// Package hostsync carries a host's state from the controller to its agent, and
// the agent's reports back, over one gRPC stream. Which host it is follows from
// the connection: over a unix socket from the peer's credentials, over a network
// from its certificate; a message never claims it.
//
// Nothing here queues without bound: deltas that a slow agent has not taken become
// one delta, and at last whole groups of rows; of reports the latest wins.
//
// An agent that comes again, or comes to another controller, says by a digest what rows it has.
// It is sent those groups that differ, so that nothing depends on who sent it what before.
package hostsync

import (
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// Protocol is the version of the protocol: both ends must have the same.
const Protocol = 1

const (
	// maxMessage bounds a received message, bytes. Deltas are cut into parts of
	// partRows rows, far below it; one row with 10,000 underlay routes fits.
	maxMessage = 16 << 20
	partRows   = 2000
	// maxReports bounds the port reports of one message.
	maxReports = 1000
	// maxReason and maxID bound the words about a port and its id, bytes.
	maxReason, maxID = 1024, 255
	// maxHave bounds the groups that an agent may go on from.
	maxHave = 2 * hoststate.MaxGroups
	// maxParts bounds the parts of one delta that the client puts together.
	maxParts = 10000

	helloTimeout     = 10 * time.Second
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second

	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Report is what an agent says of its host.
type Report struct {
	// Revision is that of the last Update whose state the dataplane has.
	Revision int64
	// Ports are all ports of the host or those whose state has changed.
	Ports []PortReport
	// UnderlayMTU is the largest IP packet, in bytes, of the interfaces that
	// carry tunnels; 0: unknown.
	UnderlayMTU int
	// FabricMTU is that of the interface that carries the fabric; 0: unknown.
	FabricMTU int
}

// PortReport is the state of one port bound to the host, or of one that the host only
// has rows of (a router's, a remote-site port), whose ID is then PortAt.
type PortReport struct {
	ID     model.PortID
	Status model.PortStatus
	Reason string // why it is not ACTIVE
}

// PortAt stands for the id of a port that hosts know by its network and MAC alone.
func PortAt(net model.NetworkID, mac model.MAC) model.PortID {
	return model.PortID(string(net) + "/" + mac.String())
}

// isPlace tells whether an id is one of PortAt.
func isPlace(id model.PortID) bool { return strings.Contains(string(id), "/") }

// Update leads to a host's next state. The receiver keeps the state itself.
type Update struct {
	// Delta is the receiver's own, to keep or to change.
	Delta hoststate.Delta
	// First is the first of a connection: what was applied before has been another's to
	// acknowledge, and revisions may have begun anew.
	First bool
}

// Have is what the agent has of its host's state before a connection.
type Have struct {
	Digests hoststate.Digests
	// Names has the rows that name ports: Ports, Gateways, VLANs.
	Names hoststate.State
}
