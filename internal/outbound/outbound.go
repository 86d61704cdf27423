// Package outbound keeps the product's own HTTP requests in bounds, whatever a server
// answers: how much is read, where a redirect or a link may lead, and what never goes
// without TLS. Servers of other people's sites are asked; none of them is to be trusted
// with another's token, or with all of the memory.
package outbound

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// Limits bound one answer.
type Limits struct {
	// Bytes of the body, as it is after decompression.
	Bytes int64
	// Values of JSON: each takes far more memory than its text.
	Values int
}

// MaxHeader bounds the header of an answer, in bytes: for http.Transport.
const MaxHeader = 256 << 10

// maxErrorBody bounds the body of an answer that is no success, in bytes.
const maxErrorBody = 1 << 20

// Refused is something that a server asked for or sent and that is not done or taken.
type Refused struct {
	what, hint string
	answered   bool
}

func (e *Refused) Error() string { return e.what }

// Hint is the way out.
func (e *Refused) Hint() string { return e.hint }

// Answered tells that the request has reached the server and its answer was not taken: what
// was asked for may have been done.
func (e *Refused) Answered() bool { return e.answered }

// Guard is an http.RoundTripper. Its CheckRedirect belongs to the same http.Client.
type Guard struct {
	base   http.RoundTripper
	limits Limits

	mu     sync.Mutex
	secure bool            // no request without TLS, but to those of plain
	plain  map[string]bool // origins
	known  map[string]bool // origins that were spoken to
	sealed bool            // no others any more
}

// NewGuard sends requests by base.
func NewGuard(base http.RoundTripper, l Limits) *Guard {
	return &Guard{base: base, limits: l, plain: map[string]bool{}, known: map[string]bool{}}
}

// Secure says that what is sent is for TLS only, from now on, since it began so.
func (g *Guard) Secure() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secure = true
}

// AllowPlain names a URL that the user has given, without TLS.
func (g *Guard) AllowPlain(u *url.URL) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plain[Origin(u)] = true
}

// Seal ends the search: from now on only servers that were spoken to, and those of urls, are.
func (g *Guard) Seal(urls ...*url.URL) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range urls {
		g.known[Origin(u)] = true
	}
	g.sealed = true
}

// Origin is a URL's scheme, host and port (RFC 6454 §4).
func Origin(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	scheme := strings.ToLower(u.Scheme)
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// SameOrigin tells whether a request with a token may go to both.
func SameOrigin(a, b *url.URL) bool { return Origin(a) == Origin(b) }

// RoundTrip sends a request if it may go where it is to go, and bounds the answer.
func (g *Guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.admit(req.URL); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // a RoundTripper must
		}
		return nil, err
	}
	resp, err := g.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > g.limits.Bytes {
		_ = resp.Body.Close()
		return nil, g.tooMuch(fmt.Sprintf("%d bytes", resp.ContentLength))
	}
	left := g.limits.Bytes
	if resp.StatusCode >= http.StatusBadRequest {
		left = min(left, maxErrorBody)
	}
	resp.Body = &body{ReadCloser: resp.Body, guard: g, left: left}
	return resp, nil
}

func (g *Guard) admit(u *url.URL) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := Origin(u)
	switch {
	case g.secure && u.Scheme != "https" && !g.plain[o]:
		return &Refused{what: fmt.Sprintf("%s is without TLS: what began with TLS goes on with TLS only", o),
			hint: "Have the site's catalog, and what stands before its APIs, name https."}
	case g.sealed && !g.known[o]:
		return &Refused{what: fmt.Sprintf("%s is not this site's API: a token goes nowhere else", o)}
	}
	g.known[o] = true
	return nil
}

func (g *Guard) tooMuch(what string) error {
	return &Refused{what: fmt.Sprintf("the answer is too large: %s; at most %d bytes and %d values are taken", what, g.limits.Bytes, g.limits.Values),
		answered: true}
}

// maxRedirects bounds how often one request is sent on.
const maxRedirects = 5

// CheckRedirect follows a redirect to the same server, and from http to https of the same
// host. Others would carry the token, or the password, to where the server says.
func CheckRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1]
	switch {
	case len(via) > maxRedirects:
		return &Refused{what: fmt.Sprintf("%s sent the request on more than %d times", Origin(via[0].URL), maxRedirects)}
	case from.URL.Scheme == "https" && req.URL.Scheme != "https":
		return &Refused{what: fmt.Sprintf("%s redirects to %s, without TLS: refused", Origin(from.URL), Origin(req.URL))}
	case !SameOrigin(from.URL, req.URL) && !upgrade(from.URL, req.URL):
		return &Refused{what: fmt.Sprintf("%s redirects to another server, %s: refused, a token goes nowhere else", Origin(from.URL), Origin(req.URL)),
			hint: "If that is the API, name it itself: as --endpoint, in the catalog or in clouds.yaml."}
	case req.Method != from.Method:
		// net/http turns what follows a 301, 302 or 303 into a GET, whose success is not that of
		// the change.
		return &Refused{what: fmt.Sprintf("%s answers a %s with a redirect that would make it a %s: refused", Origin(from.URL), from.Method, req.Method),
			hint: "Name the API where it is: as --endpoint, in the catalog or in clouds.yaml."}
	}
	return nil
}

func upgrade(from, to *url.URL) bool {
	return from.Scheme == "http" && to.Scheme == "https" && strings.EqualFold(from.Hostname(), to.Hostname())
}

// body is an answer that ends in an error where it is too large.
type body struct {
	io.ReadCloser
	guard *Guard
	left  int64
	count Counter
	err   error
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	switch {
	case b.left < 0:
		b.err = b.guard.tooMuch("more bytes")
	case b.count.Add(p[:n]) > b.guard.limits.Values:
		b.err = b.guard.tooMuch("more values")
	default:
		return n, err
	}
	return 0, b.err
}

// Counter counts the values of a JSON text that comes in pieces, without reading it: what opens
// an object or a list and what parts two values. The zero value is ready.
type Counter struct {
	values            int
	inString, escaped bool
}

// Add takes the next piece and gives the number so far.
func (c *Counter) Add(piece []byte) int {
	for _, x := range piece {
		switch {
		case c.escaped:
			c.escaped = false
		case c.inString && x == '\\':
			c.escaped = true
		case x == '"':
			c.inString = !c.inString
		case !c.inString && (x == ',' || x == '{' || x == '['):
			c.values++
		}
	}
	return c.values
}
