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
)

// TestGatewayMoveCommand: where gateway-device move sends a device, what it leaves it bound to, and what it says where it cannot.
func TestGatewayMoveCommand(t *testing.T) {
	for k := range environ() {
		t.Setenv(k, "")
	}
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	for name, c := range map[string]struct {
		bound, standby, args string // standby: a2's ha_state
		reason               string // once it is bound
		binds                []string
		words                string
	}{
		"to the first that stands by":   {standby: "standby", binds: []string{"a2", ""}},
		"past one that does not answer": {standby: "unknown", binds: []string{"a3", ""}},
		"to a host":                     {standby: "standby", args: "a3", binds: []string{"a3", ""}},
		"one that is bound":             {standby: "standby", bound: "a1", binds: []string{"a2"}},
		"to a host that is not shown":   {standby: "standby", args: "a9", binds: []string{"a9", ""}},
		"to where it is":                {standby: "standby", args: "a1", words: "serves gateway device " + id + " already"},
		"to one that does not answer":   {standby: "unknown", args: "a2", words: "host a2 does not answer"},
		"to one that goes meanwhile": {standby: "standby", bound: "a7", args: "a2", reason: "it is bound to host a2 and served by host a1: it is away",
			binds: []string{"a2", "a7"}, words: "does not move: it is bound to host a2"},
		"without standbys": {words: "no host stands by"},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := []any{map[string]any{"host": "a1", "ha_state": "active"}}
			if c.standby != "" {
				hosts = append(hosts, map[string]any{"host": "a2", "ha_state": c.standby}, map[string]any{"host": "a3", "ha_state": "standby"})
			}
			device := map[string]any{"id": id, "name": "g", "host": "a1", "hosts": hosts, "binding:host_id": c.bound, "host_reason": ""}
			var binds []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					var body map[string]map[string]any
					if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
						t.Error(err)
					}
					binds = append(binds, fmt.Sprint(body["gateway_device"]["binding:host_id"]))
					device["host_reason"] = c.reason
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"gateway_device": device, "gateway_devices": []any{device}})
			}))
			defer srv.Close()
			var out, errs bytes.Buffer
			argv := append([]string{"gateway-device", "move", "g"}, strings.Fields(c.args)...)
			code := run(t.Context(), append(argv, "--endpoint", srv.URL), strings.NewReader(""), &out, &errs)
			if !slices.Equal(binds, c.binds) {
				t.Errorf("it was bound to %q, want %q", binds, c.binds)
			}
			if failed := c.words != ""; failed != (code != 0) || !strings.Contains(errs.String(), c.words) {
				t.Errorf("exit code %d, and %q; want %q", code, &errs, c.words)
			}
		})
	}
}
