package controller

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/trace"
)

// settleTimeout bounds how long a probe waits for its host to have what was sent to it: a
// host that hangs is probed from all the same.
const settleTimeout = 3 * time.Second

// prober has hosts send packets from routers.
type prober struct {
	rules *site.Site
	hub   *hub
	log   *slog.Logger
}

func (p prober) extra() neutronapi.Extra {
	return neutronapi.Extra{
		Method: http.MethodPost, Path: "/v2.0/routers/{id}/probe", Name: "probe_router",
		Summary: "Send packets from a router, and say what comes back.",
		Body:    keyed("probe", openapi.Read[probe.Question]()), Reply: keyed("probe", openapi.Written[probe.Report]()),
		Answer: func(r *http.Request) (any, error) {
			report, err := p.serve(r)
			if err != nil {
				return nil, err
			}
			return map[string]any{"probe": report}, nil
		},
	}
}

func (p prober) serve(r *http.Request) (probe.Report, error) {
	var body struct {
		Probe *probe.Question `json:"probe"`
	}
	if err := decodeStrict(r, "probe", &body); err != nil {
		return probe.Report{}, err
	}
	if body.Probe == nil {
		return probe.Report{}, badRequest("Unable to find 'probe' in request body")
	}
	ctx, cancel := context.WithTimeout(r.Context(), settleTimeout+probe.MaxDuration)
	defer cancel()
	snap, err := p.rules.View(ctx)
	if err != nil {
		return probe.Report{}, err
	}
	id := r.PathValue("id")
	router := store.Get(snap, store.Routers, id)
	if router == nil {
		return probe.Report{}, site.RouterNotFound(id)
	}
	req, host, err := questionTo(snap, router, body.Probe.Request())
	if err != nil {
		return probe.Report{}, err
	}
	settle, stop := context.WithTimeout(ctx, settleTimeout)
	p.hub.settled(settle, host, snap.Revision())
	stop()
	res, err := p.hub.probe(ctx, host, req)
	if err == nil && res.Received < res.Sent && len(res.Paths) == 0 {
		res.Paths = p.pathOf(ctx, snap, router, host, req)
	}
	caller, _ := identity.From(r.Context())
	p.log.Info("probe", "router", id, "source", req.Source, "target", req.Target, "host", host, "sent", res.Sent, "received", res.Received,
		"path_mtu", res.PathMTU, "error", err, "user_id", caller.UserID, "project_id", caller.ProjectID, "request_id", caller.RequestID)
	switch {
	case err != nil:
		p.hub.counts.Probed("failed")
		return probe.Report{}, probeError(host, err)
	case res.Received == 0:
		p.hub.counts.Probed("lost")
	default:
		p.hub.counts.Probed("answered")
	}
	return probe.NewReport(id, string(host), req, res), nil
}

// pathOf is what the host knows of the underlay's path by which packets leave the site, if they
// do: where the target is not the router beyond the tunnel itself, the agent does not say so.
func (p prober) pathOf(ctx context.Context, snap store.Reader, router *model.Router, host model.HostName, req probe.Request) []probe.PathState {
	pipeline := trace.New(hoststate.CompileWhole(topologyOf(snap), host), trace.Env{Fabric: fabricOf(snap, host)})
	report, err := pipeline.TraceRouter(trace.RouterRequest{Router: router.ID, From: req.Source, To: req.Target})
	if err != nil || report.Next == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pathsTimeout)
	defer cancel()
	res, err := p.hub.probe(ctx, host, probe.Request{Paths: true})
	if err != nil {
		return nil
	}
	for _, s := range res.Paths {
		if s.VTEP == report.Next.TunnelIP && s.TunnelIP == report.Next.Request.Remote {
			return []probe.PathState{s}
		}
	}
	return nil
}

func probeError(host model.HostName, err error) error {
	switch {
	case errors.Is(err, probe.ErrRequest):
		return badRequest("%v", err)
	case errors.Is(err, hostsync.ErrNoProbes):
		return site.Unsupported("Host %s: %v.", host, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return model.Errf(model.KindUnavailable, "ServiceUnavailable", "Host %s: %v.", host, err)
}

// questionTo fills in what the site knows of a request, and finds the host to send from.
func questionTo(snap store.Reader, router *model.Router, req probe.Request) (probe.Request, model.HostName, error) {
	req.Router = router.Key
	from, err := interfaceOf(snap, router, req.Source, req.Target)
	if err != nil {
		return req, "", err
	}
	req.Source = from.addr
	if n := store.Get(snap, store.Networks, string(from.network)); n != nil {
		req.MaxMTU = min(max(n.MTU, probe.MinSize), probe.MaxSize)
	}
	if err := req.Check(); err != nil {
		return req, "", badRequest("%v", err)
	}
	host := hostOf(snap, router, from.network, req.Target)
	if host == "" {
		return req, "", model.Errf(model.KindUnavailable, "ServiceUnavailable", "The site has no host to send from: no agent has connected yet.")
	}
	return req, host, nil
}

// routerAddr is an address of a router and where it is.
type routerAddr struct {
	addr    netip.Addr
	network model.NetworkID
	subnet  netip.Prefix
}

// interfaceOf is the router's address to send from: source, or where that is zero the one by
// which the router's tables lead to target.
func interfaceOf(snap store.Reader, router *model.Router, source, target netip.Addr) (routerAddr, error) {
	addrs := addressesOf(snap, router)
	if source.IsValid() {
		for _, a := range addrs {
			if a.addr == source {
				return a, nil
			}
		}
		return routerAddr{}, badRequest("%s is not an address of router %s.", source, router.ID)
	}
	for _, a := range addrs {
		if a.addr == target {
			return routerAddr{}, badRequest("%s is the router's own address.", target)
		}
	}
	if a, _, ok := wayOut(router, addrs, target); ok {
		return a, nil
	}
	return routerAddr{}, badRequest("Router %s has no route to %s: name the source to send from all the same.", router.ID, target)
}

// addressesOf are a router's addresses.
func addressesOf(snap store.Reader, router *model.Router) (addrs []routerAddr) {
	for p := range store.All(snap, store.Ports) {
		if p.DeviceOwner != model.OwnerRouterInterface || p.DeviceID != string(router.ID) {
			continue
		}
		for _, a := range p.FixedIPs {
			if s := store.Get(snap, store.Subnets, string(a.SubnetID)); s != nil {
				addrs = append(addrs, routerAddr{a.IP, p.NetworkID, s.CIDR})
			}
		}
	}
	return addrs
}

// wayOut is by which of a router's addresses the way to a target leads, and the next hop.
func wayOut(router *model.Router, addrs []routerAddr, target netip.Addr) (by routerAddr, next netip.Addr, ok bool) {
	if a, ok := longest(addrs, target); ok {
		return a, target, true
	}
	var best model.HostRoute
	for _, r := range router.Routes {
		if r.Destination.Contains(target) && (!best.NextHop.IsValid() || r.Destination.Bits() > best.Destination.Bits()) {
			best = r
		}
	}
	if !best.NextHop.IsValid() {
		return routerAddr{}, netip.Addr{}, false
	}
	by, ok = longest(addrs, best.NextHop)
	return by, best.NextHop, ok
}

// longest is the address whose subnet has ip, of several the one with the longest prefix.
func longest(addrs []routerAddr, ip netip.Addr) (best routerAddr, ok bool) {
	for _, a := range addrs {
		if a.subnet.Contains(ip) && (!ok || a.subnet.Bits() > best.subnet.Bits()) {
			best, ok = a, true
		}
	}
	return best, ok
}

// hostOf is where a router's packets to a target are to come from, so that the answers come in there too: the host
// that has the next hop's port, or serves the gateway device by which it is reached; else that of a gateway
// device that the network is connected to, else one that has a port on the router's
// networks, else any; "" where there is none.
func hostOf(snap store.Reader, router *model.Router, network model.NetworkID, target netip.Addr) model.HostName {
	if by, next, ok := wayOut(router, addressesOf(snap, router), target); ok {
		network = by.network
		if host := hostTowards(snap, network, next); host != "" {
			return host
		}
	}
	for c := range store.All(snap, store.L2GatewayConnections) {
		if c.NetworkID != network {
			continue
		}
		g := store.Get(snap, store.L2Gateways, string(c.L2GatewayID))
		if g == nil {
			continue
		}
		if pl := store.Get(snap, store.Placements, string(g.DeviceID)); pl != nil && pl.Host != "" {
			return pl.Host
		}
	}
	on := map[model.NetworkID]bool{}
	for p := range store.All(snap, store.Ports) {
		if p.DeviceOwner == model.OwnerRouterInterface && p.DeviceID == string(router.ID) {
			on[p.NetworkID] = true
		}
	}
	for p := range store.All(snap, store.Ports) {
		if on[p.NetworkID] && p.HostID != "" && store.Get(snap, store.Hosts, string(p.HostID)) != nil {
			return p.HostID
		}
	}
	for h := range store.All(snap, store.Hosts) {
		return h.Name
	}
	return ""
}

// hostTowards is the host by which an address on a network is reached; "" where that is not known.
func hostTowards(snap store.Reader, network model.NetworkID, ip netip.Addr) model.HostName {
	for p := range store.All(snap, store.Ports) {
		if p.NetworkID != network || !slices.ContainsFunc(p.FixedIPs, func(a model.AddrPair) bool { return a.IP == ip }) {
			continue
		}
		if !p.IsRemoteSite() {
			if p.HostID != "" && p.DeviceOwner != model.OwnerRouterInterface && store.Get(snap, store.Hosts, string(p.HostID)) != nil {
				return p.HostID
			}
			continue
		}
		for c := range store.All(snap, store.L2GatewayConnections) {
			g := store.Get(snap, store.L2Gateways, string(c.L2GatewayID))
			if c.NetworkID != network || g == nil {
				continue
			}
			vni := g.VNI
			if vni == 0 {
				vni = c.VNI
			}
			pl := store.Get(snap, store.Placements, string(g.DeviceID))
			for e := range store.All(snap, store.RemoteMACEntries) {
				if pl != nil && e.DeviceID == g.DeviceID && e.VNI == vni && e.MAC.MAC == p.MAC.MAC {
					return pl.Host
				}
			}
		}
	}
	return ""
}

// probe has a host serve a request, through the controller that has it.
func (h *hub) probe(ctx context.Context, name model.HostName, r probe.Request) (probe.Result, error) {
	if res, err := h.probeHere(ctx, name, r); !errors.Is(err, hostsync.ErrHostLeft) {
		return res, err
	}
	a, err := h.askElsewhere(ctx, name, hostRequest{Request: r})
	if err != nil {
		return probe.Result{}, err
	}
	return a.outcome()
}

// probeHere is probe for a host that is connected here.
func (h *hub) probeHere(ctx context.Context, name model.HostName, r probe.Request) (probe.Result, error) {
	h.mu.Lock()
	host := h.hosts[name]
	h.mu.Unlock()
	if host == nil {
		return probe.Result{}, hostsync.ErrHostLeft
	}
	return host.queue.Probe(ctx, r)
}

// settled waits until a host has applied all that it was sent up to a revision, or ctx ends.
func (h *hub) settled(ctx context.Context, name model.HostName, revision int64) {
	for {
		h.mu.Lock()
		host, moved := h.hosts[name], h.moved
		done := host == nil || h.revision >= revision && host.acked >= host.sent
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// wakeSettled wakes those who wait in settled. It needs mu.
func (h *hub) wakeSettled() {
	close(h.moved)
	h.moved = make(chan struct{})
}
