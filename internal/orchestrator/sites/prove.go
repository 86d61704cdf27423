package sites

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/client"
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
