// Package systemd tells the service manager how a server does: that it serves, reads its
// files again, ends, and lives (sd_notify(3), Type=notify). Without a service manager all
// of it does nothing.
package systemd

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Service is what this process is to its service manager. A nil Service has none.
type Service struct{ log *slog.Logger }

// New takes the service manager from the environment ($NOTIFY_SOCKET).
func New(log *slog.Logger) *Service { return &Service{log} }

// Ready says that the server serves, or that it has read its files again.
func (s *Service) Ready() { s.tell(daemon.SdNotifyReady) }

// Reloading says that the server reads its files again; Ready follows.
func (s *Service) Reloading() {
	// By the time the manager knows this reload from an earlier one.
	s.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the server ends in order.
func (s *Service) Stopping() { s.tell(daemon.SdNotifyStopping) }

// Watch tells the manager that the server lives, for as long as alive says so, until ctx
// ends. Where the unit has no WatchdogSec= it returns at once. A server that is not alive
// is ended by the manager, with SIGABRT, and leaves its stacks in the log.
func (s *Service) Watch(ctx context.Context, alive func(context.Context) error) {
	if s == nil {
		return
	}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("the service manager's watchdog is not told that this process lives", "error", err)
	}
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		if err := alive(ctx); err == nil {
			s.tell(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			s.log.Error("the service manager's watchdog is not told that this process lives", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Service) tell(state string) {
	if s == nil {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("the service manager was not told", "state", state, "error", err)
	}
}
