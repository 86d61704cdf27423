package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Controller counts what a controller does. Its methods may be called from many
// goroutines.
type Controller struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	latency   *prometheus.HistogramVec
	revision  prometheus.Gauge
	commits   prometheus.Counter
	retries   prometheus.Counter
	compile   prometheus.Histogram
	connected *prometheus.GaugeVec
	alive     *prometheus.GaugeVec
	lag       *prometheus.GaugeVec
	groups    *prometheus.GaugeVec
	cut       *prometheus.GaugeVec
	reports   *prometheus.CounterVec
	limited   prometheus.Counter
	unaudited prometheus.Counter
	tokens    *prometheus.CounterVec
	asking    prometheus.Histogram
	cached    *prometheus.CounterVec
	policies  *prometheus.CounterVec
	probes    *prometheus.CounterVec
	waiting   prometheus.Gauge
	switches  *switches
}

func controllerDesc(name, help string) prometheus.Opts {
	return prometheus.Opts{Name: "causeway_controller_" + name, Help: help}
}

// NewController makes the metrics of a controller of this version.
func NewController(version string) *Controller {
	histogram := func(o prometheus.Opts, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: o.Name, Help: o.Help, Buckets: buckets}
	}
	c := &Controller{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(controllerDesc("api_requests_total",
			"API requests answered.")), []string{"method", "route", "code"}),
		latency: prometheus.NewHistogramVec(histogram(controllerDesc("api_request_seconds",
			"Time from an API request's header to the end of its answer."),
			[]float64{.001, .002, .005, .01, .02, .05, .1, .25, 1, 5}), []string{"method", "route"}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts(controllerDesc("store_revision",
			"Revision of the state that this controller has seen."))),
		commits: prometheus.NewCounter(prometheus.CounterOpts(controllerDesc("transactions_total",
			"Transactions with the store, failed ones included."))),
		retries: prometheus.NewCounter(prometheus.CounterOpts(controllerDesc("transaction_retries_total",
			"Times that a transaction ran again because others had changed what it read."))),
		compile: prometheus.NewHistogram(histogram(controllerDesc("compile_seconds",
			"Time to work out what a change means for the hosts."), []float64{.00001, .0001, .001, .01, .1, 1})),
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts(controllerDesc("host_connected",
			"1 while the host's agent is connected to this controller.")), []string{"host"}),
		alive: prometheus.NewGaugeVec(prometheus.GaugeOpts(controllerDesc("host_alive",
			"0 once the host's agent has been away for longer than --host-timeout, as the site has it; 1 before.")), []string{"host"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts(controllerDesc("host_revision_lag",
			"How many revisions the host is behind what was sent to it; 0: all applied.")), []string{"host"}),
		groups: prometheus.NewGaugeVec(prometheus.GaugeOpts(controllerDesc("host_groups",
			"Networks, routers and the like that the host gets rows of.")), []string{"host"}),
		cut: prometheus.NewGaugeVec(prometheus.GaugeOpts(controllerDesc("host_groups_cut",
			"1 where more lies within reach of the host's ports than a host gets rows of.")), []string{"host"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts(controllerDesc("host_reports_total",
			"Reports taken from the host's agent.")), []string{"host"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts(controllerDesc("token_validations_total",
			"Questions to Keystone about tokens, by what came of them.")), []string{"result"}),
		asking: prometheus.NewHistogram(histogram(controllerDesc("token_validation_seconds",
			"Time of a question to Keystone about a token."), []float64{.002, .005, .01, .02, .05, .1, .25, 1, 5})),
		cached: prometheus.NewCounterVec(prometheus.CounterOpts(controllerDesc("token_cache_hits_total",
			"Tokens judged without a question to Keystone.")), []string{"result"}),
		policies: prometheus.NewCounterVec(prometheus.CounterOpts(controllerDesc("policy_loads_total",
			"Times that the policy file was read, by what came of it.")), []string{"result"}),
	}
	c.limited = prometheus.NewCounter(prometheus.CounterOpts(controllerDesc("api_limited_total",
		"API requests turned away because their client sends more than --api-rate.")))
	c.unaudited = prometheus.NewCounter(prometheus.CounterOpts(controllerDesc("audit_failures_total",
		"Lines of the audit log that could not be written.")))
	c.waiting = prometheus.NewGauge(prometheus.GaugeOpts(controllerDesc("agents_waiting",
		"Agents that wait until the controller has taken in others that came before.")))
	c.registry.MustRegister(c.limited, c.unaudited, c.waiting)
	c.probes = prometheus.NewCounterVec(prometheus.CounterOpts(controllerDesc("probes_total",
		"Probes that were asked for, by what came of them.")), []string{"result"})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts(controllerDesc("build_info",
		"1; the labels say what runs.")), []string{"version", "go"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	c.switches = newSwitches(c.registry)
	c.registry.MustRegister(c.requests, c.latency, c.revision, c.commits, c.retries, c.compile, c.connected, c.alive, c.lag, c.groups, c.cut, c.reports,
		c.tokens, c.asking, c.cached, c.policies, c.probes, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return c
}

// Handler serves the metrics.
func (c *Controller) Handler() http.Handler {
	return promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Request counts an answered API request. route is a pattern, not a path.
func (c *Controller) Request(method, route string, code int, took time.Duration) {
	c.requests.WithLabelValues(method, route, strconv.Itoa(code)).Inc()
	c.latency.WithLabelValues(method, route).Observe(took.Seconds())
}

// Limited counts a request turned away for its client's rate.
func (c *Controller) Limited() { c.limited.Inc() }

// AuditFailed counts a line of the audit log that could not be written.
func (c *Controller) AuditFailed() { c.unaudited.Inc() }

// Revision notes the revision that has been seen.
func (c *Controller) Revision(rev int64) { c.revision.Set(float64(rev)) }

// Transaction counts a transaction that ran so many times.
func (c *Controller) Transaction(runs int) {
	c.commits.Inc()
	c.retries.Add(float64(max(runs-1, 0)))
}

// Compiled notes how long the hosts' states took.
func (c *Controller) Compiled(took time.Duration) { c.compile.Observe(took.Seconds()) }

// HostConnected notes whether a host's agent is connected.
func (c *Controller) HostConnected(host string, connected bool) {
	v := 0.0
	if connected {
		v = 1
	}
	c.connected.WithLabelValues(host).Set(v)
}

// AgentsWaiting notes how many agents wait for their turn to be taken in.
func (c *Controller) AgentsWaiting(n int) { c.waiting.Set(float64(n)) }

// HostAlive notes whether the site takes a host for alive.
func (c *Controller) HostAlive(host string, alive bool) {
	v := 0.0
	if alive {
		v = 1
	}
	c.alive.WithLabelValues(host).Set(v)
}

// HostDeleted forgets a host.
func (c *Controller) HostDeleted(host string) {
	for _, v := range []*prometheus.GaugeVec{c.connected, c.alive, c.lag, c.groups, c.cut} {
		v.DeleteLabelValues(host)
	}
	c.reports.DeleteLabelValues(host)
}

// HostLag notes what was sent to a host and what it has applied.
func (c *Controller) HostLag(host string, sent, applied int64) {
	c.lag.WithLabelValues(host).Set(float64(max(sent-applied, 0)))
}

// HostGroups notes how many groups a host gets rows of, and whether there would be more.
func (c *Controller) HostGroups(host string, groups int, cut bool) {
	c.groups.WithLabelValues(host).Set(float64(groups))
	v := 0.0
	if cut {
		v = 1
	}
	c.cut.WithLabelValues(host).Set(v)
}

// HostReport counts a report of a host.
func (c *Controller) HostReport(host string) { c.reports.WithLabelValues(host).Inc() }

// TokenValidated counts a question to Keystone: valid, invalid, unavailable or busy.
func (c *Controller) TokenValidated(result string, took time.Duration) {
	c.tokens.WithLabelValues(result).Inc()
	c.asking.Observe(took.Seconds())
}

// TokenFromCache counts a token that was judged without: valid, invalid or stale.
func (c *Controller) TokenFromCache(result string) { c.cached.WithLabelValues(result).Inc() }

// PolicyLoaded counts a reading of the policy file: loaded or refused.
func (c *Controller) PolicyLoaded(result string) { c.policies.WithLabelValues(result).Inc() }

// Probed counts a probe: answered, lost (no packet came back) or failed (none was sent).
func (c *Controller) Probed(result string) { c.probes.WithLabelValues(result).Inc() }
