package controller

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// portWatch tells when a port's row arrives.
type portWatch chan model.PortID

func (w portWatch) Update(_ context.Context, u hostsync.Update) {
	if u.Delta.Full {
		return
	}
	for _, p := range u.Delta.Set.Ports {
		w <- p.ID
	}
}

// BenchmarkPortToHost is the time from the request for a bound port to its row at
// the host, the answer included, in an empty site and in one of 10,000 ports.
func BenchmarkPortToHost(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := start(b, socketDir(b))
			net := l.create("/v2.0/networks", "network", m{"name": "n"})
			l.create("/v2.0/subnets", "subnet", m{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/12"})
			port := func(i int) m {
				return m{"network_id": net, "binding:host_id": "h0", "binding:profile": m{"interface_name": fmt.Sprint("tap", i)}}
			}
			for i := 0; i < n; i += 100 {
				var ports []m
				for j := range 100 {
					ports = append(ports, port(i+j))
				}
				l.do("POST", "/v2.0/ports", m{"ports": ports}, 201)
			}
			first := l.agent()
			first.until(b, "all ports", func(s hoststate.State) bool { return len(s.Ports) == n })
			first.stop()
			client, err := hostsync.NewClient(hostsync.ClientOptions{
				Targets: []string{"unix://" + filepath.Join(l.dir, "run", "a.sock")}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			w := make(portWatch, 1000)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- client.Run(ctx, w) }()
			defer func() { cancel(); _ = testutil.Receive(b, "the agent's end", done) }()
			waitMetric(b, l, `causeway_controller_host_connected{host="h0"} 1`)
			i := n
			for b.Loop() {
				i++
				id := l.create("/v2.0/ports", "port", port(i))
				for string(testutil.Receive(b, "the port at the host", w)) != id {
				}
			}
		})
	}
}
