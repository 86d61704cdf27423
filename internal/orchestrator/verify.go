package orchestrator

import (
	"context"

	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
)

// Verify proves a peering on packets. It changes nothing.
func (o *Orchestrator) Verify(ctx context.Context, p *peering.Peering, opts verify.Options) (*verify.Result, error) {
	obs, err := o.Observe(ctx, p)
	if err != nil {
		return nil, err
	}
	connected := map[string]verify.Site{}
	for i := range p.Sites {
		if obs[i].Problem != nil {
			continue
		}
		s, err := o.Site(ctx, &p.Sites[i])
		if err != nil {
			return nil, err
		}
		connected[s.Name] = s
	}
	return verify.Run(ctx, p, obs, plan.StatusOf(p, obs), connected, opts)
}
