package trace

import (
	"errors"

	"github.com/causeway-net/causeway/internal/hoststate"
)

// Pipeline is the tables of one host, ready for look-ups.
type Pipeline struct {
	st  hoststate.State
	env Env
}

// New indexes st. The Pipeline keeps st and env; neither may change afterwards.
func New(st hoststate.State, env Env) *Pipeline {
	return &Pipeline{st: st, env: env}
}

var errNotYet = errors.New("not built yet")

// Trace sends a packet from a workload's port, its ARP first.
func (p *Pipeline) Trace(r Request) (Report, error) { return Report{}, errNotYet }

// TraceTunnel receives a packet from another site.
func (p *Pipeline) TraceTunnel(r TunnelRequest) (Report, error) { return Report{}, errNotYet }
