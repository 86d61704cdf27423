package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Counters are an agent's, as its /metrics shows them.
type Counters struct {
	Site      string            `json:"site"`
	TunnelOut uint64            `json:"tunnel_transmit_packets"`
	TunnelIn  uint64            `json:"tunnel_receive_packets"`
	PortIn    uint64            `json:"port_receive_packets"` // what the workload sent
	PortOut   uint64            `json:"port_transmit_packets"`
	Drops     map[string]uint64 `json:"drops"` // those that are not zero
}

// sample is one line of a scrape.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// scrape reads the Prometheus text format from a unix socket.
func scrape(ctx context.Context, socket string) ([]sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the counters at %s: %w", socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return nil, fmt.Errorf("read the counters at %s: %s: %s", socket, resp.Status, b)
	}
	var out []sample
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		if s, ok := parseSample(sc.Text()); ok {
			out = append(out, s)
		}
	}
	return out, sc.Err()
}

// parseSample reads name{label="value",…} number. Values of labels here hold
// neither quotes nor commas.
func parseSample(line string) (sample, bool) {
	if strings.HasPrefix(line, "#") {
		return sample{}, false
	}
	i := strings.LastIndexByte(line, ' ')
	if i < 0 {
		return sample{}, false
	}
	v, err := strconv.ParseFloat(line[i+1:], 64)
	if err != nil {
		return sample{}, false
	}
	name, rest, _ := strings.Cut(line[:i], "{")
	s := sample{name: name, labels: map[string]string{}, value: v}
	for pair := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			s.labels[k] = strings.Trim(v, `"`)
		}
	}
	return s, true
}

func readCounters(ctx context.Context, s *site, socket string) (Counters, error) {
	c := Counters{Site: s.name, Drops: map[string]uint64{}}
	samples, err := scrape(ctx, socket)
	if err != nil {
		return c, err
	}
	for _, m := range samples {
		n := uint64(m.value)
		switch m.name {
		case "causeway_agent_tunnel_transmit_packets_total":
			c.TunnelOut += n
		case "causeway_agent_tunnel_receive_packets_total":
			c.TunnelIn += n
		case "causeway_agent_port_receive_packets_total":
			c.PortIn += n
		case "causeway_agent_port_transmit_packets_total":
			c.PortOut += n
		case "causeway_agent_drops_total":
			if n != 0 {
				c.Drops[m.labels["reason"]] = n
			}
		}
	}
	return c, nil
}

// counters shows both agents' and holds them against each other: what one sent
// into the tunnel the other has received, and nothing was dropped but what
// traceroute wants dropped.
func (r *run) counters(ctx context.Context) error {
	var rows [][]string
	for _, s := range r.sites {
		c, err := readCounters(ctx, s, r.lab.MetricsSocket(s.host))
		if err != nil {
			return err
		}
		r.res.Counters = append(r.res.Counters, c)
		var drops []string
		for k, n := range c.Drops {
			drops = append(drops, fmt.Sprintf("%s %d", k, n))
		}
		slices.Sort(drops)
		rows = append(rows, []string{c.Site, fmt.Sprint(c.PortIn), fmt.Sprint(c.PortOut), fmt.Sprint(c.TunnelOut), fmt.Sprint(c.TunnelIn), strings.Join(drops, ", ")})
	}
	a, b := r.res.Counters[0], r.res.Counters[1]
	r.check(a.TunnelOut > 0 && a.TunnelOut == b.TunnelIn && b.TunnelOut > 0 && b.TunnelOut == a.TunnelIn,
		"counters: what one site put into the tunnel the other took out",
		fmt.Sprintf("%d → %d, %d ← %d", a.TunnelOut, b.TunnelIn, a.TunnelIn, b.TunnelOut))
	var unwanted []string
	for _, c := range r.res.Counters {
		for reason, n := range c.Drops {
			if !strings.EqualFold(reason, "TTL_EXCEEDED") {
				unwanted = append(unwanted, fmt.Sprintf("%s %d at %s", reason, n, c.Site))
			}
		}
	}
	slices.Sort(unwanted)
	detail := strings.Join(unwanted, ", ")
	if detail == "" {
		detail = "none"
	}
	r.check(len(unwanted) == 0, "drops, but for the expired TTLs that traceroute lives on", detail)
	r.p.table([]string{"", "from the VM", "to the VM", "into the tunnel", "out of the tunnel", "dropped"}, rows, nil)
	return nil
}
