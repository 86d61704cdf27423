package apiserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// MetricsConnections are as many connections as those who read metrics need.
const MetricsConnections = 32

// metricsGrace is how long answers under way are waited for at the end.
const metricsGrace = 2 * time.Second

// ServeMetrics serves metrics, or something as small, until ctx ends; then it returns nil.
// Answers under way have ended when it returns.
func ServeMetrics(ctx context.Context, l net.Listener, h http.Handler, o Options) error {
	s := New(h, o)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		c, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsGrace)
		defer cancel()
		if s.Shutdown(c) != nil {
			_ = s.Close()
		}
	})
	err := Serve(s, l, MetricsConnections)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Exposed tells whether other machines may reach what listens at an address.
func Exposed(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}
