package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Peer counts what the service that keeps peerings does. Its methods may be called from many
// goroutines.
type Peer struct {
	registry                                *prometheus.Registry
	leader, inSync, drift, problems, siteUp *prometheus.GaugeVec
	looks, applies, steps                   *prometheus.CounterVec
	filesOK, peerings                       prometheus.Gauge
	took                                    prometheus.Histogram
	lastLook                                *prometheus.GaugeVec
}

func peerDesc(name, help string) prometheus.Opts {
	return prometheus.Opts{Name: "causeway_peer_" + name, Help: help}
}

// NewPeer makes the metrics.
func NewPeer() *Peer {
	gauge := func(o prometheus.Opts, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts(o), labels)
	}
	counter := func(o prometheus.Opts, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(o), labels)
	}
	o := peerDesc("apply_seconds", "Time of an attempt to mend a peering.")
	p := &Peer{
		registry: prometheus.NewRegistry(),
		leader:   gauge(peerDesc("leader", "1 while this instance leads for the peering."), "peering"),
		inSync:   gauge(peerDesc("in_sync", "1 if all sites were as the file says at the leader's last look."), "peering"),
		drift:    gauge(peerDesc("drift", "Differences from the file at the leader's last look."), "peering"),
		problems: gauge(peerDesc("problems", "What stands in the way of the peering."), "peering"),
		siteUp:   gauge(peerDesc("site_up", "1 if the site's API answered when it was last asked."), "peering", "site"),
		looks:    counter(peerDesc("looks_total", "Times that all of a peering was looked at."), "peering"),
		applies:  counter(peerDesc("applies_total", "Attempts to mend a peering, by how they ended."), "peering", "result"),
		steps:    counter(peerDesc("steps_total", "Steps done at the sites."), "peering"),
		lastLook: gauge(peerDesc("last_look_seconds", "When all of a peering was last looked at, seconds since 1970."), "peering"),
		filesOK:  prometheus.NewGauge(prometheus.GaugeOpts(peerDesc("files_ok", "1 if the files could be read when they were last looked at."))),
		peerings: prometheus.NewGauge(prometheus.GaugeOpts(peerDesc("peerings", "Peerings that are looked after."))),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: o.Name, Help: o.Help,
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}}),
	}
	p.registry.MustRegister(p.leader, p.inSync, p.drift, p.problems, p.siteUp, p.looks, p.applies, p.steps, p.lastLook, p.filesOK, p.peerings, p.took,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p
}

// Handler serves the metrics.
func (p *Peer) Handler() http.Handler {
	return promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Looked implements service.Counts.
func (p *Peer) Looked(peering string, leader, inSync bool, drift, problems int) {
	p.leader.WithLabelValues(peering).Set(truth(leader))
	p.inSync.WithLabelValues(peering).Set(truth(inSync))
	p.drift.WithLabelValues(peering).Set(float64(drift))
	p.problems.WithLabelValues(peering).Set(float64(problems))
	p.looks.WithLabelValues(peering).Inc()
	p.lastLook.WithLabelValues(peering).SetToCurrentTime()
}

// Site implements service.Counts.
func (p *Peer) Site(peering, site string, up bool) {
	p.siteUp.WithLabelValues(peering, site).Set(truth(up))
}

// Applied implements service.Counts.
func (p *Peer) Applied(peering, result string, steps int, took time.Duration) {
	p.applies.WithLabelValues(peering, result).Inc()
	p.steps.WithLabelValues(peering).Add(float64(steps))
	if took > 0 {
		p.took.Observe(took.Seconds())
	}
}

// Files implements service.Counts.
func (p *Peer) Files(ok bool, peerings int) {
	p.filesOK.Set(truth(ok))
	p.peerings.Set(float64(peerings))
}

// Gone implements service.Counts.
func (p *Peer) Gone(peering string) {
	of := prometheus.Labels{"peering": peering}
	for _, g := range []*prometheus.GaugeVec{p.leader, p.inSync, p.drift, p.problems, p.siteUp, p.lastLook} {
		g.DeletePartialMatch(of)
	}
	for _, c := range []*prometheus.CounterVec{p.looks, p.applies, p.steps} {
		c.DeletePartialMatch(of)
	}
}
