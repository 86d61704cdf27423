package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestPatience: api_timeout bounds the wait for the answer, and for each further piece of it, not
// the whole of it.
func TestPatience(t *testing.T) {
	const patience = time.Second
	for name, c := range map[string]struct {
		header time.Duration   // until the answer begins
		pieces []time.Duration // until each piece of it
		work   time.Duration   // that it is known to take
		late   bool
	}{
		"at once":        {pieces: []time.Duration{0}},
		"slow begin":     {header: patience - 1, pieces: []time.Duration{patience - 1, patience - 1, patience - 1}},
		"no begin":       {header: patience + 1, late: true},
		"stops":          {pieces: []time.Duration{1, patience + 1}, late: true},
		"works":          {header: 20 * patience, work: 20 * patience},
		"works too long": {header: 22 * patience, work: 20 * patience, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := roundTrip(func(r *http.Request) (*http.Response, error) {
					httptrace.ContextClientTrace(r.Context()).WroteRequest(httptrace.WroteRequestInfo{})
					pause := func(d time.Duration) error {
						select {
						case <-time.After(d):
							return nil
						case <-r.Context().Done():
							return r.Context().Err()
						}
					}
					if err := pause(c.header); err != nil {
						return nil, err
					}
					from, to := io.Pipe()
					go func() {
						for _, d := range c.pieces {
							if err := pause(d); err != nil {
								_ = to.CloseWithError(err)
								return
							}
							_, _ = to.Write([]byte("x"))
						}
						_ = to.Close()
					}()
					return &http.Response{StatusCode: http.StatusOK, Body: from}, nil
				})
				req, err := http.NewRequestWithContext(slowly(t.Context(), c.work), http.MethodGet, "http://n", nil)
				if err != nil {
					t.Fatal(err)
				}
				var b []byte
				resp, err := patient{base, patience}.RoundTrip(req)
				if err == nil {
					b, err = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
				}
				if late := errors.Is(err, errSilent); late != c.late || err != nil && !late || err == nil && len(b) != len(c.pieces) {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			})
		})
	}
}

// TestTimeoutOfCloud: a site that takes requests and answers none is given up by its cloud's
// api_timeout, or by what the user says in its place.
func TestTimeoutOfCloud(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer s.Close()
	for name, c := range map[string]struct {
		cloud string
		opts  Options
	}{
		"the cloud's": {"0.05", Options{Cloud: "c", Timeout: time.Hour}},
		"the user's":  {"3600", Options{Cloud: "c", Timeout: 50 * time.Millisecond, TimeoutWins: true}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeCloud(t, dir, cloudCase{entry: fmt.Sprintf("auth_type: none\nauth: {endpoint: %q}\napi_timeout: %s", s.URL, c.cloud)})
			c.opts.Getenv = env(map[string]string{"OS_CLIENT_CONFIG_FILE": dir + "/clouds.yaml"})
			cl, err := New(t.Context(), c.opts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = cl.List(ctx, Networks, nil)
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "no answer came in time") {
				t.Errorf("%v, %v", err, ctx.Err())
			}
		})
	}
}
