package outbound

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func guarded(t *testing.T, l Limits) (*Guard, *http.Client) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	g := NewGuard(tr, l)
	return g, &http.Client{Transport: g, CheckRedirect: CheckRedirect, Timeout: 20 * time.Second}
}

func server(t *testing.T, h http.HandlerFunc) (*httptest.Server, *url.URL) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s, u
}

// TestAnswersAreBounded: neither bytes nor values beyond the bounds are taken, with a length told
// or not, compressed or not.
func TestAnswersAreBounded(t *testing.T) {
	limits := Limits{Bytes: 1000, Values: 50}
	zipped := func(w http.ResponseWriter, s string) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, s)
		_ = z.Close()
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string // of the error
	}{
		"all of it":            {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 1000)) }, ""},
		"one byte more":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 1001)) }, "1001 bytes"},
		"endless":              {func(w http.ResponseWriter, _ *http.Request) { endless(w) }, "more bytes"},
		"a bomb":               {func(w http.ResponseWriter, _ *http.Request) { zipped(w, strings.Repeat(" ", 1<<20)) }, "more bytes"},
		"many values":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "["+strings.Repeat("1,", 50)) }, "more values"},
		"many values, zipped":  {func(w http.ResponseWriter, _ *http.Request) { zipped(w, strings.Repeat("{}", 51)) }, "more values"},
		"commas in a string":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, "%q", strings.Repeat(`,{["\`, 90)) }, ""},
		"as many as there may": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("[", 50)) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := guarded(t, limits)
			s, _ := server(t, c.h)
			resp, err := client.Get(s.URL)
			n := 0
			if err == nil {
				var b []byte
				b, err = io.ReadAll(resp.Body)
				n = len(b)
				resp.Body.Close()
			}
			var r *Refused
			if (err == nil) != (c.want == "") || err != nil && (!errors.As(err, &r) || !strings.Contains(err.Error(), c.want) || !r.Answered()) {
				t.Errorf("%v", err)
			}
			if int64(n) > limits.Bytes {
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
}

func endless(w io.Writer) {
	for b := bytes.Repeat([]byte("x"), 4096); ; {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// TestRedirects: a token goes to no other server, nothing goes from TLS to none, and a change
// stays a change.
func TestRedirects(t *testing.T) {
	stolen := 0
	other, _ := server(t, func(http.ResponseWriter, *http.Request) { stolen++ })
	var s *httptest.Server
	s, _ = server(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		switch _, err := fmt.Sscanf(r.URL.Path, "/%d", &status); {
		case strings.HasSuffix(r.URL.Path, "/there"):
			fmt.Fprint(w, r.Method)
		case strings.HasSuffix(r.URL.Path, "/other"):
			http.Redirect(w, r, other.URL, status)
		case strings.HasSuffix(r.URL.Path, "/round"):
			http.Redirect(w, r, r.URL.Path, status)
		case err == nil:
			http.Redirect(w, r, "/there", status)
		}
	})
	_, client := guarded(t, Limits{1000, 1000})
	for _, c := range []struct {
		method, path string
		want         string // what is answered, or a part of the error
	}{
		{"GET", "/302/here", "GET"}, {"GET", "/308/here", "GET"}, {"PUT", "/307/here", "PUT"}, {"POST", "/308/here", "POST"},
		{"DELETE", "/302/here", "would make it a GET"}, {"POST", "/301/here", "would make it a GET"},
		{"GET", "/302/other", "redirects to another server"}, {"POST", "/307/other", "redirects to another server"},
		{"GET", "/302/round", "more than 5 times"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+c.path, strings.NewReader("secret"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", "secret")
		got := ""
		resp, err := client.Do(req)
		if err == nil {
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got = string(b)
		} else {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %s", c.method, c.path, got)
		}
	}
	if stolen != 0 {
		t.Errorf("%d requests went to another server", stolen)
	}
	for _, c := range []struct{ from, to, want string }{
		{"https://a", "http://a", "without TLS"}, {"https://a/x", "https://a:443/y", ""}, {"http://a:80", "https://A:9696", ""},
		{"http://a", "https://b", "another server"}, {"https://a", "https://a:444", "another server"},
	} {
		from, to := &http.Request{Method: "GET"}, &http.Request{Method: "GET"}
		from.URL, _ = url.Parse(c.from)
		to.URL, _ = url.Parse(c.to)
		if err := CheckRedirect(to, []*http.Request{from}); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s → %s: %v", c.from, c.to, err)
		}
	}
}

// TestPlaces: what began with TLS goes on with it, and once it is known who is to be asked, nobody
// else is.
func TestPlaces(t *testing.T) {
	asked := 0
	hear := func(http.ResponseWriter, *http.Request) { asked++ }
	a, ua := server(t, hear)
	b, ub := server(t, hear)
	c, _ := server(t, hear)
	g, client := guarded(t, Limits{1000, 1000})
	get := func(u string) error {
		resp, err := client.Get(u)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := get(a.URL); err != nil {
		t.Fatal(err)
	}
	g.Seal(ub)
	if err := errors.Join(get(a.URL), get(b.URL)); err != nil {
		t.Error(err)
	}
	if err := get(c.URL); err == nil || !strings.Contains(err.Error(), "not this site's API") {
		t.Error(err)
	}
	g.Secure()
	if err := get(a.URL); err == nil || !strings.Contains(err.Error(), "without TLS") {
		t.Error(err)
	}
	g.AllowPlain(ua)
	if err := get(a.URL); err != nil {
		t.Error(err)
	}
	if asked != 4 {
		t.Errorf("%d requests went out, not 4", asked)
	}
}

// FuzzCounter: it never counts less than there are, and pieces do not matter.
func FuzzCounter(f *testing.F) {
	f.Add([]byte(`{"a":[1,"x,\"{"],"b":{}}`), 3)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		var whole, pieces Counter
		if at < 0 || at > len(b) {
			at = len(b) / 2
		}
		pieces.Add(b[:at])
		if w, p := whole.Add(b), pieces.Add(b[at:]); w != p {
			t.Errorf("%d at once, %d in pieces", w, p)
		}
	})
}
