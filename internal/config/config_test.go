package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func resolve(t *testing.T, args, environ []string, file string) (*Controller, *Set, error) {
	t.Helper()
	var c Controller
	s := NewSet("controller")
	c.Bind(s)
	if file != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := s.Flags().Parse(args); err != nil {
		return nil, nil, err
	}
	if err := s.Resolve(environ); err != nil {
		return nil, nil, err
	}
	return &c, s, c.Finish(s)
}

func TestPrecedence(t *testing.T) {
	const file = "api-listen: 127.0.0.1:1\ndata-dir: /file\nagent-socket: /file.sock\nunderlay-mtu: 9000\n"
	env := []string{"CAUSEWAY_CONTROLLER_API_LISTEN=127.0.0.1:2", "CAUSEWAY_CONTROLLER_DATA_DIR=/env", "PATH=/bin"}
	c, s, err := resolve(t, []string{"--api-listen", "127.0.0.1:3"}, env, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct{ name, got, want, source string }{
		{"api-listen", c.APIListen, "127.0.0.1:3", "flag --api-listen"},
		{"data-dir", c.DataDir, "/env", "environment variable CAUSEWAY_CONTROLLER_DATA_DIR"},
		{"agent-socket", c.AgentSocket, "/file.sock", "c.yaml:3"},
		{"metrics-listen", c.MetricsListen, "127.0.0.1:9697", "default"},
	} {
		if w.got != w.want {
			t.Errorf("%s = %q, want %q", w.name, w.got, w.want)
		}
		if src := string(s.Source(w.name)); !strings.HasSuffix(src, w.source) {
			t.Errorf("%s comes from %q, want %q", w.name, src, w.source)
		}
	}
	if c.UnderlayMTU != 9000 {
		t.Errorf("underlay MTU %d", c.UnderlayMTU)
	}
}

func TestLists(t *testing.T) {
	for _, in := range []struct {
		env  []string
		file string
	}{
		{file: "etcd-endpoints: [http://a:1, http://b:2]\n"},
		{env: []string{"CAUSEWAY_CONTROLLER_ETCD_ENDPOINTS=http://a:1,http://b:2"}},
		{env: []string{"CAUSEWAY_CONTROLLER_ETCD_ENDPOINTS=http://a:1,http://b:2"}, file: "etcd-endpoints: http://c:1\n"},
	} {
		c, _, err := resolve(t, nil, in.env, in.file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.EtcdEndpoints, " "); got != "http://a:1 http://b:2" {
			t.Errorf("%+v: %s", in, got)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, in := range []struct {
		name      string
		args, env []string
		file      string
		want      string
	}{
		{name: "unknown flag", args: []string{"--nope"}, want: "unknown flag: --nope"},
		{name: "unknown variable", env: []string{"CAUSEWAY_CONTROLLER_NOPE=1"}, want: "CAUSEWAY_CONTROLLER_NOPE: causeway controller has no such setting"},
		{name: "unknown key", file: "data-dir: /x\nnope: 1\n", want: `c.yaml:2: "nope"`},
		{name: "config in the file", file: "config: /x\n", want: `"config"`},
		{name: "key twice", file: "data-dir: /x\ndata-dir: /y\n", want: "given twice"},
		{name: "bad number in variable", env: []string{"CAUSEWAY_CONTROLLER_UNDERLAY_MTU=x"}, want: `CAUSEWAY_CONTROLLER_UNDERLAY_MTU: "x" is not a valid int`},
		{name: "bad number in file", file: "underlay-mtu: many\n", want: `c.yaml:1: underlay-mtu: "many" is not a valid int`},
		{name: "list for a plain value", file: "data-dir: [a]\n", want: "c.yaml:1: data-dir: not a plain value"},
		{name: "no mapping", file: "- a\n", want: "not a mapping"},
		{name: "not YAML", file: "a: [\n", want: "yaml"},
		{name: "no file", args: []string{"--config", "/does/not/exist"}, want: "--config"},
		{name: "mtu from env", env: []string{"CAUSEWAY_CONTROLLER_UNDERLAY_MTU=100"}, want: "--underlay-mtu (from environment variable CAUSEWAY_CONTROLLER_UNDERLAY_MTU): 100"},
		{name: "quota without limit", args: []string{"--quota", "port"}, want: `--quota: "port" is not RESOURCE=LIMIT`},
		{name: "quota below none", args: []string{"--quota", "port=1,network=-2"}, want: `"network=-2"`},
		{name: "open API", args: []string{"--api-listen", "0.0.0.0:9696"}, want: "--insecure-api"},
		{name: "open API with tokens in the clear", args: []string{"--api-listen", "0.0.0.0:9696", "--auth", "keystone", "--keystone-url", "https://k", "--keystone-user", "n", "--keystone-password-file", "/p"}, want: "in the clear"},
		{name: "auth", args: []string{"--auth", "ldap"}, want: "neither none nor keystone"},
		{name: "keystone without settings", args: []string{"--auth", "keystone"}, want: "--auth keystone needs --keystone-password-file"},
		{name: "keystone's URL", args: []string{"--auth", "keystone", "--keystone-url", "k:5000"}, want: "--keystone-url"},
		{name: "keystone's settings without it", args: []string{"--keystone-user", "n"}, want: "need --auth keystone"},
		{name: "policy without authentication", args: []string{"--policy-file", "/p"}, want: "need --auth keystone"},
		{name: "cache time", args: []string{"--auth", "keystone", "--keystone-cache-time", "25h"}, want: "--keystone-cache-time: 25h0m0s"},
		{name: "open API by a socket", args: []string{"--api-listen", "fd:3"}, want: "--insecure-api"},
		{name: "no socket", args: []string{"--api-listen", "fd:2"}, want: `"fd:2" is not fd:N with N of 3 or more`},
		{name: "open API, no host", args: []string{"--api-listen", ":9696"}, want: "--insecure-api"},
		{name: "open agents", args: []string{"--agent-listen", "0.0.0.0:9"}, want: "--agent-tls-cert, --agent-tls-key, --agent-tls-ca missing"},
		{name: "relative data", args: []string{"--data-dir", "data"}, want: "--data-dir"},
		{name: "no port", args: []string{"--api-listen", "localhost"}, want: "ADDRESS:PORT"},
		{name: "agents at a socket", args: []string{"--agent-listen", "unix:rel", "--agent-tls-cert", "c", "--agent-tls-key", "k", "--agent-tls-ca", "a"}, want: "not an absolute path"},
		{name: "one socket twice", args: []string{"--agent-socket", "/s", "--agent-listen", "unix:/s", "--agent-tls-cert", "c", "--agent-tls-key", "k", "--agent-tls-ca", "a"}, want: "/s is --agent-socket already"},
		{name: "long socket", args: []string{"--agent-socket", "/" + strings.Repeat("x", 120)}, want: "107"},
		{name: "no agents", args: []string{"--agent-socket", ""}, want: "no agent could come"},
		{name: "log format", args: []string{"--log-format", "xml"}, want: "neither text nor json"},
		{name: "etcd user without cluster", args: []string{"--etcd-user", "u"}, want: "--etcd-endpoints"},
	} {
		t.Run(in.name, func(t *testing.T) {
			_, _, err := resolve(t, in.args, in.env, in.file)
			if err == nil || !strings.Contains(err.Error(), in.want) {
				t.Errorf("got %v, want an error with %q", err, in.want)
			}
		})
	}
}

func TestAgent(t *testing.T) {
	for _, in := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"--controller", "c.example:9700"}, "over a network needs TLS"},
		{[]string{"--controller", "c.example:9700", "--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"}, ""},
		{[]string{"--controller", "unix:///s", "--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"}, ""},
		{[]string{"--controller", "unix:///s", "--controller", "c.example:9700", "--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"}, "--controller: unix:///s is a socket, and c.example:9700 is over a network with TLS"},
		{[]string{"--controller", "unix:///s", "--controller", "unix:///t", "--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"}, ""},
		{[]string{"--controller", "unix:///s", "--tls-cert", "c"}, "--tls-key, --tls-ca missing"},
		{[]string{"--controller", "nowhere"}, "neither unix"},
		{[]string{"--controller", "unix://rel"}, "absolute"},
		{[]string{"--icmp-burst", "0"}, "--icmp-rate=0"},
		{[]string{"--path-mtu", "500"}, "--path-mtu: 500 is neither 0 nor in 576…65535"},
		{[]string{"--path-mtu", "1400", "--path-mtu-floor", "1300", "--path-mtu-interval", "10s"}, ""},
		{[]string{"--path-mtu-floor", "0"}, "--path-mtu-floor: 0 is not in 576…65535"},
		{[]string{"--stop-after", "5m"}, ""},
		{[]string{"--stop-after", "5s"}, "--stop-after: 5s is neither 0 nor in 15s…720h0m0s"},
		{[]string{"--path-mtu-interval", "10ms"}, "--path-mtu-interval: 10ms is not in 1s…1h"},
		{[]string{"--max-routes", "0"}, "--max-routes: 0 is not in 1…"},
		{[]string{"--max-endpoints", "4000000000"}, "--max-endpoints: 4000000000 is not in 1…"},
		{[]string{"--max-vnis", "1", "--max-peers", "16777216"}, ""},
		{[]string{"--underlay-interface", "a", "--underlay-interface", "b"}, ""},
		{[]string{"--underlay-interface", "a", "--underlay-reverse-path", "off", "--underlay-output", "kernel", "--underlay-mark", "0x1"}, ""},
		{[]string{"--underlay-reverse-path", "off"}, "name them with --underlay-interface"},
		{[]string{"--underlay-reverse-path", "loose"}, "neither strict nor off"},
		{[]string{"--underlay-output", "ipsec"}, "neither direct nor kernel"},
		{[]string{"--underlay-mark", "0"}, "--underlay-mark: \"0\" is no number"},
		{[]string{"--underlay-mark", "0x100000000"}, "is no number of 32 bits"},
		{[]string{"--fabric-address", "10.0.0.1"}, ""},
		{[]string{"--fabric-address", "10.0.0.1", "--fabric-port", "5000"}, ""},
		{[]string{"--fabric-address", "h1.example"}, "--fabric-address: \"h1.example\" is no IPv4 address"},
		{[]string{"--fabric-address", "2001:db8::1"}, "is no IPv4 address"},
		{[]string{"--fabric-address", "127.0.0.1"}, "no address by which other hosts reach this one"},
		{[]string{"--fabric-address", "0.0.0.0"}, "no address by which other hosts reach this one"},
		{[]string{"--fabric-port", "4789"}, "--fabric-port: 4789 is the port of the tunnels between sites"},
		{[]string{"--fabric-port", "0"}, "--fabric-port: 0 is no port"},
	} {
		var a Agent
		s := NewSet("agent")
		a.Bind(s)
		if err := s.Flags().Parse(in.args); err != nil {
			t.Fatal(err)
		}
		err := s.Resolve(nil)
		if err == nil {
			err = a.Finish(s)
		}
		if in.want == "" && err != nil || in.want != "" && (err == nil || !strings.Contains(err.Error(), in.want)) {
			t.Errorf("%v: got %v, want %q", in.args, err, in.want)
		}
	}
}

// With tokens, an API off loopback needs no certificates of its clients.
func TestKeystone(t *testing.T) {
	args := []string{"--auth", "keystone", "--keystone-url", "http://k.example:5000", "--keystone-user", "n", "--keystone-password-file", "/p"}
	c, _, err := resolve(t, append(args, "--api-listen", "0.0.0.0:9696", "--api-tls-cert", "/c", "--api-tls-key", "/k"), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Auth.Keystone.Project != "service" || c.Auth.Keystone.CacheTime != time.Minute || !c.Auth.Keystone.InTheClear() {
		t.Errorf("%+v", c.Auth)
	}
	for url, want := range map[string]bool{"https://k": false, "http://127.0.0.1:5000/v3": false, "http://[::1]:5000": false, "http://localhost": false, "http://10.0.0.1": true} {
		if got := (Keystone{URL: url}).InTheClear(); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
	if _, _, err := resolve(t, append(args, "--api-listen", "0.0.0.0:9696", "--insecure-api"), nil, ""); err != nil {
		t.Error(err)
	}
}

// What Kubernetes sets for a service called causeway-controller is nobody's mistake; what
// only looks like it is refused as ever.
func TestKubernetesVariables(t *testing.T) {
	kubernetes := []string{
		"CAUSEWAY_CONTROLLER_SERVICE_HOST=10.96.0.7", "CAUSEWAY_CONTROLLER_SERVICE_PORT=9696", "CAUSEWAY_CONTROLLER_SERVICE_PORT_API=9696",
		"CAUSEWAY_CONTROLLER_PORT=tcp://10.96.0.7:9696", "CAUSEWAY_CONTROLLER_PORT_9696_TCP=tcp://10.96.0.7:9696",
		"CAUSEWAY_CONTROLLER_PORT_9696_TCP_PROTO=tcp", "CAUSEWAY_CONTROLLER_PORT_9696_TCP_PORT=9696", "CAUSEWAY_CONTROLLER_PORT_9696_TCP_ADDR=10.96.0.7",
		"CAUSEWAY_CONTROLLER_METRICS_SERVICE_HOST=10.96.0.8", "CAUSEWAY_CONTROLLER_METRICS_PORT=tcp://10.96.0.8:9697",
	}
	if _, _, err := resolve(t, nil, kubernetes, ""); err != nil {
		t.Error(err)
	}
	for _, e := range []string{"CAUSEWAY_CONTROLLER_PORT=9696", "CAUSEWAY_CONTROLLER_API_PORT=9696", "CAUSEWAY_CONTROLLER_PORT_API=tcp://x", "CAUSEWAY_CONTROLLER_HOST=x"} {
		if _, _, err := resolve(t, nil, []string{e}, ""); err == nil || !strings.Contains(err.Error(), "has no such setting") {
			t.Errorf("%s: %v", e, err)
		}
	}
}
