package controller

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// fill makes ports of a network, n in all.
func (l *lab) fill(network string, n int) {
	l.t.Helper()
	const batch = 100
	for made := 0; made < n; {
		var ports []m
		for range min(batch, n-made) {
			ports = append(ports, m{"network_id": network, "name": fmt.Sprint("port", made), "device_owner": "compute:az"})
			made++
		}
		l.do("POST", "/v2.0/ports", m{"ports": ports}, 201)
	}
}

// BenchmarkListPorts is the time of a list through HTTP, whole and of one page.
func BenchmarkListPorts(b *testing.B) {
	for _, n := range []int{400, 10_000} {
		l := start(b, socketDir(b))
		net := l.create("/v2.0/networks", "network", m{"name": "n"})
		l.create("/v2.0/subnets", "subnet", m{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/12"})
		l.fill(net, n)
		for name, query := range map[string]string{
			"all": "", "page": "?limit=100", "by-name": "?name=port7", "id-only": "?fields=id", "by-network": "?network_id=" + net,
		} {
			b.Run(fmt.Sprint(n, "/", name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					resp, err := http.Get("http://" + l.addrs.API.String() + "/v2.0/ports" + query)
					if err != nil {
						b.Fatal(err)
					}
					size, err := io.Copy(io.Discard, resp.Body)
					if err != nil || resp.StatusCode != http.StatusOK {
						b.Fatalf("%s: %v", resp.Status, err)
					}
					resp.Body.Close()
					b.SetBytes(size)
				}
			})
		}
		if err := l.stop(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreatePort is the time of a create through HTTP, written to the disk.
func BenchmarkCreatePort(b *testing.B) {
	l := start(b, socketDir(b))
	net := l.create("/v2.0/networks", "network", m{"name": "n"})
	l.create("/v2.0/subnets", "subnet", m{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/12"})
	b.ReportAllocs()
	for b.Loop() {
		l.create("/v2.0/ports", "port", m{"network_id": net, "name": "p"})
	}
}
