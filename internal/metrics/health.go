package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health is what "causeway health" knows at one moment.
type Health struct {
	Remotes            []RemoteVTEP
	Refused, Reflected uint64
	Latest             float64 // seconds
}

// RemoteVTEP is what is known of one remote.
type RemoteVTEP struct {
	TunnelIP, VTEP, Means, State string
	Flaps, Sent, Answered        uint64
	Measured                     bool
	RTT, Loss                    float64 // seconds; 0 to 1
}

// HealthHandler serves the metrics of "causeway health".
func HealthHandler(snapshot func() Health) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		healthCollector{snapshot},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

type healthCollector struct{ snapshot func() Health }

type healthDescs struct {
	state, flaps, sent, answered, rtt, loss, refused, reflected, latest *prometheus.Desc
}

func healthDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("causeway_health_"+name, help, labels, nil)
}

func newHealthDescs() healthDescs {
	remote := []string{"tunnel_ip", "vtep"}
	return healthDescs{
		state:     healthDesc("remote_state", "1 for the state that a remote VTEP is in (up, down, unknown), and for the means by which that is known.", "tunnel_ip", "vtep", "state", "means"),
		flaps:     healthDesc("remote_downs_total", "How often a remote VTEP went from up to down.", remote...),
		sent:      healthDesc("probes_sent_total", "Questions to a remote VTEP, by S-BFD or ICMP echo.", remote...),
		answered:  healthDesc("probes_answered_total", "Questions to a remote VTEP that were answered.", remote...),
		rtt:       healthDesc("round_trip_seconds", "Round trip of the last answer of a remote VTEP.", remote...),
		loss:      healthDesc("loss_ratio", "Part of the last 128 questions to a remote VTEP that got no answer.", remote...),
		refused:   healthDesc("refused_packets_total", "Packets of BFD and S-BFD that were discarded: unknown senders, wrong TTL, discriminator or authentication."),
		reflected: healthDesc("reflected_packets_total", "S-BFD questions of remote VTEPs that were answered."),
		latest:    healthDesc("latest_seconds", "The latest that the process ever came to a timer of S-BFD or BFD."),
	}
}

func (healthCollector) Describe(ch chan<- *prometheus.Desc) {
	d := newHealthDescs()
	for _, desc := range []*prometheus.Desc{d.state, d.flaps, d.sent, d.answered, d.rtt, d.loss, d.refused, d.reflected, d.latest} {
		ch <- desc
	}
}

func (c healthCollector) Collect(ch chan<- prometheus.Metric) {
	d, s := newHealthDescs(), c.snapshot()
	put := func(desc *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, t, v, labels...)
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	put(d.refused, counter, float64(s.Refused))
	put(d.reflected, counter, float64(s.Reflected))
	put(d.latest, gauge, s.Latest)
	for _, r := range s.Remotes {
		put(d.state, gauge, 1, r.TunnelIP, r.VTEP, r.State, r.Means)
		put(d.flaps, counter, float64(r.Flaps), r.TunnelIP, r.VTEP)
		put(d.sent, counter, float64(r.Sent), r.TunnelIP, r.VTEP)
		put(d.answered, counter, float64(r.Answered), r.TunnelIP, r.VTEP)
		if r.Measured {
			put(d.rtt, gauge, r.RTT, r.TunnelIP, r.VTEP)
			put(d.loss, gauge, r.Loss, r.TunnelIP, r.VTEP)
		}
	}
}
