package clients

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var requestIDText = regexp.MustCompile(`^req-[0-9a-f-]{36}$`)

// send makes a request as the clients' library does.
func send(ctx context.Context, method, url, body, token string) (status int, answer string, header http.Header, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(b)), resp.Header, err
}

// TestContract sends what clients send to a real Neutron and compares the answers with
// what that answered, or with what Causeway decided to answer where Neutron is loose.
func TestContract(t *testing.T) {
	files, err := filepath.Glob("testdata/contract/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		sections := readSections(t, f)
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			url := newController(t)
			n := names{"URL": url, "NONE": "00000000-0000-4000-8000-000000000000", "PROJECT": "default", "LONG": strings.Repeat("x", 256)}
			for _, sec := range sections {
				t.Run(sec.name, func(t *testing.T) {
					for _, s := range sec.steps {
						replay(t, url, map[string]string{"": "notused"}, n, s)
					}
				})
			}
		})
	}
}

// replay makes the requests of a step itself, with the tokens of their users.
func replay(t *testing.T, url string, tokens map[string]string, n names, s step) {
	t.Helper()
	for _, e := range s.exchanges {
		request := e.method + " " + n.fill(e.path) + " " + n.fill(e.body)
		status, answer, header, err := send(t.Context(), e.method, url+n.fill(e.path), n.fill(e.body), tokens[e.user])
		if err != nil {
			t.Fatalf("line %d: %s: %v", e.line, request, err)
		}
		if err := e.matchAnswer(n, status, answer); err != nil {
			t.Errorf("line %d: %s: %v", e.line, request, err)
		}
		if id := header.Get("X-Openstack-Request-Id"); !requestIDText.MatchString(id) {
			t.Errorf("line %d: %s: request id %q", e.line, request, id)
		}
		if answer != "" && !strings.HasPrefix(header.Get("Content-Type"), "application/json") {
			t.Errorf("line %d: %s: content type %q", e.line, request, header.Get("Content-Type"))
		}
	}
}
