package client

import (
	"context"
	"net/url"

	"github.com/causeway-net/causeway/internal/probe"
)

// Probe has the site send packets from a router, and waits for what comes of them.
func (c *Client) Probe(ctx context.Context, routerID string, q probe.Question) (probe.Report, error) {
	var answer struct {
		Probe probe.Report `json:"probe"`
	}
	// The answer comes when the packets have.
	err := c.Post(slowly(ctx, probe.MaxDuration), Routers.Path+"/"+url.PathEscape(routerID)+"/probe", map[string]any{"probe": q}, &answer)
	return answer.Probe, err
}
