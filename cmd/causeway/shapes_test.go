package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// shapes are what commands with -f json print. Those that need a lab are held to theirs in its own scripts.
var shapes = map[string]string{
	"port bind": "object", "port unbind": "object", "port status": "object",
	"gateway-device create": "object", "gateway-device list": "list", "gateway-device show": "object", "gateway-device update": "object", "gateway-device move": "object",
	"gateway-device status": "object", "gateway-device retired": "list",
	"remote-mac create": "object", "remote-mac list": "list", "remote-mac show": "object",
	"l2-gateway create": "object", "l2-gateway list": "list", "l2-gateway show": "object",
	"l2-gateway-connection create": "object", "l2-gateway-connection list": "list", "l2-gateway-connection show": "object",
	"host list": "list", "host show": "object", "host drain": "object", "host verify": "list",
	"trace": "list", "probe": "object",
	"peer plan": "list", "peer status": "list", "peer verify": "list",
	"testbed status": "object", "testbed list": "list", "agent status": "object", "health status": "object", "pki list": "list",
}

// what says what is in a shape, for the page.
var what = map[string]string{
	"trace": "one `{endpoint, trace}` for each site that the packet comes to", "probe": "the report", "testbed status": "the lab", "testbed list": "the labs that are up",
	"peer plan": "one plan for each peering", "peer status": "one state for each peering", "peer verify": "one result for each peering, with all traces",
	"port status":           "how it stands with the port",
	"gateway-device status": "how it stands with the switch",
	"host verify":           "for each host whether its rows agree, and what differs",
	"pki list":              "the certificates that were signed",
	"health status":         "the remote VTEPs of this host's tunnels, with state, round trip and loss",
	"agent status":          "revisions, counts, and the objects that are not as wanted",
}

// TestShapes: the JSON and YAML of every command that prints data are one document of the shape that the
// page of commands tells, with the same content.
func TestShapes(t *testing.T) {
	for k := range environ() {
		t.Setenv(k, "")
	}
	site := evilSite(t, func(http.ResponseWriter) bool { return false })
	file := filepath.Join(t.TempDir(), "p.yaml")
	text := fmt.Sprintf(`{apiVersion: causeway/v1, kind: Peering, metadata: {name: acme}, spec: {network: {cidr: 192.168.0.0/24}, sites: [
  {name: a, endpoint: %q, gateway: g, router: r}, {name: b, endpoint: %q, gateway: g, router: r}]}}`, site, site)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| command | prints |\n|---|---|\n")
	for _, name := range leaves(newRootCommand(), "") {
		cmd, _, err := newRootCommand().Find(strings.Fields(name))
		if err != nil {
			t.Fatal(err)
		}
		want, known := shapes[name]
		printsData := cmd.Flag("json") != nil && cmd.Flag("format") != nil
		if known != printsData {
			t.Errorf("%s prints data: %v; the table of shapes has it: %v", name, printsData, known)
			continue
		}
		if !known {
			continue
		}
		in := what[name]
		if in == "" {
			in = map[string]string{"list": "the resources", "object": "the resource"}[want]
		}
		fmt.Fprintf(&table, "| `causeway %s` | %s: %s |\n", name, map[string]string{"list": "a list", "object": "an object"}[want], in)
		if calls()[name] == "local" {
			continue
		}
		docs := map[string]any{}
		for _, format := range []string{"json", "yaml"} {
			argv := append(strings.Fields(name), strings.Fields(strings.ReplaceAll(calls()[name], "FILE", file))...)
			if !strings.HasPrefix(name, "peer ") {
				argv = append(argv, "--endpoint", site)
			}
			var out, errs bytes.Buffer
			run(t.Context(), append(argv, "-f", format), strings.NewReader(""), &out, &errs)
			unmarshal := json.Unmarshal
			if format == "yaml" {
				unmarshal = yaml.Unmarshal
			}
			var v any
			if err := unmarshal(out.Bytes(), &v); err != nil {
				t.Errorf("%s -f %s: %v\n%s%s", name, format, err, &out, &errs)
				continue
			}
			got := "neither"
			switch v.(type) {
			case []any:
				got = "list"
			case map[string]any:
				got = "object"
			}
			if got != want {
				t.Errorf("%s -f %s prints: %s, want %s", name, format, got, want)
			}
			docs[format] = v
		}
		j, err1 := json.Marshal(docs["json"])
		y, err2 := json.Marshal(docs["yaml"])
		// Which of a site's mistakes a peering tells of first differs from run to run.
		if err1 != nil || err2 != nil || !strings.HasPrefix(name, "peer ") && !bytes.Equal(j, y) {
			t.Errorf("%s: JSON and YAML say different things:\n%s\n%s", name, j, y)
		}
	}
	page, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "<!-- shapes -->\n")
	have, _, _ := strings.Cut(rest, "<!-- end -->")
	if have != table.String() {
		t.Errorf("docs/commands.md is to have this table:\n%s", &table)
	}
}
