package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap gives etcd a logger whose warnings and worse go to log; the rest is of
// use only to those who debug etcd itself.
func newZap(log *slog.Logger, e *ending) *zap.Logger {
	return zap.New(slogCore{log.With("component", "etcd")}, zap.WithFatalHook(e), zap.WithPanicHook(e))
}

// clientZap is the logger of a client, which never ends anything.
func clientZap(log *slog.Logger) *zap.Logger {
	return zap.New(slogCore{log.With("component", "etcd")}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

// ending is what becomes of etcd's last words, where it cannot go on (zap's Fatal and
// Panic: the write-ahead log cannot be written, the database not be read). While it starts
// they become an error. Later the process ends with code 1, after the words have been
// logged: a panic would end it too, with a stack that tells an operator nothing. Nothing
// more is acknowledged in either case.
type ending struct {
	started atomic.Bool
	once    sync.Once
	failed  chan struct{} // closed when err is set
	err     error
}

func newEnding() *ending { return &ending{failed: make(chan struct{})} }

// OnWrite implements zapcore.CheckWriteHook. It does not return, as zap demands.
func (e *ending) OnWrite(c *zapcore.CheckedEntry, fields []zapcore.Field) {
	if e.started.Load() {
		os.Exit(1)
	}
	e.once.Do(func() {
		e.err = errors.New(c.Message)
		for _, f := range fields {
			if err, ok := f.Interface.(error); ok {
				e.err = fmt.Errorf("%s: %w", c.Message, err)
			}
		}
		close(e.failed)
	})
	runtime.Goexit()
}

type slogCore struct{ log *slog.Logger }

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.DebugLevel:
		return slog.LevelDebug
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

func (c slogCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && c.log.Enabled(context.Background(), slogLevel(l))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attrs(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slogLevel(e.Level)
	if expected(e.Message) {
		level = slog.LevelDebug
	}
	if e.Message == notPublished {
		if tooEarly(fields) {
			level = slog.LevelDebug
		}
		defer func() { <-time.After(publishPause) }()
	}
	c.log.Log(context.Background(), level, e.Message, attrs(fields)...)
	return nil
}

// expected is true of complaints that every new member makes: it looks for the
// version of a database that has none before the first entry is applied.
func expected(msg string) bool {
	return msg == "Failed to detect schema version" || msg == "failed to update storage version"
}

// A member publishes its name when it starts, and tries again at once, without a pause,
// until it succeeds. etcd refuses its own request where the applied index is far behind
// the committed one, and the applied index counts as 0 until the first entry of the log
// is applied: a member with more than 5,000 entries behind it tried, and complained, as
// often as it could until then. This is the pause.
const (
	notPublished = "failed to publish local member to cluster through raft"
	publishPause = 20 * time.Millisecond
)

func tooEarly(fields []zapcore.Field) bool {
	for _, f := range fields {
		if f.Interface == etcderrors.ErrTooManyRequests {
			return true
		}
	}
	return false
}

func (c slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]any, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}
