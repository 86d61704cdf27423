package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// UpdateIf changes attributes if the resource still has the revision; the API
// answers 412 otherwise. A revision of 0 is no condition.
func (c *Client) UpdateIf(ctx context.Context, k Collection, id string, a Attrs, revision int64) (Attrs, error) {
	var answer map[string]json.RawMessage
	if err := c.requestIf(ctx, http.MethodPut, c.url(k.Path, url.PathEscape(id)), map[string]any{k.Singular: a}, &answer, revision); err != nil {
		return nil, err
	}
	return one(answer, k.Singular)
}

// RemoveInterface takes a port off its router. The port goes with it.
func (c *Client) RemoveInterface(ctx context.Context, routerID, portID string) error {
	return c.request(ctx, http.MethodPut, c.url(Routers.Path, url.PathEscape(routerID), "remove_router_interface"), map[string]any{"port_id": portID}, nil)
}

// AddRoutes and RemoveRoutes change a router's extra routes in one step each; they
// are an extension of their own, extraroute-atomic.
func (c *Client) AddRoutes(ctx context.Context, routerID string, routes []Attrs) error {
	return c.routes(ctx, routerID, "add_extraroutes", routes)
}

// RemoveRoutes is told at AddRoutes.
func (c *Client) RemoveRoutes(ctx context.Context, routerID string, routes []Attrs) error {
	return c.routes(ctx, routerID, "remove_extraroutes", routes)
}

func (c *Client) routes(ctx context.Context, routerID, action string, routes []Attrs) error {
	return c.request(ctx, http.MethodPut, c.url(Routers.Path, url.PathEscape(routerID), action), map[string]any{"router": map[string]any{"routes": routes}}, nil)
}

// AddTag gives a resource a tag. It may have it already.
func (c *Client) AddTag(ctx context.Context, k Collection, id, tag string) error {
	return c.request(ctx, http.MethodPut, c.url(k.Path, url.PathEscape(id), "tags", url.PathEscape(tag)), nil, nil)
}

// RemoveTag takes a tag off a resource; the API answers 404 if it has it not.
func (c *Client) RemoveTag(ctx context.Context, k Collection, id, tag string) error {
	return c.request(ctx, http.MethodDelete, c.url(k.Path, url.PathEscape(id), "tags", url.PathEscape(tag)), nil, nil)
}

// Tags are the tags of a resource.
func (c *Client) Tags(ctx context.Context, k Collection, id string) ([]string, error) {
	var answer map[string]json.RawMessage
	if err := c.request(ctx, http.MethodGet, c.url(k.Path, url.PathEscape(id), "tags"), nil, &answer); err != nil {
		return nil, err
	}
	var tags []string
	return tags, decode(answer["tags"], &tags)
}

// Extensions are the aliases of the API's extensions.
func (c *Client) Extensions(ctx context.Context) (map[string]bool, error) {
	var answer map[string]json.RawMessage
	if err := c.request(ctx, http.MethodGet, c.url("extensions"), nil, &answer); err != nil {
		return nil, err
	}
	var list []struct {
		Alias string `json:"alias"`
	}
	if err := decode(answer["extensions"], &list); err != nil {
		return nil, err
	}
	out := make(map[string]bool, len(list))
	for _, e := range list {
		out[e.Alias] = true
	}
	return out, nil
}
