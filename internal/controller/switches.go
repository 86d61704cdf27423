package controller

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hwvtep"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// driveSwitches keeps the site's switches (gateway devices of type hw_vtep) as they
// are to be, until ctx ends. Of several controllers, the one that has a switch's
// lock does.
func (h *hub) driveSwitches(ctx context.Context, c config.Controller, counts *metrics.Controller) error {
	var conf *tls.Config
	if c.SwitchTLS.Any() {
		cert, pool, err := loadTLS(c.SwitchTLS)
		if err != nil {
			return fmt.Errorf("TLS to switches: %w", err)
		}
		conf = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool}
	}
	targets := make(chan []hwvtep.Target)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		h.watchSwitches(ctx, targets)
	}()
	err := hwvtep.Run(ctx, hwvtep.Options{
		Site: h.rules, Counts: counts, Driver: c.LocalHost, TLS: conf, Logger: h.log,
		Alive: func(ctx context.Context) error {
			_, err := h.rules.View(ctx)
			return err
		},
	}, targets)
	<-watched
	return err
}

// watchSwitches sends what the switches are to have whenever it may have changed.
func (h *hub) watchSwitches(ctx context.Context, targets chan<- []hwvtep.Target) {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		snap, feed, err := h.st.Watch(ctx)
		if err == nil {
			wait = 10 * time.Millisecond
			followSwitches(ctx, snap, feed, targets)
		}
		if pause.For(ctx, wait) != nil {
			return
		}
	}
}

// switchPause is how long changes are collected before the targets are worked out:
// many ports of one network may come at once.
const switchPause = 20 * time.Millisecond

// followSwitches works the targets out of the snapshots that the feed brings, the
// last one where they come faster than they are taken.
func followSwitches(ctx context.Context, snap store.Snapshot, feed <-chan store.Batch, targets chan<- []hwvtep.Target) {
	var waiting []hwvtep.Target
	out := targets
	had := false // some switch was there: its going matters too
	look := func() {
		waiting = switchTargets(snap)
		if out = nil; len(waiting) > 0 || had {
			out, had = targets, true
		}
	}
	look()
	var due <-chan time.Time
	for {
		select {
		case b, ok := <-feed:
			if !ok {
				return
			}
			snap = b.Snapshot
			if due == nil && concernsSwitches(b) {
				due = time.After(switchPause)
			}
		case <-due:
			due = nil
			look()
		case out <- waiting:
			out = nil
		case <-ctx.Done():
			return
		}
	}
}

func concernsSwitches(b store.Batch) bool {
	for _, c := range b.Changes {
		switch c.Kind {
		case store.SwitchStates.Kind(): // those of deleted devices are targets
			for _, o := range []store.Object{c.Object, c.Old} {
				if st, _ := o.(*model.SwitchState); st != nil && st.Retired != nil {
					return true
				}
			}
		case store.GatewayDevices.Kind(), store.RemoteMACEntries.Kind(), store.L2Gateways.Kind(), store.L2GatewayConnections.Kind(), store.Ports.Kind(), store.LearnedMACs.Kind():
			return true
		}
	}
	return false
}

func switchTargets(r store.Reader) []hwvtep.Target {
	var out []hwvtep.Target
	var gone []model.GatewayDeviceID
	for _, st := range site.RetiredSwitches(r) {
		gone = append(gone, st.DeviceID)
		out = append(out, hwvtep.Target{Address: endpoint(&st.Retired.Management), Want: hwvtep.Want{Device: st.DeviceID}, Retired: true})
	}
	for d := range store.All(r, store.GatewayDevices) {
		if d.Type != model.HWVTEP || d.Management == nil {
			continue
		}
		w := hwvtep.Want{Device: d.ID, TunnelIP: d.TunnelIP, Gone: gone}
		for _, s := range site.SwitchSegments(r, d) {
			seg := hwvtep.Segment{Connection: s.Connection, Network: s.Network, VNI: s.VNI, VTEPs: s.VTEPs}
			for _, i := range s.Interfaces {
				for _, vlan := range i.VLANs {
					seg.Bindings = append(seg.Bindings, hwvtep.Binding{Port: i.Name, VLAN: vlan})
				}
			}
			for _, m := range s.Remote {
				seg.Remote = append(seg.Remote, hwvtep.RemoteMAC{MAC: m.MAC, VTEP: m.VTEP})
			}
			w.Segments = append(w.Segments, seg)
		}
		out = append(out, hwvtep.Target{Address: endpoint(d.Management), Want: w})
	}
	return out
}

func endpoint(m *model.Management) netip.AddrPort { return netip.AddrPortFrom(m.IP, m.Port) }
