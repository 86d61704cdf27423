package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// HostRows is what came of comparing the rows that a host has with those that it should have.
type HostRows struct {
	Host      string   `json:"host"`
	Agrees    bool     `json:"agrees"`
	Revision  int64    `json:"revision"`
	Applied   int64    `json:"applied"`
	Groups    int      `json:"groups"`
	Differing []string `json:"differing"`
	Reason    string   `json:"reason"`
}

// rowsPatience is longer than a site compares a host's rows.
const rowsPatience = 30 * time.Second

// HostRows has the site compare the rows of an agent's host.
func (c *Client) HostRows(ctx context.Context, agentID string) (rows HostRows, err error) {
	var answer map[string]json.RawMessage
	if err := c.request(slowly(ctx, rowsPatience), http.MethodGet, c.url(Agents.Path, url.PathEscape(agentID), "causeway_rows"), nil, &answer); err != nil {
		return rows, err
	}
	return rows, decode(answer["causeway_rows"], &rows)
}
