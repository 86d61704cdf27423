package scenario

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metrics reads the /metrics of a site's controller or a host's agent: sample
// with its labels → value.
func (l *lab) metrics(server string) (map[string]float64, error) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.MetricsSocket(server))
		},
	}}
	resp, err := c.Get("http://metrics/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	m := map[string]float64{}
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		line := s.Text()
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric line %q: %w", line, err)
		}
		m[line[:i]] = v
	}
	return m, nil
}

// drops are a host's drop counters by reason.
func (s *site) drops() map[string]int {
	s.lab.t.Helper()
	m, err := s.lab.metrics(s.host)
	if err != nil {
		s.lab.t.Fatal(err)
	}
	d := map[string]int{}
	for k, v := range m {
		if r, ok := strings.CutPrefix(k, dropMetric+`{reason="`); ok {
			d[strings.TrimSuffix(r, `"}`)] = int(v)
		}
	}
	if len(d) == 0 {
		s.lab.t.Fatalf("host %s shows no %s", s.host, dropMetric)
	}
	return d
}

// risen are the reasons whose counter rose between two readings, with by how much.
func risen(before, after map[string]int) map[string]int {
	d := map[string]int{}
	for r, n := range after {
		if n != before[r] {
			d[r] = n - before[r]
		}
	}
	return d
}

const dropMetric = "causeway_agent_drops_total"
