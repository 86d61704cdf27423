package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestActions: what each call asks of the API.
func TestActions(t *testing.T) {
	c := newCloud(t)
	var matches []string
	c.answer = func(w http.ResponseWriter, r *http.Request) {
		matches = append(matches, r.Header.Get("If-Match"))
		switch {
		case strings.HasSuffix(r.URL.Path, "/extensions"):
			fmt.Fprint(w, `{"extensions":[{"alias":"router","name":"x"},{"alias":"l2-gateway"}]}`)
		case strings.HasSuffix(r.URL.Path, "/tags"):
			fmt.Fprint(w, `{"tags":["a","b"]}`)
		case strings.Contains(r.URL.Path, "/tags/"):
			w.WriteHeader(http.StatusCreated)
		default:
			fmt.Fprint(w, `{"router":{"id":"r"}}`)
		}
	}
	cl := fixedClient(t, c)
	ctx := t.Context()
	for _, do := range []func() error{
		func() error { _, err := cl.UpdateIf(ctx, Routers, "r", Attrs{"name": "x"}, 7); return err },
		func() error { _, err := cl.UpdateIf(ctx, Routers, "r", Attrs{"name": "x"}, 0); return err },
		func() error { return cl.RemoveInterface(ctx, "r", "p") },
		func() error { return cl.AddRoutes(ctx, "r", nil) },
		func() error { return cl.RemoveRoutes(ctx, "r", nil) },
		func() error { return cl.AddTag(ctx, Networks, "n", "causeway:peering:a b:c") },
		func() error { return cl.RemoveTag(ctx, Networks, "n", "x") },
	} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	tags, err := cl.Tags(ctx, Ports, "p")
	if err != nil || !slices.Equal(tags, []string{"a", "b"}) {
		t.Errorf("%v, %v", tags, err)
	}
	ext, err := cl.Extensions(ctx)
	if err != nil || !ext["router"] || !ext["l2-gateway"] || len(ext) != 2 {
		t.Errorf("%v, %v", ext, err)
	}
	want := []string{
		"PUT /v2.0/routers/r", "PUT /v2.0/routers/r", "PUT /v2.0/routers/r/remove_router_interface", "PUT /v2.0/routers/r/add_extraroutes",
		"PUT /v2.0/routers/r/remove_extraroutes", "PUT /v2.0/networks/n/tags/causeway:peering:a%20b:c", "DELETE /v2.0/networks/n/tags/x",
		"GET /v2.0/ports/p/tags", "GET /v2.0/extensions",
	}
	if !slices.Equal(c.requests, want) {
		t.Errorf("requests %q\nwant %q", c.requests, want)
	}
	if matches[0] != "revision_number=7" || matches[1] != "" {
		t.Errorf("If-Match: %q", matches[:2])
	}
}

// TestIsTemporary: what may pass is tried again, what stays is not; and what got no
// answer may be done yet.
func TestIsTemporary(t *testing.T) {
	for status, want := range map[int]bool{400: false, 401: false, 403: false, 404: false, 408: true, 409: false, 412: false, 429: true, 500: true, 501: false, 502: true, 503: true, 504: true} {
		c := newCloud(t)
		c.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
		_, err := fixedClient(t, c).Get(t.Context(), Networks, "x")
		if IsTemporary(err) != want || Status(err) != status || IsUnanswered(err) != (status == 502 || status == 504) {
			t.Errorf("%d: temporary %v, status %d: %v", status, IsTemporary(err), Status(err), err)
		}
	}
	for name, tc := range map[string]struct {
		answer     func(http.ResponseWriter)
		unanswered bool
	}{
		"cut off before the answer": {func(w http.ResponseWriter) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		}, true},
		"reset before the answer": {func(w http.ResponseWriter) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}, true},
		"cut off in the answer": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"network":{"id":"x"`)
		}, false},
	} {
		c := newCloud(t)
		c.answer = func(w http.ResponseWriter, _ *http.Request) { tc.answer(w) }
		_, err := fixedClient(t, c).Create(t.Context(), Networks, Attrs{})
		if !IsTemporary(err) || Status(err) != 0 || IsUnanswered(err) != tc.unanswered {
			t.Errorf("%s: unanswered %v: %v", name, IsUnanswered(err), err)
		}
		if !strings.Contains(err.Error(), "API") {
			t.Errorf("%s: nothing says what ended: %v", name, err)
		}
	}
	c := newCloud(t)
	cl := fixedClient(t, c)
	c.Close()
	if _, err := cl.Get(t.Context(), Networks, "x"); !IsTemporary(err) || IsUnanswered(err) {
		t.Errorf("no server: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cl.Get(ctx, Networks, "x"); IsTemporary(err) || IsTemporary(nil) {
		t.Errorf("an end by the caller: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-1": 0, "100000": time.Minute, "99999999999999999999": 0, "soon": 0,
		"Tue, 01 Jan 2030 00:00:07 GMT": 7 * time.Second, "Tue, 01 Jan 2019 00:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {in}}, now); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	c := newCloud(t)
	c.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_, err := fixedClient(t, c).Get(t.Context(), Networks, "x")
	if wait, busy := Busy(err); !busy || wait != 2*time.Second {
		t.Errorf("%v, %v: %v", wait, busy, err)
	}
	if _, busy := Busy(&APIError{Status: 503}); busy {
		t.Error("503 is no limit")
	}
}
