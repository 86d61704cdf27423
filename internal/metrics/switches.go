package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-net/causeway/internal/model"
)

// switches are the metrics of the switches that a controller drives, by gateway
// device id.
type switches struct {
	connected, inSync, problems, learned *prometheus.GaugeVec
	transactions                         *prometheus.CounterVec
}

func newSwitches(r *prometheus.Registry) *switches {
	gauge := func(o prometheus.Opts) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts(o), []string{"device"})
	}
	s := &switches{
		connected: gauge(controllerDesc("switch_connected", "1 while this controller drives the switch.")),
		inSync:    gauge(controllerDesc("switch_in_sync", "1 while the switch has all that it is to have.")),
		problems:  gauge(controllerDesc("switch_problems", "How many of the site's wishes the switch cannot have.")),
		learned:   gauge(controllerDesc("switch_learned_macs", "MACs that the switch reports behind its ports.")),
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts(controllerDesc("switch_transactions_total",
			"Transactions with the switch.")), []string{"device", "result"}),
	}
	r.MustRegister(s.connected, s.inSync, s.problems, s.learned, s.transactions)
	return s
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// SwitchStatus notes how it stands with a switch.
func (c *Controller) SwitchStatus(device string, st model.SwitchStatus) {
	c.switches.connected.WithLabelValues(device).Set(number(st.Connected))
	c.switches.inSync.WithLabelValues(device).Set(number(st.InSync))
	c.switches.problems.WithLabelValues(device).Set(float64(len(st.Problems)))
}

// SwitchLearned notes how many MACs a switch reports.
func (c *Controller) SwitchLearned(device string, macs int) {
	c.switches.learned.WithLabelValues(device).Set(float64(macs))
}

// SwitchTransaction counts a transaction with a switch.
func (c *Controller) SwitchTransaction(device string, refused bool) {
	result := "done"
	if refused {
		result = "refused"
	}
	c.switches.transactions.WithLabelValues(device, result).Inc()
}

// SwitchGone forgets a switch.
func (c *Controller) SwitchGone(device string) {
	s := c.switches
	for _, v := range []*prometheus.GaugeVec{s.connected, s.inSync, s.problems, s.learned} {
		v.DeleteLabelValues(device)
	}
	s.transactions.DeletePartialMatch(prometheus.Labels{"device": device})
}
