package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/causeway-net/causeway/test/process"
	"github.com/causeway-net/causeway/test/stats"
)

// latency is how long something took, over several times.
type latency struct {
	What  string  `json:"what"`
	P50   float64 `json:"p50_ms"`
	Worst float64 `json:"worst_ms"`
	Count int     `json:"count"`
}

func newLatency(what string, took []time.Duration) latency {
	var ms []float64
	for _, d := range took {
		ms = append(ms, float64(d)/1e6)
	}
	return latency{what, stats.Median(ms), slices.Max(ms), len(ms)}
}

const (
	changes = 50 // how many changes are timed from answer to map
	starts  = 5  // how many starts of a controller are timed
)

// memory notes what the processes and maps hold.
func (p *product) memory(out *output) error {
	const mb = 1e6
	for _, s := range p.site {
		for name, proc := range map[string]*process.Process{"controller": s.controller, "agent": s.agent} {
			bytes, err := proc.Anonymous()
			if err != nil {
				return fmt.Errorf("memory of the %s: %w", name, err)
			}
			out.Memory[fmt.Sprintf("%s, site %s: %s, anonymous", p.variant, s.facts.letter, name)] = bytes / mb
		}
		m, err := openMaps(s.pins)
		if err != nil {
			return err
		}
		bytes, err := m.memory()
		if err := errors.Join(err, m.close()); err != nil {
			return err
		}
		out.Memory[fmt.Sprintf("%s, site %s: maps", p.variant, s.facts.letter)] = bytes / mb
	}
	return nil
}

// costs counts the programs' runs and time under 64-byte UDP.
func (p *product) costs(ctx context.Context, o options, out *output) (err error) {
	stats, err := statistics()
	if err != nil {
		return fmt.Errorf("turn on program statistics: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	if _, err := udp64(ctx, p.hosts, o.durations); err != nil {
		return err
	}
	for _, s := range p.site {
		progs, err := programs(s.pins)
		if err != nil {
			return err
		}
		for _, where := range sortedKeys(progs) {
			info, infoErr := progs[where].Info()
			st, statsErr := progs[where].Stats()
			if err := errors.Join(infoErr, statsErr, progs[where].Close()); err != nil {
				return err
			}
			if st.RunCount > 0 {
				out.Programs = append(out.Programs, programCost{
					fmt.Sprintf("%s, site %s, %s", p.variant, s.facts.letter, where), info.Name, st.RunCount,
					float64(st.Runtime) / float64(st.RunCount)})
			}
		}
	}
	return nil
}

// propagation times how long after the API's answer the host's maps have a new
// port and a new route.
func (p *product) propagation(ctx context.Context, out *output) (err error) {
	s := &p.site[0]
	m, err := openMaps(s.pins)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	network, err := m.networkKey(netip.MustParseAddr(s.facts.vm))
	if err != nil {
		return err
	}
	router, err := m.routerKey(netip.MustParsePrefix(s.facts.network))
	if err != nil {
		return err
	}
	until := func(from time.Time, name string, key []byte) (time.Duration, error) {
		err := process.Poll(ctx, 100*time.Microsecond, 10*time.Second, "an entry of "+name, func() (bool, error) { return m.has(name, key) })
		return time.Since(from), err
	}
	var ports, routes []time.Duration
	for i := range changes {
		addr := netip.MustParsePrefix(s.facts.network).Addr().As4()
		addr[3] = byte(100 + i)
		ip := netip.AddrFrom4(addr)
		id, err := s.api.create(ctx, "ports", "port", object{"network_id": s.ids.tenantNetwork, "fixed_ips": []object{{"ip_address": ip.String()}}})
		if err != nil {
			return err
		}
		took, err := until(time.Now(), "neighbors", append(slices.Clone(network), mapped(ip)...))
		if err != nil {
			return err
		}
		ports = append(ports, took)
		if _, err := s.api.call(ctx, http.MethodDelete, "ports/"+id, "port", nil); err != nil {
			return err
		}
		to := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		route := object{"routes": []object{{"destination": to.String() + "/32", "nexthop": other(0).peer}}}
		if _, err := s.api.call(ctx, http.MethodPut, "routers/"+s.ids.router+"/add_extraroutes", "router", route); err != nil {
			return err
		}
		key := append(binary.NativeEndian.AppendUint32(nil, 32+128), router...)
		if took, err = until(time.Now(), "routes", append(key, mapped(to)...)); err != nil {
			return err
		}
		routes = append(routes, took)
		if _, err := s.api.call(ctx, http.MethodPut, "routers/"+s.ids.router+"/remove_extraroutes", "router", route); err != nil {
			return err // a router has as many as its limit lets it have, not as many as are timed
		}
	}
	out.Times = append(out.Times,
		newLatency(p.variant+": API's answer on a port to the host's map", ports),
		newLatency(p.variant+": API's answer on a route to the host's map", routes))
	return nil
}

// firstAnswer times controllers from their start, with an empty data directory
// and with the one that this leaves.
func firstAnswer(ctx context.Context, binary string, out *output) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	var empty, again []time.Duration
	for range starts {
		dir, err := os.MkdirTemp("", "cwbench-")
		if err != nil {
			return err
		}
		for _, list := range []*[]time.Duration{&empty, &again} {
			addr, err := process.FreePort()
			if err != nil {
				return err
			}
			from := time.Now()
			c, err := process.Start(process.Controller(binary, dir, addr, "host"), filepath.Join(dir, "log"))
			if err != nil {
				return err
			}
			err = c.Answers(ctx, 2*time.Millisecond, "http://"+addr+"/v2.0/networks")
			*list = append(*list, time.Since(from))
			if err := errors.Join(err, c.Stop()); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	out.Times = append(out.Times,
		newLatency("controller's start to its first answer, empty", empty),
		newLatency("controller's start to its first answer, with data", again))
	return nil
}
