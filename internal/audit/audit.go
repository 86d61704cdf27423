// Package audit writes down who changed what: one line of JSON for each request
// that asked for a change, with what became of it. It never holds a token or a
// request's body.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Entry is one line.
type Entry struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	UserID    string    `json:"user_id,omitempty"`
	User      string    `json:"user,omitempty"`
	ProjectID string    `json:"project_id,omitempty"`
	Roles     []string  `json:"roles,omitempty"`
	// Method says how the caller was recognized; see identity.Caller.
	Authentication string `json:"authentication,omitempty"`
	Method         string `json:"method"`
	Route          string `json:"route"`
	// Resource is the kind of what was changed, IDs which: of a create that was
	// refused, none.
	Resource string   `json:"resource,omitempty"`
	IDs      []string `json:"ids,omitempty"`
	Status   int      `json:"status"`
	Outcome  string   `json:"outcome"` // done, refused or failed
	Client   string   `json:"client"`  // its address
	// Certificate is the subject of that which the client showed over TLS.
	Certificate string `json:"certificate,omitempty"`
}

// OutcomeOf sorts a status.
func OutcomeOf(status int) string {
	switch {
	case status < 400:
		return "done"
	case status < 500:
		return "refused"
	}
	return "failed"
}

// statEvery is how often at most a file is looked for under its name.
const statEvery = time.Second

// Log writes entries. Its methods may be called from many goroutines.
type Log struct {
	path   string // "" for a writer
	log    *slog.Logger
	failed func()

	mu      sync.Mutex
	out     io.Writer
	file    *os.File
	stat    time.Time
	failing bool
}

// To writes to w. failed, which may be nil, is called for each entry that could
// not be written.
func To(w io.Writer, log *slog.Logger, failed func()) *Log {
	return &Log{out: w, log: log, failed: failed}
}

// Open appends to a file, which it makes if need be. A file that is moved away, as
// by logrotate, is made anew.
func Open(path string, log *slog.Logger, failed func()) (*Log, error) {
	l := &Log{path: path, log: log, failed: failed}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close() // all its lines are written
	}
	l.file, l.out, l.stat = f, f, time.Now()
	return nil
}

// Write writes an entry before it returns. A failure is counted, and logged when it
// begins and when it ends; each entry tries anew.
func (l *Log) Write(e Entry) {
	b, err := json.Marshal(e)
	if err == nil {
		err = l.write(append(b, '\n'))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		if l.failed != nil {
			l.failed()
		}
		if !l.failing {
			l.log.Error("the audit log cannot be written: changes go on without it", "path", l.path, "request_id", e.RequestID, "error", err)
		}
	case l.failing:
		l.log.Info("the audit log is written again", "path", l.path)
	}
	l.failing = err != nil
}

func (l *Log) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path != "" && (l.failing || time.Since(l.stat) > statEvery) {
		if err := l.follow(); err != nil {
			return err
		}
	}
	n, err := l.out.Write(line)
	if err == nil || n == 0 || l.file == nil {
		return err
	}
	// A part of a line would spoil the next one.
	if st, serr := l.file.Stat(); serr == nil {
		err = errors.Join(err, l.file.Truncate(st.Size()-int64(n)))
	}
	return err
}

// follow opens the file again if another one, or none, is under its name.
func (l *Log) follow() error {
	l.stat = time.Now()
	there, err := os.Stat(l.path)
	if err == nil {
		have, herr := l.file.Stat()
		if herr == nil && os.SameFile(there, have) {
			return nil
		}
	}
	return l.open()
}

// Reopen opens the file under its name again; until that succeeds the old one is
// written. A log that goes to a writer stays as it is.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path == "" {
		return nil
	}
	return l.open()
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
