package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// exitNotFound is the exit code for what does not exist or is ambiguous.
const exitNotFound = 3

// APIError is an answer of the API that is no success.
type APIError struct {
	Status  int    // HTTP
	Type    string // Neutron's exception name; may be empty
	Message string
	// RetryAfter is how long the API wants the client to wait (RFC 9110 §10.2.3); 0 if
	// it says nothing.
	RetryAfter time.Duration
}

func (e *APIError) Error() string {
	if e.Type == "" {
		return fmt.Sprintf("%s (HTTP %d)", e.Message, e.Status)
	}
	return fmt.Sprintf("%s (%s, HTTP %d)", e.Message, e.Type, e.Status)
}

// ExitCode is 3 where the API says that something does not exist.
func (e *APIError) ExitCode() int {
	if e.Status == http.StatusNotFound {
		return exitNotFound
	}
	return 1
}

// Hint is a way out, where the status alone shows one.
func (e *APIError) Hint() string {
	switch e.Status {
	case http.StatusUnauthorized:
		return "Check the OS_* variables or the cloud in clouds.yaml; the token may have expired."
	case http.StatusForbidden:
		return "This is for the cloud's administrator."
	}
	return ""
}

// IsNotFound tells whether err says that something does not exist.
func IsNotFound(err error) bool {
	var n notFound
	var a *APIError
	return errors.As(err, &n) || errors.As(err, &a) && a.Status == http.StatusNotFound
}

// NotFound says that nothing of the kind has this name or id.
func NotFound(k Collection, name string) error { return notFound{what: k.What, name: name} }

type notFound struct{ what, name, where string }

func (e notFound) Error() string {
	s := fmt.Sprintf("no %s with the name or id %q", e.what, e.name)
	if e.where != "" {
		s += " in " + e.where
	}
	return s
}

func (notFound) ExitCode() int { return exitNotFound }

// Ambiguous is a name that several resources have.
type Ambiguous struct {
	What, Name string
	IDs        []string
}

func (e *Ambiguous) Error() string {
	return fmt.Sprintf("%q is ambiguous: it names %d %s: %s", e.Name, len(e.IDs), plural(e.What), strings.Join(e.IDs, ", "))
}

func plural(what string) string {
	if s, ok := strings.CutSuffix(what, "y"); ok {
		return s + "ies"
	}
	return what + "s"
}

// ExitCode is that of what was not found.
func (*Ambiguous) ExitCode() int { return exitNotFound }

// Hint is the way out.
func (*Ambiguous) Hint() string { return "Use the id." }

type unreachable struct {
	host string
	err  error
}

func (e unreachable) Error() string { return fmt.Sprintf("reach the API at %s: %v", e.host, e.err) }
func (e unreachable) Unwrap() error { return e.err }
func (e unreachable) Hint() string {
	return fmt.Sprintf("Is a controller running there? Start one with: causeway controller --api-listen %s", e.host)
}

// cutOff is a request whose answer did not come; what it asked for may have been
// done.
type cutOff struct {
	host string
	err  error
}

func (e cutOff) Error() string {
	if e.late() {
		return fmt.Sprintf("ask the API at %s: no answer came in time", e.host)
	}
	return fmt.Sprintf("ask the API at %s: %v", e.host, e.err)
}

func (e cutOff) Unwrap() error { return e.err }

// late tells whether the time for the answer was over.
func (e cutOff) late() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.err, &t) && t.Timeout()
}

// Hint is the way out.
func (e cutOff) Hint() string {
	if !e.late() {
		return ""
	}
	return "It may hang or be overloaded, or packets are lost on the way to it."
}

// IsTemporary tells whether the same request may succeed later: the API did not
// answer, or says itself that it is busy.
func IsTemporary(err error) bool {
	var a *APIError
	if errors.As(err, &a) {
		switch a.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var c cutOff
	var u unreachable
	var n net.Error // an answer that ended half-way
	return errors.As(err, &c) || errors.As(err, &u) || errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF)
}

// IsUnanswered tells whether a request may have been sent to which no answer of the
// API came: it may do it yet.
func IsUnanswered(err error) bool {
	var c cutOff
	s := Status(err)
	return errors.As(err, &c) || s == http.StatusBadGateway || s == http.StatusGatewayTimeout
}

// Status is the HTTP status of the API's answer, 0 if err is something else.
func Status(err error) int {
	var a *APIError
	if errors.As(err, &a) {
		return a.Status
	}
	return 0
}

// Busy tells whether the API wants the client to send less, and when it may come
// again.
func Busy(err error) (wait time.Duration, busy bool) {
	var a *APIError
	if !errors.As(err, &a) || a.Status != http.StatusTooManyRequests {
		return 0, false
	}
	return a.RetryAfter, true
}

// maxRetryAfter bounds what an API may ask for.
const maxRetryAfter = time.Minute

// retryAfter reads a number of seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	d := time.Duration(0)
	if n, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(n, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// explain turns gophercloud's errors into ones for people.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var unexpected gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &unexpected) {
		e := apiError(unexpected.Actual, unexpected.Body)
		e.RetryAfter = retryAfter(unexpected.ResponseHeader, time.Now())
		return e
	}
	var u *url.Error
	if errors.As(err, &u) {
		host := u.URL
		if p, perr := url.Parse(u.URL); perr == nil {
			host = p.Host
		}
		var op *net.OpError
		if errors.Is(err, syscall.ECONNREFUSED) {
			return unreachable{host, syscall.ECONNREFUSED}
		}
		// What fails later than the dialling may have been done.
		if errors.As(err, &op) && op.Op == "dial" {
			return unreachable{host, op.Err}
		}
		return cutOff{host, u.Err}
	}
	var n net.Error
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &n) {
		return fmt.Errorf("the API's answer ended half-way: %w", err)
	}
	return err
}

// apiError reads the bodies of Neutron and of keystonemiddleware.
func apiError(status int, body []byte) *APIError {
	e := &APIError{Status: status, Message: strings.TrimSpace(string(body))}
	var b struct {
		Neutron *struct{ Type, Message, Detail string } `json:"NeutronError"`
		Error   *struct{ Message, Title string }        `json:"error"`
	}
	if json.Unmarshal(body, &b) == nil {
		switch {
		case b.Neutron != nil:
			e.Type, e.Message = b.Neutron.Type, b.Neutron.Message
			if b.Neutron.Detail != "" {
				e.Message += " (" + b.Neutron.Detail + ")"
			}
		case b.Error != nil:
			e.Type, e.Message = b.Error.Title, b.Error.Message
		}
	}
	if len(e.Message) > 2000 {
		e.Message = e.Message[:2000] + "…"
	}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	return e
}
