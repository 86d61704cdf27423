package demo

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// How much is sent, and how long each answer may take. An answer takes well under
// a millisecond; on a busy machine a process may not run for much longer.
const (
	pings        = 5
	probeTimeout = 5 * time.Second
	captureLimit = 5000
)

// PingReport is a ping.
type PingReport struct {
	From     string    `json:"from"`
	To       string    `json:"to"`
	Sent     int       `json:"sent"`
	Received int       `json:"received"`
	Millis   []float64 `json:"rtt_ms"`
}

// RouteReport is a traceroute.
type RouteReport struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Hops []string `json:"hops"` // * where nobody answered
	Want []string `json:"want"`
}

// prove sends real packets and looks at what came of them.
func (r *run) prove(ctx context.Context) error {
	core, err := r.lab.NetNS("core")
	if err != nil {
		return err
	}
	defer core.Close()
	ifaces := []string{"to-" + r.sites[0].host, "to-" + r.sites[1].host}
	if r.cap, err = probe.StartCapture(core, ifaces, captureLimit, isVXLAN); err != nil {
		return err
	}
	for i, s := range r.sites {
		if err := r.ping(ctx, s, r.sites[1-i]); err != nil {
			return err
		}
	}
	for i, s := range r.sites {
		if err := r.traceroute(ctx, s, r.sites[1-i]); err != nil {
			return err
		}
	}
	for i, s := range r.sites {
		if err := r.remoteMACs(ctx, s, r.sites[1-i]); err != nil {
			return err
		}
	}
	if err := r.counters(ctx); err != nil {
		return err
	}
	return r.packets(ctx)
}

func (r *run) ping(ctx context.Context, from, to *site) error {
	ns, err := r.lab.NetNS(from.plan.vm)
	if err != nil {
		return err
	}
	defer ns.Close()
	dst, err := netip.ParseAddr(to.plan.vmIP)
	if err != nil {
		return err
	}
	res, err := probe.Ping(ctx, ns, dst, probe.PingOptions{Count: pings, Size: 56, Timeout: probeTimeout})
	if err != nil {
		return err
	}
	rep := PingReport{From: from.plan.vmIP, To: to.plan.vmIP, Sent: res.Sent, Received: res.Received}
	for _, d := range res.RTT {
		rep.Millis = append(rep.Millis, float64(d.Microseconds())/1000)
	}
	r.res.Pings = append(r.res.Pings, rep)
	detail := fmt.Sprintf("%d of %d answered", res.Received, res.Sent)
	if len(rep.Millis) > 0 {
		detail += fmt.Sprintf(", fastest %.3f ms", slices.Min(rep.Millis))
	}
	r.check(res.OK(), fmt.Sprintf("ping %s → %s", rep.From, rep.To), detail)
	return nil
}

func (r *run) traceroute(ctx context.Context, from, to *site) error {
	return r.trace(ctx, from.plan.vm, RouteReport{From: from.plan.vmIP, To: to.plan.vmIP, Want: []string{from.plan.gateway, to.plan.peerIP, to.plan.vmIP}})
}

// trace finds the hops of rep from a workload, and compares them with those that it wants.
func (r *run) trace(ctx context.Context, workload string, rep RouteReport) error {
	ns, err := r.lab.NetNS(workload)
	if err != nil {
		return err
	}
	defer ns.Close()
	dst, err := netip.ParseAddr(rep.To)
	if err != nil {
		return err
	}
	hops, err := probe.Traceroute(ctx, ns, dst, 8, probeTimeout/2)
	if err != nil {
		return err
	}
	for _, h := range hops {
		hop := "*"
		if h.Addr.IsValid() {
			hop = h.Addr.String()
		}
		rep.Hops = append(rep.Hops, hop)
	}
	r.res.Routes = append(r.res.Routes, rep)
	detail := strings.Join(rep.Hops, ", ")
	ok := slices.Equal(rep.Hops, rep.Want)
	if !ok {
		detail += "; it must be " + strings.Join(rep.Want, ", ")
	}
	r.check(ok, fmt.Sprintf("traceroute %s → %s", rep.From, rep.To), detail)
	return nil
}

// remoteMACs shows a site's remote MAC table, which is one row: the other site's.
func (r *run) remoteMACs(ctx context.Context, s, other *site) error {
	rows, err := s.api.List(ctx, client.RemoteMACEntries(s.ids["gateway"]), nil)
	if err != nil {
		return err
	}
	var shown []string
	ok := len(rows) == 1
	for _, e := range rows {
		mac, vtep := client.Str(e, "mac_address"), client.Str(e, "vtep_address")
		shown = append(shown, fmt.Sprintf("(VNI %v, %s) → %s", e["segmentation_id"], mac, vtep))
		got, err := model.ParseMAC(mac)
		want, werr := model.ParseMAC(other.plan.peerMAC)
		ok = ok && err == nil && werr == nil && got == want && vtep == other.plan.tunnelIP && fmt.Sprint(e["segmentation_id"]) == fmt.Sprint(vni)
	}
	r.check(ok, "remote MAC table of "+s.plan.name("GatewayDevice"), strings.Join(shown, "; "))
	return nil
}
