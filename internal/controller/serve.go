package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/audit"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/ratelimit"
	"github.com/causeway-net/causeway/internal/revocation"
	"github.com/causeway-net/causeway/internal/site"
)

// shutdownTimeout bounds how long requests under way are waited for.
const shutdownTimeout = 10 * time.Second

// parts are what a controller has before its store is open.
type parts struct {
	cfg         Config
	log         *slog.Logger
	listeners   *listeners
	certs       *apiserver.Certs
	quotas      map[string]int64
	connections connectionLimits
	counts      *metrics.Controller
	audit       *audit.Log // nil: none is kept
	gate        gate
	ending      atomic.Bool
	revoked     revokedLists
}

// run serves the API and the agents from a store, until ctx ends or something fails. begin
// is when the store was begun to be opened.
func (p *parts) run(ctx context.Context, st countedStore, begin time.Time) error {
	cfg := p.cfg
	if cfg.onStore != nil {
		cfg.onStore(st)
	}
	rules := site.New(st, site.Options{UnderlayMTU: cfg.UnderlayMTU, Quotas: p.quotas, Limits: site.Limits(cfg.Limits), Logger: p.log})
	hub := newHub(st, rules, p.counts, p.log)
	if cfg.HostTimeout != 0 {
		hub.life.timeout = cfg.HostTimeout
	}
	if cfg.letGo != 0 {
		hub.proofs = proofs{pause: cfg.letGo / 8, letGo: cfg.letGo}
	}
	if cfg.questionWait != 0 {
		hub.questions.wait = cfg.questionWait
	}
	if cfg.GatewayLinger != 0 {
		hub.devices.linger = cfg.GatewayLinger
	}
	agents, err := hostsync.NewServer(hostsync.ServerOptions{
		Hosts: hub, LocalHost: model.HostName(cfg.LocalHost), TLS: agentTLS(cfg.Controller, p.revoked.agents), ByAuthority: cfg.AgentRole == config.RoleByCA,
		Version: cfg.Version, Connections: p.connections.agents, Logger: p.log,
	})
	if err != nil {
		return err
	}
	defer agents.Close()
	api, err := p.api(rules, hub)
	if err != nil {
		return err
	}

	// Requests outlive ctx for a moment, and what serves them must outlive them.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, work := errgroup.WithContext(work)
	group.Go(func() error { return hub.watch(work) })
	group.Go(func() error { return hub.deliver(work) })
	group.Go(func() error { return hub.vouch(work) })
	group.Go(func() error { return hub.advance(work) })
	group.Go(func() error { return hub.watchHosts(work) })
	group.Go(func() error { return hub.watchStore(work) })
	group.Go(func() error { return hub.watchQuestions(work) })
	group.Go(func() error { return p.gate.watch(work) })
	group.Go(func() error {
		reload(work, p)
		return nil
	})
	group.Go(func() error {
		cfg.Service.Watch(work, hub.live)
		return nil
	})
	for _, list := range []*revocation.List{p.revoked.api, p.revoked.agents} {
		group.Go(func() error {
			list.Watch(work)
			return nil
		})
	}
	group.Go(func() error { return hub.driveSwitches(work, cfg.Controller, p.counts) })
	apiServer, metricsServer := p.serve(group, api, agents, hub)
	p.ready(begin)

	select {
	case <-ctx.Done():
		p.log.Info("controller ending")
	case <-work.Done(): // one of them failed
	}
	p.ending.Store(true)
	cfg.Service.Stopping()
	// First no new requests, and those under way to their end; then the streams;
	// then what feeds them; the store last.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if serr := apiServer.Shutdown(grace); serr != nil {
		p.log.Warn("requests did not end in time", "error", serr)
		_ = apiServer.Close()
	}
	_ = metricsServer.Close()
	agents.Close()
	stop()
	return group.Wait()
}

// api is the API's handler.
func (p *parts) api(rules *site.Site, hub *hub) (http.Handler, error) {
	cfg := p.cfg
	tracer := tracer{rules: rules, hub: hub, local: model.HostName(cfg.LocalHost)}
	o := neutronapi.Options{
		Logger: p.log, Extra: extra(tracer, prober{rules, hub, p.log}, switches{rules}, portStatuses{rules, hub}, hostRows{rules, hub}),
		MaxBody: cfg.API.MaxBody, Limiter: ratelimit.New(cfg.API.Rate, cfg.API.Burst, nil),
		Heard:   hub.lastHeard,
		Observe: observer{p.counts, p.log, p.audit}.see,
	}
	var err error
	if o.TrustedProxies, err = cfg.API.Proxies(); err != nil {
		return nil, err
	}
	if cfg.APITLS.CA != "" {
		o.Certificates = operators(cfg.APIRole == config.RoleByCA)
	}
	o.Vet = p.revoked.vet
	p.gate.guard(&o)
	return neutronapi.New(rules, o), nil
}

// serve begins to serve at all listeners.
func (p *parts) serve(group *errgroup.Group, api http.Handler, agents *hostsync.Server, hub *hub) (apiServer, metricsServer *http.Server) {
	if l := p.listeners.local; l != nil {
		group.Go(func() error { return served("agents at "+l.Addr().String(), agents.Serve(l)) })
	}
	if l := p.listeners.network; l != nil {
		group.Go(func() error { return served("agents at "+l.Addr().String(), agents.ServeTLS(l)) })
	}
	apiServer = apiserver.New(api, apiserver.Options{Certs: p.certs, Logger: p.log})
	group.Go(func() error { return served("API", apiserver.Serve(apiServer, p.listeners.api, p.connections.api)) })
	metricsServer = apiserver.New(p.metricsMux(hub), apiserver.Options{Logger: p.log})
	if p.listeners.metrics != nil {
		group.Go(func() error {
			return served("metrics", apiserver.Serve(metricsServer, p.listeners.metrics, apiserver.MetricsConnections))
		})
	}
	return apiServer, metricsServer
}

// served names what ended; the end of a server that was closed is no error.
func served(what string, err error) error {
	if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", what, err)
}

// ready says that the controller serves, and what of it is open to others.
func (p *parts) ready(begin time.Time) {
	warnOpen(p.cfg.Controller, p.log)
	if l := p.listeners.metrics; l != nil && apiserver.Exposed(l.Addr()) {
		p.log.Warn("the metrics are open to whoever reaches their address: they name the site's hosts", "metrics", l.Addr().String())
	}
	p.log.Info("controller ready", "version", p.cfg.Version, "api", p.listeners.api.Addr().String(), "host", p.cfg.LocalHost,
		"took", time.Since(begin).Round(time.Millisecond))
	p.cfg.Service.Ready()
	if p.cfg.OnReady != nil {
		p.cfg.OnReady(p.listeners.addresses())
	}
}
