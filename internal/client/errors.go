package client

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/causeway-net/causeway/internal/outbound"
)

// Exit codes: of a wrong call, and for what does not exist or is ambiguous.
const (
	exitUsage    = 2
	exitNotFound = 3
)

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
	case http.StatusBadRequest:
		if strings.Contains(e.Message, "HTTP request to an HTTPS server") || strings.Contains(e.Message, "plain HTTP request was sent to HTTPS port") {
			return "It speaks TLS: its URL begins with https://."
		}
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
	return fmt.Sprintf("%q is ambiguous: it names %d %s: %s", e.Name, len(e.IDs), plural(e.What), oneLine(strings.Join(e.IDs, ", ")))
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

// unreachable is a server to which there is no connection.
type unreachable struct {
	what, host string
	err        error
}

func (e unreachable) Error() string { return fmt.Sprintf("reach %s at %s: %v", e.what, e.host, e.err) }
func (e unreachable) Unwrap() error { return e.err }

// Hint is the way out. Who is at the server's own machine can start it.
func (e unreachable) Hint() string {
	var dns *net.DNSError
	switch {
	case errors.As(e.err, &dns):
		return "Check how the name is written, and the resolver of this machine."
	case e.what == theAPI && onThisMachine(e.host):
		return fmt.Sprintf("Is a controller running there? Start one with: causeway controller --api-listen %s", e.host)
	case errors.Is(e.err, syscall.ECONNREFUSED):
		return "The machine answers, but nothing listens at that port: check the address, and whether the service runs there."
	}
	return "Check the address, the way to it, and firewalls."
}

func onThisMachine(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// What is asked, for people.
const (
	theAPI   = "the API"
	keystone = "Keystone"
)

// cutOff is a request whose answer did not come; what it asked for may have been
// done.
type cutOff struct {
	what, host string
	err        error
}

func (e cutOff) Error() string {
	if e.late() {
		return fmt.Sprintf("ask %s at %s: no answer came in time", e.what, e.host)
	}
	return fmt.Sprintf("ask %s at %s: %v", e.what, e.host, e.err)
}

func (e cutOff) Unwrap() error { return e.err }

// late tells whether the time for the answer was over.
func (e cutOff) late() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.err, &t) && t.Timeout()
}

// Hint is the way out.
func (e cutOff) Hint() string {
	if e.late() {
		return "It may hang or be overloaded, or packets are lost on the way to it."
	}
	return tlsHint(e.err)
}

// tlsHint is the way out where the two ends do not agree about TLS.
func tlsHint(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	text := err.Error()
	switch {
	case errors.As(err, &unknown):
		return "Name the authority that signed its certificate: cacert (OS_CACERT)."
	case errors.As(err, &name):
		return "Use the name that its certificate has, or have it certified for this one."
	case errors.As(err, &invalid):
		return "Its certificate is to be renewed, or this machine's clock to be set."
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "It speaks no TLS: its URL begins with http://."
	case strings.Contains(text, "malformed HTTP response \"\\x15\\x03"):
		return "It speaks TLS: its URL begins with https://."
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "tls: bad certificate"):
		return "It wants a certificate of its clients: cert and key (OS_CERT, OS_KEY)."
	}
	return ""
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
	var r *outbound.Refused
	s := Status(err)
	return errors.As(err, &c) || errors.As(err, &r) && r.Answered() || s == http.StatusBadGateway || s == http.StatusGatewayTimeout
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

// noNewToken is what Keystone answers when the token of a request in the middle has ended.
// Where it says that the account does not exist (404) that says nothing of what the request
// was about: the request is one without a valid token.
func noNewToken(err error) error {
	var a *APIError
	if errors.As(err, &a) && a.Status == http.StatusNotFound {
		err = &APIError{Status: http.StatusUnauthorized, Type: "Unauthorized", Message: a.Message}
	}
	return fmt.Errorf("take a new token: %w", err)
}

// explain turns gophercloud's errors about the API into ones for people.
func explain(err error) error { return explainOf(theAPI, err) }

func explainOf(what string, err error) error {
	if err == nil {
		return nil
	}
	var refused *outbound.Refused
	if errors.As(err, &refused) {
		return refused
	}
	var again *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &again) {
		return noNewToken(explainOf(keystone, again.ErrReauth))
	}
	var after *gophercloud.ErrErrorAfterReauthentication
	if errors.As(err, &after) && after.ErrOriginal != nil {
		return explainOf(what, after.ErrOriginal)
	}
	var unexpected gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &unexpected) {
		e := apiError(unexpected.Actual, unexpected.Body)
		e.RetryAfter = retryAfter(unexpected.ResponseHeader, time.Now())
		return e
	}
	var u *url.Error
	if errors.As(err, &u) {
		return unsent(what, u, err)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("the answer of %s is no JSON: is this a Neutron API? (%w)", what, err)
	}
	var n net.Error
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &n) {
		return fmt.Errorf("the API's answer ended half-way: %w", err)
	}
	return err
}

// unsent is a request without an answer.
func unsent(what string, u *url.Error, err error) error {
	host := u.URL
	if p, perr := url.Parse(u.URL); perr == nil {
		host = p.Host
	}
	var op *net.OpError
	if errors.Is(err, syscall.ECONNREFUSED) {
		return unreachable{what, host, syscall.ECONNREFUSED}
	}
	// What fails later than the dialling may have been done.
	if errors.As(err, &op) && op.Op == "dial" {
		return unreachable{what, host, op.Err}
	}
	return cutOff{what, host, u.Err}
}

// maxMessage bounds what an error says, in bytes; maxPage what is told of an answer in no form that is
// known.
const (
	maxMessage = 2000
	maxPage    = 200
)

// apiError reads the bodies of Neutron and of keystonemiddleware. Others, a proxy's pages above
// all, are told by their title or their first line.
func apiError(status int, body []byte) *APIError {
	e := &APIError{Status: status}
	var b struct {
		Neutron json.RawMessage                  `json:"NeutronError"`
		Error   *struct{ Message, Title string } `json:"error"`
		Message string                           `json:"message"`
	}
	most := maxMessage
	if err := json.Unmarshal(body, &b); err == nil && (b.Neutron != nil || b.Error != nil || b.Message != "") {
		var n struct{ Type, Message, Detail string }
		switch {
		case b.Neutron != nil && json.Unmarshal(b.Neutron, &n) == nil:
			e.Type, e.Message = n.Type, n.Message
			if n.Detail != "" {
				e.Message += " (" + n.Detail + ")"
			}
		case b.Neutron != nil:
			_ = json.Unmarshal(b.Neutron, &e.Message) // a text, of old
		case b.Error != nil:
			e.Type, e.Message = b.Error.Title, b.Error.Message
		default:
			e.Message = b.Message
		}
	} else {
		e.Message, most = firstWords(string(body)), maxPage
	}
	if len(e.Message) > most {
		e.Message = strings.ToValidUTF8(e.Message[:most], "") + "…"
	}
	// What a server says stays in its line.
	e.Type, e.Message = oneLine(e.Type), oneLine(e.Message)
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	return e
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var (
	pageTitle = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	pageTag   = regexp.MustCompile(`(?s)<(script|style)\b.*?</(script|style)>|<[^>]*>`)
)

// firstWords are the title of a page of HTML, else the first line that has words.
func firstWords(body string) string {
	if strings.HasPrefix(strings.TrimSpace(body), "<") {
		if m := pageTitle.FindStringSubmatch(body); m != nil && strings.TrimSpace(m[1]) != "" {
			return oneLine(html.UnescapeString(m[1]))
		}
		body = html.UnescapeString(pageTag.ReplaceAllString(body, "\n"))
	}
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}
