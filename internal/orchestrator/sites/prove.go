package sites

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/probe"
)

// Probe has the site send packets from a router.
func (s *Conn) Probe(ctx context.Context, routerID string, q probe.Question) (r probe.Report, err error) {
	err = s.read(ctx, func(ctx context.Context) (err error) {
		r, err = s.api.Probe(ctx, routerID, q)
		return err
	})
	return r, err
}

// Holder is who has an address on one of these networks; nil: nobody.
func (s *Conn) Holder(ctx context.Context, networkIDs []string, addr netip.Addr) (*observed.Holder, error) {
	o := &observer{s: &Site{Conn: s}}
	var ports []observed.Port
	if err := listInto(ctx, o, client.Ports, url.Values{"fixed_ips": {"ip_address=" + addr.String()}, "network_id": networkIDs}, &ports, port); err != nil {
		return nil, err
	}
	// A server that does not know a filter answers with more.
	i := slices.IndexFunc(ports, func(p observed.Port) bool {
		return slices.Contains(networkIDs, p.NetworkID) && slices.ContainsFunc(p.IPs, func(ip observed.IP) bool { return ip.Addr == addr })
	})
	if i < 0 {
		return nil, nil
	}
	h := &observed.Holder{Port: ports[i]}
	id := h.Port.DeviceID
	if id == "" || !observed.OwnerRouterInterface(h.Port.DeviceOwner) {
		return h, nil
	}
	var found []observed.Router
	if err := listInto(ctx, o, client.Routers, url.Values{"id": {id}}, &found, router); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(found, func(r observed.Router) bool { return r.ID == id }); i >= 0 {
		h.Router = &found[i]
	}
	if err := listInto(ctx, o, client.Ports, url.Values{"device_id": {id}}, &h.Interfaces, port); err != nil {
		return nil, err
	}
	h.Interfaces = slices.DeleteFunc(h.Interfaces, func(p observed.Port) bool { return p.DeviceID != id })
	return h, o.behind(ctx, h)
}

// mostInterfaces bounds those of a further router whose networks are read.
const mostInterfaces = 10 * chunk

// behind reads the networks and subnets that a further router's interfaces are on.
func (o *observer) behind(ctx context.Context, h *observed.Holder) error {
	if len(h.Interfaces) > mostInterfaces {
		return fmt.Errorf("router %s has more than %d interfaces, which are not all read", h.Port.DeviceID, mostInterfaces)
	}
	var networks, subnets []string
	for _, p := range h.Interfaces {
		if p.NetworkID != "" && !slices.Contains(networks, p.NetworkID) {
			networks = append(networks, p.NetworkID)
		}
		for _, ip := range p.IPs {
			if ip.SubnetID != "" && !slices.Contains(subnets, ip.SubnetID) {
				subnets = append(subnets, ip.SubnetID)
			}
		}
	}
	if err := byIDs(ctx, o, client.Networks, networkFields, networks, &h.Networks, network); err != nil {
		return err
	}
	return byIDs(ctx, o, client.Subnets, nil, subnets, &h.Subnets, subnet)
}

// HasNoProbes tells whether an error of Probe says that the API has no such operation: the
// router was there a moment ago.
func HasNoProbes(err error) bool {
	switch client.Status(err) {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

// Trace is what a site says of a packet's way by its tables, as far as it is needed here.
type Trace struct {
	Delivered bool   `json:"delivered"`
	Reason    string `json:"reason,omitempty"`
	Summary   string `json:"summary"`
	Hops      []Hop  `json:"hops"`
	// Next is set where the packet leaves by a tunnel: what the site with that tunnel IP
	// is to be asked.
	Next *struct {
		TunnelIP netip.Addr      `json:"tunnel_ip"`
		Request  json.RawMessage `json:"request"`
	} `json:"next,omitempty"`
}

// Hop is one decision on the way.
type Hop struct {
	At       string `json:"at"`
	Decision string `json:"decision"`
	Result   string `json:"result,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// TraceRouter asks what would become of a packet that a router makes.
func (s *Conn) TraceRouter(ctx context.Context, routerID string, from, to netip.Addr) (Trace, error) {
	return s.trace(ctx, client.Routers.Path+"/"+url.PathEscape(routerID), map[string]any{"from": from, "to": to})
}

// TraceTunnel asks what would become of a packet that comes out of a tunnel; request is the
// Next of the other site's answer.
func (s *Conn) TraceTunnel(ctx context.Context, deviceID string, request json.RawMessage) (Trace, error) {
	return s.trace(ctx, client.GatewayDevices.Path+"/"+url.PathEscape(deviceID), request)
}

func (s *Conn) trace(ctx context.Context, path string, request any) (Trace, error) {
	var answer struct {
		Trace Trace `json:"trace"`
	}
	err := s.read(ctx, func(ctx context.Context) error {
		return s.api.Post(ctx, path+"/trace", map[string]any{"trace": request}, &answer)
	})
	return answer.Trace, err
}

// IsRefused tells whether an error of Probe says that the request is wrong.
func IsRefused(err error) bool { return client.Status(err) == http.StatusBadRequest }

// IsBusy tells whether an error of Probe says that the site cannot send packets just now.
func IsBusy(err error) bool {
	s := client.Status(err)
	return s == http.StatusServiceUnavailable || s == http.StatusTooManyRequests
}

// Glance reads what tenants change of a peer router: its routes and its interfaces. Two
// answers that are equal mean that nothing of it has changed. It is far less than Observe reads.
func (s *Conn) Glance(ctx context.Context, routerID string) (string, error) {
	var routers, ports []client.Attrs
	err := s.read(ctx, func(ctx context.Context) (err error) {
		routers, err = s.api.List(ctx, client.Routers, url.Values{"id": {routerID}, "fields": {"id", "name", "admin_state_up", "routes"}})
		if err != nil {
			return err
		}
		ports, err = s.api.List(ctx, client.Ports, url.Values{
			"device_id": {routerID}, "fields": {"id", "network_id", "admin_state_up", "mac_address", "fixed_ips"},
		})
		return err
	})
	if err != nil {
		return "", err
	}
	slices.SortFunc(ports, func(a, b client.Attrs) int { return strings.Compare(client.ID(a), client.ID(b)) })
	b, err := json.Marshal([]any{routers, ports})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
