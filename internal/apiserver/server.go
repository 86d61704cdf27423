// Package apiserver serves an API over HTTP to clients that nobody vouches for: it
// bounds how many connections they hold, for how long, and what they send; and over
// TLS from files that may change while it runs.
package apiserver

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Options bound what clients can hold. Zero values are the defaults.
type Options struct {
	// Certs are those of TLS; nil: none.
	Certs *Certs
	// Connections are how many may be open; more take the place of idle ones, or of
	// the client's that has the most, or are closed at once.
	Connections int
	// Header, Body, Reply and Idle are how long a request's header and its body may
	// take to come, the answer to be read, and a connection to be without a
	// request.
	Header, Body, Reply, Idle time.Duration
	// Logger takes what clients do wrong, at debug level.
	Logger *slog.Logger
}

// The defaults of Options.
const (
	DefaultConnections = 1024

	defaultHeader = 10 * time.Second
	defaultBody   = 30 * time.Second // for 4 MiB: 1.1 Mbit/s
	defaultReply  = 2 * time.Minute
	defaultIdle   = 2 * time.Minute

	maxHeader = 64 << 10
)

// New makes a server; see Serve.
func New(h http.Handler, o Options) *http.Server {
	or := func(d, def time.Duration) time.Duration {
		if d == 0 {
			return def
		}
		return d
	}
	s := &http.Server{
		Handler:           fewFields(h),
		ReadHeaderTimeout: or(o.Header, defaultHeader),
		ReadTimeout:       or(o.Body, defaultBody),
		WriteTimeout:      or(o.Reply, defaultReply),
		IdleTimeout:       or(o.Idle, defaultIdle),
		MaxHeaderBytes:    maxHeader,
	}
	if o.Logger != nil {
		s.ErrorLog = slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug)
	}
	if o.Certs != nil {
		s.TLSConfig = o.Certs.config()
	}
	return s
}

// maxFields bounds the fields of a request's header. Each takes far more memory than its
// text, for as long as the request lasts.
const maxFields = 256

func fewFields(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fields := 0
		for _, values := range r.Header {
			fields += len(values)
		}
		if fields > maxFields {
			w.Header().Set("Connection", "close")
			http.Error(w, "more header fields than the server takes", http.StatusRequestHeaderFieldsTooLarge)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Serve serves connections of l, at most most at a time (0: DefaultConnections),
// until the server is shut down. The server's ConnState, if it has one, is told of
// a state after the limit knows it.
func Serve(s *http.Server, l net.Listener, most int) error {
	if most == 0 {
		most = DefaultConnections
	}
	c := &connections{Listener: l, most: most, open: map[net.Conn]connection{}}
	tell := s.ConnState
	s.ConnState = c.state
	if tell != nil {
		s.ConnState = func(conn net.Conn, state http.ConnState) {
			c.state(conn, state)
			tell(conn, state)
		}
	}
	if s.TLSConfig != nil {
		return s.Serve(tls.NewListener(c, s.TLSConfig))
	}
	return s.Serve(c)
}
