package keystone

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

// Keystone may refuse to look at one token, as at one of a trust whose maker has lost
// its role. That keeps nobody else out: whoever has such a token could close the API.
func TestOneTokenIsRefused(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		s := start(t)
		s.odd = map[string]int{"odd": status}
		s.grant("good", "p1", s.now().Add(time.Hour), "member")
		s.wants("odd", 503)
		s.wants("good", 200)
		s.wants("odd", 503)
		s.wants("bad", 401)
	}
}

// A request with several tokens is nobody's: what stands between client and API may
// have looked at another one than the API would.
func TestSeveralTokens(t *testing.T) {
	s := start(t)
	s.grant("good", "p1", s.now().Add(time.Hour), "member")
	for _, tokens := range [][]string{{"good", "good"}, {"good", ""}, {"good", "bad"}, {"bad", "good"}, {"good, bad"}, {" good"}, {"good\x00"}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["X-Auth-Token"] = tokens
		if c, err := s.Authenticate(r); model.KindOf(err) != model.KindUnauthenticated {
			t.Errorf("%q: %+v, %v", tokens, c, err)
		}
	}
	// Other headers make nobody of a caller, and do not help a bad token.
	r := httptest.NewRequest("GET", "/", nil)
	for _, name := range []string{"X-Service-Token", "X-Storage-Token", "Authorization", "X-Subject-Token", "X_Auth_Token"} {
		r.Header.Set(name, "good")
	}
	for name, value := range map[string]string{"X-Roles": "admin", "X-Identity-Status": "Confirmed", "X-Project-Id": "p2", "X-User-Id": "u2", "X-Is-Admin-Project": "True"} {
		r.Header.Set(name, value)
	}
	if c, err := s.Authenticate(r); model.KindOf(err) != model.KindUnauthenticated {
		t.Errorf("%+v, %v", c, err)
	}
	r.Header.Set("X-Auth-Token", "good")
	if c, err := s.Authenticate(r); err != nil || c.HasRole("admin") || c.ProjectID != "p1" || c.UserID != "u1" {
		t.Errorf("%+v, %v", c, err)
	}
}

// rogue is a Keystone that answers whatever it likes to who asks about a token.
func rogue(t *testing.T, h http.HandlerFunc) *setup {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("X-Subject-Token", "service")
			w.WriteHeader(http.StatusCreated)
			return
		}
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	return start(t, func(o *Options) { o.URL = srv.URL })
}

// Whatever Keystone answers, it is a refusal in bounded memory, and nobody is let in.
func TestRogueKeystone(t *testing.T) {
	good := `{"token":{"user":{"id":"u"},"expires_at":"2030-01-01T00:00:00Z","roles":[{"name":"admin"}]`
	for name, h := range map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"half":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good) },
		"two":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good+"}}{}") },
		"a list":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "["+good+"}}]") },
		"null":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "null") },
		"deep":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("[", maxAnswer)) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, good)
		},
		"other end": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good+`,"expires_at":"9"}}`) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, err := io.WriteString(w, good+`,"x":"`)
			for err == nil {
				_, err = io.WriteString(w, strings.Repeat("x", 64<<10))
			}
		},
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "stolen") {
				t.Error("tokens were taken elsewhere")
			}
			http.Redirect(w, r, "/stolen", http.StatusTemporaryRedirect)
		},
		"created": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, good+"}}")
		},
		"reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"partial": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, good+"}}")
		},
		"large headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 11<<20))
			_, _ = io.WriteString(w, good+"}}")
		},
	} {
		s := rogue(t, h)
		s.t = t
		if c, err := s.request("token"); model.KindOf(err) != model.KindUnavailable {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	s := rogue(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, good+"}}") })
	if c, err := s.request("token"); err != nil || !c.HasRole("admin") {
		t.Errorf("what the others are made of is no good answer: %+v, %v", c, err)
	}
}

// FuzzAnswer: an answer is a caller with a name and an end, or it is refused.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"token":{"user":{"id":"u","name":"n","domain":{"id":"d"}},"project":{"id":"p","domain":{}},"expires_at":"2030-01-01T00:00:00.000000Z","roles":[{"name":"admin"}],"system":{"all":true}}}`,
		`{"token":{"user":{"id":"u"},"expires_at":"2030-01-01T00:00:00Z","project":null,"roles":null,"system":null}}`,
		`{"token":{"user":null}}`, `{"TOKEN":{"User":{"ID":"u"},"Expires_At":"0001-01-01T00:00:01+14:00"}}`, `{"token":[]}`, `[]`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := callerOf(body)
		switch {
		case err != nil && (!errors.Is(err, errAnswer) || c.UserID != "" || c.Roles != nil):
			t.Errorf("%q: %+v, %v", body, c, err)
		case err == nil && (c.UserID == "" || c.Expires.IsZero() || c.Admin || c.Method != "keystone"):
			t.Errorf("%q: %+v", body, c)
		}
	})
}
