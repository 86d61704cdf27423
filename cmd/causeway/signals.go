package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/systemd"
)

// secondSignal is how long after the first signal to end another one ends the process
// at once. timeout(1) and some supervisors send theirs twice in the same moment.
const secondSignal = time.Second

// signals takes the process's signals. SIGINT and SIGTERM end a command in order, and
// at once the second time. SIGHUP ends a command too, unless it was started to ignore it
// (nohup), except for a server, which reads its files again in any case.
type signals struct {
	stderr  io.Writer
	decided chan struct{} // closed when it is known which command runs
	once    sync.Once
	hangups chan struct{} // has room for one; for servers
	server  bool          // written before decided is closed
	nohup   bool          // started so that SIGHUP does not end it
}

type signalsKey struct{}

// watchSignals returns a context that ends with the first signal that ends the command;
// its cause names the signal. The function returned stops the watching.
func watchSignals(stderr io.Writer) (context.Context, func()) {
	s := &signals{stderr: stderr, decided: make(chan struct{}), hangups: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), signalsKey{}, s))
	c := make(chan os.Signal, 8)
	s.nohup = signal.Ignored(syscall.SIGHUP)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.run(c, done, cancel)
	}()
	return ctx, func() {
		signal.Stop(c)
		close(done)
		<-ended
		cancel(nil)
	}
}

func (s *signals) run(c <-chan os.Signal, done <-chan struct{}, cancel context.CancelCauseFunc) {
	var first time.Time
	for {
		var sig os.Signal
		select {
		case <-done:
			return
		case sig = <-c:
		}
		if sig == syscall.SIGHUP {
			select {
			case <-s.decided:
			case <-done:
				return
			}
			if s.server {
				select {
				case s.hangups <- struct{}{}:
				default: // one is waiting, and will find the newest files
				}
				continue
			}
			if s.nohup {
				continue
			}
		}
		switch {
		case first.IsZero():
			first = time.Now()
			cancel(&signalError{sig})
		case time.Since(first) >= secondSignal:
			fmt.Fprintf(s.stderr, "causeway: a second signal (%s): ended at once, without cleaning up\n", name(sig))
			signal.Reset(sig)
			_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		}
	}
}

// signalError is why a command's context ended.
type signalError struct{ os.Signal }

func (e *signalError) Error() string { return name(e.Signal) }

// Is lets a context that a signal ended be taken for canceled, which it is.
func (e *signalError) Is(target error) bool { return target == context.Canceled }

func name(sig os.Signal) string { return unix.SignalName(sig.(syscall.Signal)) }

const serverAnnotation = "reads its files again at SIGHUP"

// markServer makes cmd one that SIGHUP does not end; see hangups.
func markServer(cmd *cobra.Command) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[serverAnnotation] = "yes"
}

// decideSignals is called with the command that runs.
func decideSignals(cmd *cobra.Command) {
	if s, ok := cmd.Context().Value(signalsKey{}).(*signals); ok {
		s.once.Do(func() {
			s.server = cmd.Annotations[serverAnnotation] != ""
			close(s.decided)
		})
	}
}

// hangups are the SIGHUPs of a server; nil where nobody watches signals.
func hangups(ctx context.Context) <-chan struct{} {
	if s, ok := ctx.Value(signalsKey{}).(*signals); ok {
		return s.hangups
	}
	return nil
}

// tellHangups answers the SIGHUPs of a server that has nothing to do at one, until the
// function returned is called.
func tellHangups(ctx context.Context, service *systemd.Service, log *slog.Logger) func() {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangups(ctx):
				service.Reloading()
				log.Info("SIGHUP: files are read again whenever they are used, settings at the start only")
				service.Ready()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// endOf says for the log why a server ended, and with which code the process ends.
func endOf(ctx context.Context, err error) []any {
	var sig *signalError
	switch {
	case err != nil:
		return []any{"cause", err.Error(), "code", 1}
	case errors.As(context.Cause(ctx), &sig):
		return []any{"cause", sig.Error(), "code", 0}
	case ctx.Err() != nil:
		return []any{"cause", context.Cause(ctx).Error(), "code", 0}
	}
	return []any{"cause", "nothing is left to do", "code", 0}
}

// survivePipe keeps a command that has something to clean up, or goes on without a
// reader, alive when whoever reads its output goes away; writes fail from then on. The
// function returned ends that.
func survivePipe() func() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGPIPE)
	return func() { signal.Stop(c) }
}
