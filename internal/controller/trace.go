package controller

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/trace"
)

// tracer answers what would become of a packet, from the state that the hosts are
// to have; it sends nothing and asks no host.
type tracer struct {
	rules *site.Site
	local model.HostName // where a port is looked at that is bound nowhere
}

func emptyDelta() hoststate.Delta { return hoststate.Delta{Set: hoststate.NewState()} }

func (t tracer) extra() []neutronapi.Extra {
	return []neutronapi.Extra{
		{
			Method: http.MethodPost, Path: "/v2.0/ports/{id}/trace", Name: "trace_port",
			Summary: "Say what would become of a packet that a port's workload sends.",
			Body:    keyed("trace", openapi.Read[trace.Request]()), Reply: keyed("trace", openapi.Written[trace.Report]()), Answer: t.answer(t.fromPort),
		},
		{
			Method: http.MethodPost, Path: "/v2.0/gw/gateway_devices/{id}/trace", Name: "trace_gateway_device",
			Summary: "Say what would become of a packet that comes in from another site.",
			Body:    keyed("trace", openapi.Read[trace.TunnelRequest]()), Reply: keyed("trace", openapi.Written[trace.Report]()), Answer: t.answer(t.fromTunnel),
		},
		{
			Method: http.MethodPost, Path: "/v2.0/routers/{id}/trace", Name: "trace_router",
			Summary: "Say what would become of a packet that a router makes itself.",
			Body:    keyed("trace", openapi.Read[trace.RouterRequest]()), Reply: keyed("trace", openapi.Written[trace.Report]()), Answer: t.answer(t.fromRouter),
		},
	}
}

func (t tracer) answer(answer func(store.Reader, string, []byte) (trace.Report, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		report, err := t.serve(r, answer)
		if err != nil {
			return nil, err
		}
		return map[string]any{"trace": report}, nil
	}
}

func badRequest(format string, args ...any) error {
	return model.Errf(model.KindInvalid, "HTTPBadRequest", format, args...)
}

func (t tracer) serve(r *http.Request, answer func(store.Reader, string, []byte) (trace.Report, error)) (trace.Report, error) {
	var body struct {
		Trace json.RawMessage `json:"trace"`
	}
	if err := decodeStrict(r, "trace", &body); err != nil {
		return trace.Report{}, err
	}
	if len(body.Trace) == 0 {
		return trace.Report{}, badRequest("Unable to find 'trace' in request body")
	}
	snap, err := t.rules.View(r.Context())
	if err != nil {
		return trace.Report{}, err
	}
	return answer(snap, r.PathValue("id"), body.Trace)
}

// decodeStrict reads a body that is one value, called what.
func decodeStrict(r *http.Request, what string, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.Join(more, errors.New("something follows it"))
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return model.Errf(model.KindTooLarge, "HTTPRequestEntityTooLarge", "The request's body is larger than %d bytes.", large.Limit)
	}
	if err != nil {
		return badRequest("The request body is not a %s: %v", what, err)
	}
	return nil
}

func (t tracer) fromPort(snap store.Reader, id string, body []byte) (trace.Report, error) {
	var req trace.Request
	if err := json.Unmarshal(body, &req); err != nil {
		return trace.Report{}, badRequest("The request body is not a trace: %v", err)
	}
	p := store.Get[model.Port](snap, store.Ports, id)
	if p == nil {
		return trace.Report{}, site.PortNotFound(id)
	}
	switch {
	case p.DeviceOwner == model.OwnerRouterInterface:
		return trace.Report{}, badRequest("port %s is a router's: packets come from ports of workloads", id)
	case p.IsRemoteSite():
		return trace.Report{}, badRequest("port %s stands for one of another site: trace its packets from there, or as they come out of the tunnel", id)
	}
	req.Port, req.Subnets = p.ID, nil
	for _, a := range p.FixedIPs {
		if s := store.Get[model.Subnet](snap, store.Subnets, string(a.SubnetID)); s != nil {
			req.Subnets = append(req.Subnets, trace.Subnet{Prefix: s.CIDR, Gateway: s.Gateway, Routes: s.HostRoutes})
		}
	}
	return asRequestError(t.pipeline(snap, p.HostID).Trace(req))
}

// fromRouter is the way of a router's own packet, from the host that would send it.
func (t tracer) fromRouter(snap store.Reader, id string, body []byte) (trace.Report, error) {
	var req trace.RouterRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return trace.Report{}, badRequest("The request body is not a trace: %v", err)
	}
	router := store.Get[model.Router](snap, store.Routers, id)
	if router == nil {
		return trace.Report{}, site.RouterNotFound(id)
	}
	from, err := interfaceOf(snap, router, req.From, req.To)
	if err != nil {
		return trace.Report{}, err
	}
	req.Router, req.From = router.ID, from.addr
	return asRequestError(t.pipeline(snap, hostOf(snap, router, from.network)).TraceRouter(req))
}

func (t tracer) fromTunnel(snap store.Reader, id string, body []byte) (trace.Report, error) {
	var req trace.TunnelRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return trace.Report{}, badRequest("The request body is not a trace: %v", err)
	}
	dev := store.Get[model.GatewayDevice](snap, store.GatewayDevices, id)
	if dev == nil {
		return trace.Report{}, site.GatewayDeviceNotFound(id)
	}
	req.Gateway = dev.ID
	var host model.HostName
	if pl := store.Get[model.Placement](snap, store.Placements, id); pl != nil {
		host = pl.Host
	}
	return asRequestError(t.pipeline(snap, host).TraceTunnel(req))
}

// asRequestError: what the pipeline refuses, it refuses because of the question.
func asRequestError(r trace.Report, err error) (trace.Report, error) {
	if err != nil {
		return r, badRequest("%v", err)
	}
	return r, nil
}

// pipeline is that of a host, as its kernel would be if all were in order.
func (t tracer) pipeline(snap store.Reader, host model.HostName) *trace.Pipeline {
	if host == "" {
		host = t.local
		for h := range store.All[model.Host](snap, store.Hosts) {
			host = h.Name
			break
		}
	}
	names := map[string]string{}
	for p := range store.All[model.Port](snap, store.Ports) {
		names[string(p.ID)] = p.Name
	}
	for d := range store.All[model.GatewayDevice](snap, store.GatewayDevices) {
		names[string(d.ID)] = d.Name
	}
	return trace.New(hoststate.Compile(topologyOf(snap), host), trace.Env{Names: names})
}
