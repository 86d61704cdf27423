package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// evil is what a tenant, or a site, may choose for a name: it clears the screen, turns the direction
// of writing, and begins a line that looks like ours.
const evil = "e\x1b[2J\u009b31m\u202e\r\nFORGED\u2028"

// evilSite answers every question with evil texts.
func evilSite(t *testing.T, refuse func(w http.ResponseWriter) bool) string {
	t.Helper()
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	resource := map[string]any{
		"id": id, "name": evil, "description": evil, "status": evil, "type": evil, "tags": []string{evil, "causeway:" + evil}, "error": evil,
		"resource_id": evil, "tunnel_ips": []string{evil}, "devices": []any{map[string]any{"device_id": evil, evil: evil}}, "fixed_ips": []any{map[string]any{"ip_address": evil, "subnet_id": evil}},
		"mac_address": evil, "vtep_address": evil, "segmentation_id": evil, "network_id": evil, "binding:host_id": evil, "binding:profile": map[string]any{evil: evil},
		"problems": []string{evil}, "l2_gateway_id": evil, "port_id": id, "device_owner": evil, evil: evil, "routes": []any{map[string]any{"destination": evil, "nexthop": evil}},
		"host": evil, "hosts": []any{map[string]any{"host": evil, "ha_state": evil}}, "heartbeat_timestamp": evil, "management_ip": evil, "learned_macs": []string{evil},
	}
	trace := map[string]any{"delivered": false, "summary": evil, "sent": []any{map[string]any{"name": evil, "fields": []any{map[string]any{"name": evil, "value": evil}}}},
		"hops": []any{map[string]any{"at": evil, "decision": evil, "result": evil, "remedy": evil}, map[string]any{"at": evil, "decision": evil, "reason": evil}}}
	probe := map[string]any{"host": evil, "source": "10.0.0.1", "target": "10.0.0.2", "sent": 5, "received": 1, "errors": []any{map[string]any{"text": evil, "count": 1}}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse(w) {
			return
		}
		parts := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/v2.0/"), "/"), "/")
		last := parts[len(parts)-1]
		plural := strings.ReplaceAll(last, "-", "_")
		answer := map[string]any{}
		switch {
		case last == "extensions":
			var list []any
			for _, a := range []string{"gateway-device", "l2-gateway", "l2-gateway-connection", "standard-attr-tag", evil} {
				list = append(list, map[string]any{"alias": a})
			}
			answer["extensions"] = list
		case last == "trace":
			answer["trace"] = trace
		case last == "probe":
			answer["probe"] = probe
		case last == "causeway_status":
			answer["causeway_status"] = resource
		case last == "causeway_rows":
			answer["causeway_rows"] = map[string]any{"host": evil, "agrees": false, "groups": 1, "differing": []string{evil}, "reason": evil}
		case last == "switch":
			answer["switch"] = resource
		case last == "tags":
			answer["tags"] = []string{evil}
		default:
			answer[plural] = []any{resource}
			for _, k := range []string{"network", "subnet", "port", "router", "gateway_device", "l2_gateway", "l2_gateway_connection", "remote_mac_entry", "agent"} {
				answer[k] = resource
			}
		}
		if r.Method == http.MethodPost && last != "trace" && last != "probe" {
			w.WriteHeader(http.StatusCreated)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// calls are how each command is called: with a site where it speaks to one ("local" where it prints
// nothing that others choose, or needs a lab). FILE is a peering of two such sites.
func calls() map[string]string {
	return map[string]string{
		"port bind": "x --host h --interface i", "port unbind": "x", "port status": "x",
		"gateway-device create": "x --router r --tunnel-ip 192.0.2.1", "gateway-device list": "", "gateway-device show": "x", "gateway-device update": "x --name y", "gateway-device move": "x y",
		"gateway-device delete": "x", "gateway-device status": "x", "gateway-device retired": "", "gateway-device forget": "x y",
		"remote-mac create": "--gateway-device x --mac-address 02:00:00:00:00:01 --vtep-address 192.0.2.1 --segmentation-id 1",
		"remote-mac list":   "--gateway-device x", "remote-mac show": "y --gateway-device x", "remote-mac delete": "y z --gateway-device x",
		"l2-gateway create": "x --gateway-device y", "l2-gateway list": "", "l2-gateway show": "x", "l2-gateway delete": "x",
		"l2-gateway-connection create": "x y", "l2-gateway-connection list": "", "l2-gateway-connection show": "x", "l2-gateway-connection delete": "x y",
		"host list": "", "host show": "x", "host drain": "x", "host verify": "x", "host delete": "x y --off",
		"trace": "--port x --to 10.0.0.1 --headers", "probe": "--router x --to 10.0.0.1",
		"peer plan": "--file FILE", "peer apply": "--file FILE --yes --wait 0s", "peer status": "--file FILE", "peer verify": "--file FILE",
		"peer destroy": "--file FILE --yes --wait 0s", "peer adopt": "--file FILE --yes --wait 0s", "peer render": "--file FILE",
		// What it has to tell goes to the log, whose lines slog quotes.
		"peer run": "local", "controller": "local", "controller backup": "local", "agent": "local", "agent cleanup": "local", "agent status": "local", "health": "local", "health status": "local", "policy defaults": "local", "policy check": "local",
		"pki init": "local", "pki issue": "local", "pki renew": "local", "pki revoke": "local", "pki list": "local",
		"store export": "local", "store import": "local", "store verify": "local",
		"openapi": "local", "version": "local", "demo": "local",
		// Their tables are cli.Table, whose cells are held to the same in internal/cli.
		"testbed up": "local", "testbed attach": "local", "testbed exec": "local", "testbed status": "local", "testbed down": "local",
		"testbed list": "local", "testbed restart agent": "local", "testbed restart controller": "local", "testbed restart etcd": "local",
		"testbed kill agent": "local", "testbed kill controller": "local", "testbed kill etcd": "local", "testbed cut": "local", "testbed heal": "local",
		"testbed etcd-member": "local",
	}
}

// leaves are the commands that do something, by their path.
func leaves(c *cobra.Command, path string) []string {
	var out []string
	for _, s := range c.Commands() {
		name := strings.TrimSpace(path + " " + s.Name())
		if s.Name() == "help" || s.Name() == "completion" {
			continue
		}
		if !s.HasSubCommands() || slices.Contains([]string{"agent", "controller", "health"}, s.Name()) {
			out = append(out, name)
		}
		out = append(out, leaves(s, name)...)
	}
	return out
}

// TestHostileNames runs every command against sites whose every text is evil, and that answer well or
// with an error: nothing that they chose steers the terminal or looks like a line of ours.
func TestHostileNames(t *testing.T) {
	for k := range environ() {
		t.Setenv(k, "")
	}
	known := calls()
	all := leaves(newRootCommand(), "")
	for name := range known {
		if !slices.Contains(all, name) {
			t.Errorf("there is no command %s", name)
		}
	}
	refusals := map[string]func(w http.ResponseWriter) bool{
		"answers": func(http.ResponseWriter) bool { return false },
		"refuses": func(w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]any{"NeutronError": map[string]any{"type": evil, "message": evil, "detail": evil}})
			return true
		},
		"is a proxy": func(w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<html><title>%s</title></html>", evil)
			return true
		},
	}
	for kind, refuse := range refusals {
		site := evilSite(t, refuse)
		file := filepath.Join(t.TempDir(), "p.yaml")
		text := fmt.Sprintf(`{apiVersion: causeway/v1, kind: Peering, metadata: {name: acme}, spec: {network: {cidr: 192.168.0.0/24}, sites: [
  {name: a, endpoint: %q, gateway: g, router: r}, {name: b, endpoint: %q, gateway: g, router: r}]}}`, site, site)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range all {
			args, ok := known[name]
			switch {
			case !ok:
				t.Errorf("%s: say in calls() how it is called", name)
				continue
			case args == "local":
				continue
			}
			t.Run(kind+"/"+name, func(t *testing.T) { runHostile(t, name, strings.ReplaceAll(args, "FILE", file), site) })
		}
	}
}

func runHostile(t *testing.T, name, args, site string) {
	formats := []string{""}
	if cmd, _, err := newRootCommand().Find(strings.Fields(name)); err == nil {
		if flag := cmd.Flag("format"); flag != nil {
			if f, ok := flag.Value.(formatValue); ok {
				formats = f.among
			}
		}
	}
	said := false
	for _, format := range formats {
		argv := append(strings.Fields(name), strings.Fields(args)...)
		if !strings.HasPrefix(name, "peer ") {
			argv = append(argv, "--endpoint", site)
		}
		if format != "" {
			argv = append(argv, "-f", format)
		}
		var out bytes.Buffer
		run(t.Context(), argv, strings.NewReader(""), &out, &out)
		got := out.String()
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%s: it steers the terminal: %q", format, got)
		}
		for line := range strings.Lines(got) {
			if strings.HasPrefix(strings.TrimLeft(line, " |"), "FORGED") {
				t.Errorf("%s: a line of theirs: %q", format, got)
			}
		}
		said = said || strings.Contains(got, "FORGED")
	}
	if !said && !strings.HasSuffix(name, " delete") && !strings.HasSuffix(name, " forget") {
		t.Error("nothing of the site's is in it: this test shows nothing")
	}
}

func environ() map[string]bool {
	out := map[string]bool{}
	for _, kv := range os.Environ() {
		if k, _, _ := strings.Cut(kv, "="); strings.HasPrefix(k, "OS_") || strings.HasPrefix(k, "CAUSEWAY_") {
			out[k] = true
		}
	}
	return out
}
