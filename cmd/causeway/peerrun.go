package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/orchestrator/service"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

func newPeerRun() *cobra.Command {
	var paths []string
	var listen string
	var o service.Options
	cmd := &cobra.Command{
		Use:   "run --file DIR",
		Short: "Keep peerings as the files say, for as long as it runs",
		Long: `Keep peerings as the files say, for as long as it runs: watch the files and the sites,
mend what has drifted, advertise the subnets that tenants add to their peer routers and
withdraw those that go. A site that is down is left alone for a while, and caught up
with when it is back. Two sites between which something stands in the way are left as
they are, and all else is mended. A peering whose file goes is left as it is.

Several instances may run with the same files: for each peering one leads, and another
takes over when it is gone. Events are logged (--log-format json), metrics are at
/metrics, and /healthz says 200 while it works. It ends cleanly on SIGTERM and SIGINT,
also in the middle of a change, which the next run completes. The files are read again
when they change, and at SIGHUP no sooner.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringArrayVar(&paths, "file", nil, "`FILE` or directory that says what is peered; repeatable")
	f.DurationVar(&o.Poll, "poll", 2*time.Second, "how often files and peer routers are looked at, a `DURATION`")
	f.DurationVar(&o.Full, "resync", 30*time.Second, "how often all of a peering is looked at, a `DURATION`")
	var timeout time.Duration
	f.DurationVar(&timeout, "timeout", 5*time.Second, "longest wait for one answer of a site, a `DURATION`")
	f.StringVar(&listen, "listen", "127.0.0.1:9797", "`HOST:PORT` or unix:PATH for /metrics and /healthz; empty: none")
	mustRequire(cmd, "file")
	markServer(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for name, d := range map[string]time.Duration{"poll": o.Poll, "resync": o.Full, "timeout": timeout} {
			if d < 100*time.Millisecond {
				return usageError(cmd, fmt.Errorf("--%s %v: at least 100ms", name, d))
			}
		}
		for _, p := range paths {
			if _, err := os.Stat(p); err != nil {
				return named(cmd, cli.BadFile(err))
			}
		}
		log, err := eventLog(cmd)
		if err != nil {
			return err
		}
		defer survivePipe()()
		defer tellHangups(cmd.Context(), nil, log)()
		counts := metrics.NewPeer()
		o.Paths, o.Log, o.Counts, o.Sites = paths, log, counts, sites.Options{Timeout: timeout, TimeoutWins: f.Changed("timeout")}
		svc := service.New(o)
		var l net.Listener
		if listen != "" {
			if l, err = listenAt(listen); err != nil {
				return named(cmd, fmt.Errorf("--listen: %w", err))
			}
		}
		g, ctx := errgroup.WithContext(cmd.Context())
		g.Go(func() error { return svc.Run(ctx) })
		if l != nil {
			log.Info("listening", "address", l.Addr().String())
			if apiserver.Exposed(l.Addr()) {
				log.Warn("the metrics are open to whoever reaches their address: they name peerings and sites", "address", l.Addr().String())
			}
			g.Go(func() error { return service.Serve(ctx, l, svc.Handler(counts.Handler())) })
		}
		err = g.Wait()
		log.Info("ended", endOf(cmd.Context(), err)...)
		return named(cmd, err)
	}
	return cmd
}

// eventLog is a log of what the service does: by default with what it does, and not only with what
// goes wrong.
func eventLog(cmd *cobra.Command) (*slog.Logger, error) {
	level := slog.LevelInfo
	if text, _ := cmd.Flags().GetString("log-level"); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return nil, cli.Usagef("--log-level %s: one of debug, info, warn, error", text)
		}
	}
	if verbose, _ := cmd.Flags().GetBool("verbose"); verbose {
		level = slog.LevelDebug
	}
	format, _ := cmd.Flags().GetString("log-format")
	return newLog(cmd.ErrOrStderr(), format, level), nil
}

func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// listenAt takes an address. A unix socket that nobody listens on any more is taken over.
func listenAt(addr string) (net.Listener, error) {
	path, ok := strings.CutPrefix(addr, "unix:")
	if !ok {
		return (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: another process listens there", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", path)
}
