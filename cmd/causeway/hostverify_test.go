package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/client"
)

// TestHostVerify: hosts that could not be compared are told in words and by the exit code, and keep no other from being
// compared.
func TestHostVerify(t *testing.T) {
	for k := range environ() {
		t.Setenv(k, "")
	}
	id := func(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
	asked := []string{}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, body any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	var agents []any
	for i, host := range []string{"a1", "a2", "a3", "a4"} {
		agents = append(agents, map[string]any{"id": id(i), "host": host, "alive": i != 0})
	}
	mux.HandleFunc("GET /v2.0/agents", func(w http.ResponseWriter, r *http.Request) {
		list := slices.DeleteFunc(slices.Clone(agents), func(a any) bool {
			host := r.URL.Query().Get("host")
			return host != "" && a.(map[string]any)["host"] != host
		})
		answer(w, http.StatusOK, map[string]any{"agents": list})
	})
	mux.HandleFunc("GET /v2.0/agents/{id}", func(w http.ResponseWriter, r *http.Request) {
		i := slices.IndexFunc(agents, func(a any) bool { return a.(map[string]any)["id"] == r.PathValue("id") })
		answer(w, http.StatusOK, map[string]any{"agent": agents[i]})
	})
	mux.HandleFunc("GET /v2.0/agents/{id}/causeway_rows", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.PathValue("id"))
		switch r.PathValue("id") {
		case id(3):
			answer(w, http.StatusOK, map[string]any{"causeway_rows": map[string]any{"host": "a4", "agrees": true, "groups": 5, "revision": 7, "differing": []string{}}})
		case id(2):
			answer(w, http.StatusBadRequest, map[string]any{"NeutronError": map[string]any{"type": "Unsupported", "message": "Host a3: upgrade it."}})
		default:
			answer(w, http.StatusServiceUnavailable, map[string]any{"NeutronError": map[string]any{"type": "ServiceUnavailable", "message": "Host: it is away."}})
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	run := func(args ...string) (string, error) {
		cmd := newRootCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append([]string{"host", "verify", "--endpoint", srv.URL}, args...))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}

	out, err := run("-f", "json")
	var list []client.HostRows
	if jerr := json.Unmarshal([]byte(out), &list); err != cli.Exit(cli.ExitFailure) || jerr != nil || len(list) != 4 {
		t.Fatalf("%v, %v\n%s", err, jerr, out)
	}
	for i, why := range []string{"not alive", "it is away", "upgrade it", ""} {
		r := list[i]
		if r.Host != fmt.Sprint("a", i+1) || r.Agrees != (why == "") || !strings.Contains(r.Reason, why) || r.Differing == nil {
			t.Errorf("%+v", r)
		}
	}
	if slices.Contains(asked, id(0)) {
		t.Error("a host that is not alive was asked")
	}
	if out, err := run("a1", "a4"); err != cli.Exit(cli.ExitFailure) || !strings.Contains(out, "it is away") || asked[len(asked)-1] != id(3) {
		t.Errorf("named hosts: %v\n%s", err, out)
	}
	if out, err := run("a4"); err != nil || !strings.Contains(out, "agree") {
		t.Errorf("a host whose rows agree: %v\n%s", err, out)
	}
}
