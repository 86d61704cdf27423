package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"time"

	"github.com/causeway-net/causeway/internal/outbound"
)

// limits are what one answer, and one list of however many pages, may have: a site with 25,000
// ports of forty attributes fits.
var limits = outbound.Limits{Bytes: 64 << 20, Values: 1 << 20}

const (
	// maxPages and maxItems bound a list.
	maxPages = 1000
	maxItems = 200_000
	// listPatience bounds the time of a list, in times of one request.
	listPatience = 5
)

type gopherHTTP = http.Client

// newHTTP is the client of all requests to a site: one guard bounds all that it answers.
// timeout bounds a whole request; patience, if it is not 0, each wait of one.
func newHTTP(tlsConfig *tls.Config, timeout, patience time.Duration) (gopherHTTP, *outbound.Guard) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, MaxResponseHeaderBytes: outbound.MaxHeader,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
	}
	var base http.RoundTripper = t
	if patience > 0 {
		t.DialContext = (&net.Dialer{Timeout: patience}).DialContext
		t.TLSHandshakeTimeout = patience
		base = patient{t, patience}
	}
	guard := outbound.NewGuard(base, limits)
	return http.Client{Transport: guard, CheckRedirect: outbound.CheckRedirect, Timeout: timeout}, guard
}

// patient gives up on an answer whose begin, or of which anything more, does not come for so long.
type patient struct {
	base http.RoundTripper
	wait time.Duration
}

// slowAnswer is the key of how much longer the answer takes than others.
type slowAnswer struct{}

// slowly says that the API works for up to so long before it answers.
func slowly(ctx context.Context, work time.Duration) context.Context {
	return context.WithValue(ctx, slowAnswer{}, work)
}

var errSilent error = silent{}

type silent struct{}

func (silent) Error() string   { return "no answer, or no more of it, came in time" }
func (silent) Timeout() bool   { return true }
func (silent) Temporary() bool { return true }

// RoundTrip implements http.RoundTripper.
func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	work, _ := req.Context().Value(slowAnswer{}).(time.Duration)
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(time.Hour, func() { cancel(errSilent) })
	timer.Stop()
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { timer.Reset(p.wait + work) }})
	resp, err := p.base.RoundTrip(req.WithContext(traced))
	timer.Stop()
	if err != nil {
		err = because(ctx, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &patientBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer, wait: p.wait}
	return resp, nil
}

// because is err, or what ended ctx if that was the patience.
func because(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

type patientBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	wait   time.Duration
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.wait)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil {
		err = because(b.ctx, err)
	}
	return n, err
}

func (b *patientBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// tlsFiles say whom to believe and who asks.
type tlsFiles struct {
	ca, cert, key string
	insecure      bool
}

func (f tlsFiles) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.insecure}
	if f.ca != "" && !f.insecure {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, wrongf("cacert: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, wrongf("cacert %s: no certificate in it", f.ca)
		}
	}
	if f.cert == "" && f.key == "" {
		return c, nil
	}
	key := f.key
	if key == "" { // as openstacksdk has it, the key is in the same file
		key = f.cert
	}
	pair, err := tls.LoadX509KeyPair(f.cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert %s, key %s: %w", f.cert, key, wrongf("%w", err))
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
