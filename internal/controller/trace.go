package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/trace"
)

// tracer answers what would become of a packet, from the state that the hosts are
// to have, and what the host that sends knows of its paths; it sends no packet.
type tracer struct {
	rules *site.Site
	hub   *hub           // nil: no host is asked
	local model.HostName // where a port is looked at that is bound nowhere
}

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

func (t tracer) answer(answer func(context.Context, store.Reader, string, []byte) (trace.Report, error)) func(*http.Request) (any, error) {
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

func (t tracer) serve(r *http.Request, answer func(context.Context, store.Reader, string, []byte) (trace.Report, error)) (trace.Report, error) {
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
	report, err := answer(r.Context(), snap, r.PathValue("id"), body.Trace)
	if err == nil {
		report.Warnings = append(report.Warnings, warnings(snap, report)...)
	}
	return report, err
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

func (t tracer) fromPort(ctx context.Context, snap store.Reader, id string, body []byte) (trace.Report, error) {
	var req trace.Request
	if err := json.Unmarshal(body, &req); err != nil {
		return trace.Report{}, badRequest("The request body is not a trace: %v", err)
	}
	p := store.Get(snap, store.Ports, id)
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
		if s := store.Get(snap, store.Subnets, string(a.SubnetID)); s != nil {
			req.Subnets = append(req.Subnets, trace.Subnet{Prefix: s.CIDR, Gateway: s.Gateway, Routes: s.HostRoutes})
		}
	}
	hosts := t.hosts(ctx, snap)
	return hosts.told(hosts.of(p.HostID).Trace(req))
}

// fromRouter is the way of a router's own packet, from the host that would send it.
func (t tracer) fromRouter(ctx context.Context, snap store.Reader, id string, body []byte) (trace.Report, error) {
	var req trace.RouterRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return trace.Report{}, badRequest("The request body is not a trace: %v", err)
	}
	router := store.Get(snap, store.Routers, id)
	if router == nil {
		return trace.Report{}, site.RouterNotFound(id)
	}
	from, err := interfaceOf(snap, router, req.From, req.To)
	if err != nil {
		return trace.Report{}, err
	}
	req.Router, req.From = router.ID, from.addr
	hosts := t.hosts(ctx, snap)
	return hosts.told(hosts.of(hostOf(snap, router, from.network, req.To)).TraceRouter(req))
}

func (t tracer) fromTunnel(ctx context.Context, snap store.Reader, id string, body []byte) (trace.Report, error) {
	var req trace.TunnelRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return trace.Report{}, badRequest("The request body is not a trace: %v", err)
	}
	dev := store.Get(snap, store.GatewayDevices, id)
	if dev == nil {
		return trace.Report{}, site.GatewayDeviceNotFound(id)
	}
	req.Gateway = dev.ID
	var host model.HostName
	if pl := store.Get(snap, store.Placements, id); pl != nil {
		host = pl.Host
	}
	hosts := t.hosts(ctx, snap)
	first := hosts.of(host)
	r, err := hosts.told(first.TraceTunnel(req))
	if err == nil && r.Next == nil {
		r.Warnings = append(r.Warnings, hosts.first.warn(req.Remote)...)
	}
	return r, err
}

// tracedHosts are the pipelines of a site's hosts, each as its kernel would be if all were in order, but for what
// the host itself says of its underlay. They are made when a packet comes to the host.
type tracedHosts struct {
	tracer
	ask       func(model.HostName) underlay
	snap      store.Reader
	topology  *hoststate.Topology
	names     map[string]string
	pipelines map[model.HostName]*trace.Pipeline
	underlays map[model.HostName]underlay
	first     underlay // of the host where the packet starts
	addrs     map[model.HostName]netip.Addr
}

func (t tracer) hosts(ctx context.Context, snap store.Reader) *tracedHosts {
	h := &tracedHosts{
		tracer: t, ask: func(h model.HostName) underlay { return t.underlay(ctx, h) }, snap: snap, topology: topologyOf(snap), names: map[string]string{},
		pipelines: map[model.HostName]*trace.Pipeline{}, underlays: map[model.HostName]underlay{}, addrs: map[model.HostName]netip.Addr{},
	}
	for p := range store.All(snap, store.Ports) {
		h.names[string(p.ID)] = p.Name
	}
	for d := range store.All(snap, store.GatewayDevices) {
		h.names[string(d.ID)] = d.Name
	}
	return h
}

// of is the pipeline of the host where a packet starts; "": any.
func (h *tracedHosts) of(host model.HostName) *trace.Pipeline {
	if host == "" {
		host = h.local
		for o := range store.All(h.snap, store.Hosts) {
			host = o.Name
			break
		}
	}
	p := h.pipeline(host)
	h.first = h.underlays[host]
	return p
}

func (h *tracedHosts) pipeline(host model.HostName) *trace.Pipeline {
	if p := h.pipelines[host]; p != nil {
		return p
	}
	st := hoststate.CompileWhole(h.topology, host)
	u := h.ask(host)
	env := trace.Env{Names: h.names, PathMTU: u.mtus, PathWhy: u.why, Unreachable: u.unreachable, Fabric: fabricOf(h.snap, host), Other: h.pipeline}
	for name, o := range st.Hosts {
		h.addrs[name] = o.Addr
	}
	h.underlays[host] = u
	h.pipelines[host] = trace.New(st, env)
	return h.pipelines[host]
}

// told adds to a trace what its hosts know of the underlay: of the fabric, and of the tunnel that it leaves by. What the
// pipeline refuses, it refuses because of the question.
func (h *tracedHosts) told(r trace.Report, err error) (trace.Report, error) {
	if err != nil {
		return r, badRequest("%v", err)
	}
	u := h.first
	for _, over := range r.Hosts {
		r.Warnings = append(r.Warnings, u.warnOf("host "+string(over), h.addrs[over])...)
		u = h.underlays[over]
	}
	if r.Next != nil {
		r.Warnings = append(r.Warnings, u.warn(r.Next.TunnelIP)...)
	}
	return r, nil
}

// fabricOf is a host's end of the fabric.
func fabricOf(snap store.Reader, host model.HostName) hostenv.Fabric {
	h := store.Get(snap, store.Hosts, string(host))
	if h == nil {
		return hostenv.Fabric{}
	}
	return hostenv.Fabric{Addr: h.Fabric.Addr, Port: h.Fabric.Port}
}

// pathsTimeout bounds how long a host is asked for its paths: a trace needs them less than it
// needs to be answered.
const pathsTimeout = time.Second

// underlay is what a host knows of its underlay.
type underlay struct {
	host model.HostName
	// unknown says why nothing is known.
	unknown     error
	mtus        map[netip.Addr]int
	why         map[netip.Addr]string
	unreachable map[trace.VTEP]string
	problems    map[netip.Addr]string
}

// underlay is what a host knows of its paths, if it is there and says so in time.
func (t tracer) underlay(ctx context.Context, host model.HostName) underlay {
	u := underlay{host: host}
	if t.hub == nil {
		return u
	}
	ctx, cancel := context.WithTimeout(ctx, pathsTimeout)
	defer cancel()
	res, err := t.hub.probe(ctx, host, probe.Request{Paths: true})
	if err != nil {
		u.unknown = err
		return u
	}
	u.mtus, u.why, u.unreachable, u.problems = map[netip.Addr]int{}, map[netip.Addr]string{}, map[trace.VTEP]string{}, map[netip.Addr]string{}
	for _, p := range res.Paths {
		switch {
		case p.State == probe.Unreachable:
			u.unreachable[trace.VTEP{Local: p.TunnelIP, Remote: p.VTEP}] = p.Problem
			continue
		case p.Problem != "":
			u.problems[p.VTEP] = p.Problem
		}
		// From two tunnel IPs there may be two ways: the agent takes the smaller one.
		if m, ok := u.mtus[p.VTEP]; !ok || p.MTU < m {
			u.mtus[p.VTEP], u.why[p.VTEP] = p.MTU, p.State+": "+p.Why
		}
	}
	return u
}

// warn says what is not as it should be on the underlay's part of a packet's way.
func (u underlay) warn(vtep netip.Addr) []string { return u.warnOf("VTEP "+vtep.String(), vtep) }

// warnOf calls the other end, at addr, what.
func (u underlay) warnOf(what string, addr netip.Addr) []string {
	switch {
	case errors.Is(u.unknown, hostsync.ErrHostLeft):
		return []string{fmt.Sprintf("whether packets pass between here and %s is not known: host %s is not connected to this controller", what, u.host)}
	case u.unknown != nil:
		return []string{fmt.Sprintf("whether packets pass between here and %s is not known: host %s: %v", what, u.host, u.unknown)}
	case u.problems[addr] != "":
		return []string{fmt.Sprintf("host %s, %s: %s", u.host, what, u.problems[addr])}
	}
	return nil
}

// warnings are about the ports on a packet's way that a host cannot serve: a trace reads
// what hosts are to have, and those lack some of it.
func warnings(snap store.Reader, r trace.Report) []string {
	var out []string
	seen := map[string]bool{}
	look := func(id, what string) {
		p := store.Get(snap, store.Ports, id)
		if p == nil || seen[id] {
			return
		}
		seen[id] = true
		if why := site.PortReason(snap, p); why != "" {
			out = append(out, fmt.Sprintf("%s %s is in status %s: %s", what, id, site.PortStatus(snap, p), why))
		}
	}
	for _, h := range slices.Concat(r.Hops, r.Answer) {
		switch h.Object.Kind {
		case "port":
			look(h.Object.ID, "port")
		case "router":
			for _, id := range site.PortsOfRouter(snap, model.RouterID(h.Object.ID)) {
				look(id, h.At+", port")
			}
		}
	}
	return out
}
