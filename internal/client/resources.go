package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/causeway-net/causeway/internal/outbound"
)

// Collection is a kind of resource as the API names it.
type Collection struct {
	Path     string // below /v2.0/
	Singular string // key of one in a body
	Plural   string // key of a list in a body
	What     string // for people
}

// The collections.
var (
	Networks             = Collection{"networks", "network", "networks", "network"}
	Subnets              = Collection{"subnets", "subnet", "subnets", "subnet"}
	Ports                = Collection{"ports", "port", "ports", "port"}
	Routers              = Collection{"routers", "router", "routers", "router"}
	GatewayDevices       = Collection{"gw/gateway_devices", "gateway_device", "gateway_devices", "gateway device"}
	RetiredSwitches      = Collection{"gw/retired_switches", "retired_switch", "retired_switches", "deleted gateway device with a switch to clean"}
	Agents               = Collection{"agents", "agent", "agents", "host"}
	L2Gateways           = Collection{"l2-gateways", "l2_gateway", "l2_gateways", "L2 gateway"}
	L2GatewayConnections = Collection{"l2-gateway-connections", "l2_gateway_connection", "l2_gateway_connections", "L2 gateway connection"}
)

// RemoteMACEntries is the remote MAC table of a gateway device.
func RemoteMACEntries(gatewayDeviceID string) Collection {
	return Collection{
		"gw/gateway_devices/" + url.PathEscape(gatewayDeviceID) + "/remote_mac_entries",
		"remote_mac_entry", "remote_mac_entries", "remote MAC entry",
	}
}

// Switch is how it stands with the switch of a gateway device; its only element is
// called switch.
func Switch(gatewayDeviceID string) Collection {
	return Collection{"gw/gateway_devices/" + url.PathEscape(gatewayDeviceID), "switch", "switches", "switch"}
}

// PortStatus is how it stands with a port; its only element is called causeway_status.
func PortStatus(portID string) Collection {
	return Collection{"ports/" + url.PathEscape(portID), "causeway_status", "causeway_statuses", "status of a port"}
}

// Attrs are the attributes of a resource.
type Attrs = map[string]any

// ID of a resource.
func ID(a Attrs) string { return Str(a, "id") }

// Str is a text attribute, "" if it is none.
func Str(a Attrs, key string) string {
	s, _ := a[key].(string)
	return s
}

// Endpoint is the API's root.
func (c *Client) Endpoint() string { return c.sc.Endpoint }

func (c *Client) url(parts ...string) string {
	u := c.sc.ResourceBaseURL()
	for i, p := range parts {
		if i > 0 {
			u += "/"
		}
		u += p
	}
	return u
}

// request does one exchange. Numbers in the answer stay as they are written.
func (c *Client) request(ctx context.Context, method, target string, body any, out *map[string]json.RawMessage) error {
	return c.requestIf(ctx, method, target, body, out, 0)
}

// requestIf is request with If-Match, unless revision is 0.
func (c *Client) requestIf(ctx context.Context, method, target string, body any, out *map[string]json.RawMessage, revision int64) error {
	opts := &gophercloud.RequestOpts{JSONBody: body, OkCodes: []int{200, 201, 202, 204}}
	if revision != 0 {
		opts.MoreHeaders = map[string]string{"If-Match": fmt.Sprintf("revision_number=%d", revision)}
	}
	if out != nil {
		opts.JSONResponse = out
	}
	resp, err := c.sc.Request(ctx, method, target, opts)
	if resp != nil && resp.Body != nil && out == nil {
		// gophercloud closes it only where it has read it.
		defer resp.Body.Close()
	}
	if ctx.Err() != nil && err != nil {
		return ctx.Err()
	}
	return explain(err)
}

func decode(raw json.RawMessage, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read the API's answer: %w", err)
	}
	return nil
}

func one(answer map[string]json.RawMessage, key string) (Attrs, error) {
	raw, ok := answer[key]
	if !ok {
		return nil, fmt.Errorf("the API's answer has no %q: is this a Neutron API?", key)
	}
	var a Attrs
	return a, decode(raw, &a)
}

// Create makes a resource and returns it as the API answered.
func (c *Client) Create(ctx context.Context, k Collection, a Attrs) (Attrs, error) {
	var answer map[string]json.RawMessage
	if err := c.request(ctx, http.MethodPost, c.url(k.Path), map[string]any{k.Singular: a}, &answer); err != nil {
		return nil, err
	}
	return one(answer, k.Singular)
}

// Get reads a resource by id.
func (c *Client) Get(ctx context.Context, k Collection, id string) (Attrs, error) {
	var answer map[string]json.RawMessage
	if err := c.request(ctx, http.MethodGet, c.url(k.Path, url.PathEscape(id)), nil, &answer); err != nil {
		return nil, err
	}
	return one(answer, k.Singular)
}

// Update changes attributes of a resource.
func (c *Client) Update(ctx context.Context, k Collection, id string, a Attrs) (Attrs, error) {
	var answer map[string]json.RawMessage
	if err := c.request(ctx, http.MethodPut, c.url(k.Path, url.PathEscape(id)), map[string]any{k.Singular: a}, &answer); err != nil {
		return nil, err
	}
	return one(answer, k.Singular)
}

// Delete removes a resource.
func (c *Client) Delete(ctx context.Context, k Collection, id string) error {
	return c.request(ctx, http.MethodDelete, c.url(k.Path, url.PathEscape(id)), nil, nil)
}

// DeleteHost deletes a host's agent; off says that the host is switched off.
func (c *Client) DeleteHost(ctx context.Context, id string, off bool) error {
	target := c.url(Agents.Path, url.PathEscape(id))
	if off {
		target += "?off=true"
	}
	return c.request(ctx, http.MethodDelete, target, nil, nil)
}

// List reads all resources that match the query, page by page. All pages together are bounded as
// one answer is, and the links between them lead nowhere but to the API itself.
func (c *Client) List(ctx context.Context, k Collection, query url.Values) ([]Attrs, error) {
	target := c.url(k.Path)
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, listPatience*c.timeout, errSlowList)
	defer cancel()
	var all []Attrs
	size := outbound.Counter{}
	bytes := int64(0)
	seen := map[string]bool{}
	for range maxPages {
		seen[target] = true
		var answer map[string]json.RawMessage
		if err := c.request(ctx, http.MethodGet, target, nil, &answer); err != nil {
			if context.Cause(ctx) == errSlowList {
				err = fmt.Errorf("list the %s: %w", plural(k.What), errSlowList)
			}
			return nil, err
		}
		raw, ok := answer[k.Plural]
		if !ok {
			return nil, fmt.Errorf("the API's answer has no %q: is this a Neutron API?", k.Plural)
		}
		bytes += int64(len(raw))
		if bytes > limits.Bytes || size.Add(raw) > limits.Values {
			return nil, fmt.Errorf("list of %s: more than %d bytes or %d values", plural(k.What), limits.Bytes, limits.Values)
		}
		var page []Attrs
		if err := decode(raw, &page); err != nil {
			return nil, err
		}
		if all = append(all, page...); len(all) > maxItems {
			return nil, fmt.Errorf("list of %s: more than %d", plural(k.What), maxItems)
		}
		next, err := nextPage(answer[k.Plural+"_links"], target)
		if err != nil {
			return nil, fmt.Errorf("list of %s: %w", plural(k.What), err)
		}
		switch {
		case next == "":
			return all, nil
		case seen[next]:
			return nil, fmt.Errorf("list of %s: its pages lead in a circle", plural(k.What))
		}
		target = next
	}
	return nil, fmt.Errorf("list of %s: more than %d pages", plural(k.What), maxPages)
}

// errSlowList ends a list that would take too long; a later try may be faster.
var errSlowList = errors.New("it took too long altogether")

// hinted is an error with its way out.
type hinted struct {
	error
	hint string
}

func (e hinted) Hint() string { return e.hint }

// nextPage is the page that follows; "" is none. The request for it carries the token, so it is
// at the same server.
func nextPage(raw json.RawMessage, target string) (string, error) {
	if raw == nil {
		return "", nil
	}
	var links []gophercloud.Link
	if err := decode(raw, &links); err != nil {
		return "", err
	}
	i := slices.IndexFunc(links, func(l gophercloud.Link) bool { return l.Rel == "next" })
	if i < 0 {
		return "", nil
	}
	at, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	next, err := at.Parse(links[i].Href)
	if err != nil {
		return "", fmt.Errorf("the link to the next page: %v", err)
	}
	if !outbound.SameOrigin(at, next) {
		return "", hinted{fmt.Errorf("the next page is at %s, not at %s: it is not asked", outbound.Origin(next), outbound.Origin(at)),
			"Behind a proxy, have the API heed its headers (enable_proxy_headers_parsing in Neutron)."}
	}
	return next.String(), nil
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}$`)

// Find is the id of the resource with this id or name. A name that several have
// is an *Ambiguous error.
func (c *Client) Find(ctx context.Context, k Collection, nameOrID string) (string, error) {
	called := "name"
	if k == Agents {
		called = "host"
	}
	if nameOrID == "" {
		return "", notFound{what: k.What, name: nameOrID}
	}
	if uuid.MatchString(nameOrID) {
		found, err := c.List(ctx, k, url.Values{"id": {nameOrID}, "fields": {"id"}})
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return ID(found[0]), nil
		}
	}
	found, err := c.List(ctx, k, url.Values{called: {nameOrID}, "fields": {"id"}})
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return "", notFound{what: k.What, name: nameOrID}
	case 1:
		return ID(found[0]), nil
	}
	ids := make([]string, len(found))
	for i, a := range found {
		ids[i] = ID(a)
	}
	slices.Sort(ids)
	return "", &Ambiguous{What: k.What, Name: nameOrID, IDs: ids}
}

// AddInterface makes a port or a subnet's gateway address an interface of a router:
// by is "port_id" or "subnet_id".
func (c *Client) AddInterface(ctx context.Context, routerID, by, id string) (portID string, err error) {
	var answer map[string]json.RawMessage
	err = c.request(ctx, http.MethodPut, c.url(Routers.Path, url.PathEscape(routerID), "add_router_interface"), map[string]any{by: id}, &answer)
	if err != nil {
		return "", err
	}
	return portID, decode(answer["port_id"], &portID)
}

// Bind puts a port on a host's interface; an empty host takes it off.
func (c *Client) Bind(ctx context.Context, portID, host, iface string) (Attrs, error) {
	profile := Attrs{}
	if host != "" {
		profile["interface_name"] = iface
	}
	return c.Update(ctx, Ports, portID, Attrs{"binding:host_id": host, "binding:profile": profile})
}

// Post sends body to a path below /v2.0/ and decodes the answer into out.
func (c *Client) Post(ctx context.Context, path string, body, out any) error {
	var answer map[string]json.RawMessage
	if err := c.request(ctx, http.MethodPost, c.url(path), body, &answer); err != nil {
		return err
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return decode(b, out)
}

// Up tells whether the API answers, by its version document.
func (c *Client) Up(ctx context.Context) error {
	var answer map[string]json.RawMessage
	return c.request(ctx, http.MethodGet, c.sc.Endpoint, nil, &answer)
}

// IsUUID tells whether a name may be an id.
func IsUUID(nameOrID string) bool { return uuid.MatchString(nameOrID) }
