package probe

import (
	"net/netip"
	"time"
)

// Question is a request as the site's API takes it; what is left out has the defaults.
type Question struct {
	Target netip.Addr `json:"target"`
	// Source is an address of the router; zero: that of the interface by which the
	// packets leave.
	Source     netip.Addr `json:"source,omitzero"`
	Count      int        `json:"count,omitempty"`
	Size       int        `json:"size,omitempty"` // bytes of the IP packet
	IntervalMS int        `json:"interval_ms,omitempty"`
	TimeoutMS  int        `json:"timeout_ms,omitempty"`
	PathMTU    bool       `json:"path_mtu,omitempty"`
}

// Report is the API's answer.
type Report struct {
	RouterID string     `json:"router_id"`
	Source   netip.Addr `json:"source"`
	Target   netip.Addr `json:"target"`
	Host     string     `json:"host"` // that sent the packets
	Sent     int        `json:"sent"`
	Received int        `json:"received"`
	Loss     float64    `json:"loss"`             // 0–1
	RTT      *RTT       `json:"rtt_us,omitempty"` // nil: nothing came back
	// PathMTU is in bytes of an IP packet; 0: not asked for, or not found.
	PathMTU int       `json:"path_mtu,omitempty"`
	Errors  []Instead `json:"errors,omitempty"`
	// Path is what the host knows of the underlay's path to the VTEP in between.
	Path *PathState `json:"path,omitempty"`
}

// RTT are round-trip times in microseconds.
type RTT struct {
	Min float64 `json:"min"`
	Avg float64 `json:"avg"`
	Max float64 `json:"max"`
}

// Instead is what came instead of an answer.
type Instead struct {
	From   netip.Addr `json:"from,omitzero"`    // zero: the router itself
	Reason string     `json:"reason,omitempty"` // the router's drop reason
	What   string     `json:"what"`
	MTU    int        `json:"mtu,omitempty"`
	Count  int        `json:"count"`
	Text   string     `json:"text"` // all of it in words
}

// Request is the question as a host takes it.
func (q Question) Request() Request {
	return Request{
		Source: q.Source, Target: q.Target, Count: q.Count, Size: q.Size, PathMTU: q.PathMTU,
		Interval: milliseconds(q.IntervalMS), Timeout: milliseconds(q.TimeoutMS),
	}
}

// milliseconds keeps what would overflow out of bounds.
func milliseconds(n int) time.Duration {
	const most = int(time.Hour / time.Millisecond)
	return time.Duration(min(max(n, -1), most)) * time.Millisecond
}

// NewReport puts a result into the API's form.
func NewReport(routerID, host string, r Request, res Result) Report {
	out := Report{
		RouterID: routerID, Source: r.Source, Target: r.Target, Host: host,
		Sent: res.Sent, Received: res.Received, Loss: res.Loss(), PathMTU: res.PathMTU,
	}
	if res.Received > 0 {
		us := func(d time.Duration) float64 { return float64(d.Nanoseconds()/100) / 10 }
		out.RTT = &RTT{us(res.RTTMin), us(res.RTTAvg), us(res.RTTMax)}
	}
	if len(res.Paths) > 0 {
		out.Path = &res.Paths[0]
	}
	for _, e := range res.Errors {
		out.Errors = append(out.Errors, Instead{e.From, e.Reason, e.What, e.MTU, e.Count, e.String()})
	}
	return out
}
