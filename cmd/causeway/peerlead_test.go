package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// controllerProcess is a site without hosts; it ends with the test.
func controllerProcess(t *testing.T) *client.Client {
	t.Helper()
	program, err := exec.LookPath("causeway")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "causeway-lead-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p, url, err := process.StartController(t.Context(), program, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(t.Context(), client.Options{Endpoint: url, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// runner is a "causeway peer run".
type runner struct {
	*exec.Cmd
	socket string
	log    *bytes.Buffer
}

func startRunner(t *testing.T, file, name string) *runner {
	t.Helper()
	r := &runner{socket: filepath.Join(filepath.Dir(file), name), log: &bytes.Buffer{}}
	r.Cmd = exec.Command("causeway", "peer", "run", "--file", file, "--listen", "unix:"+r.socket, "--poll", "200ms", "--resync", "1s")
	r.Stderr = r.log
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Process.Kill()
		_ = testutil.Exit(t, r.Cmd)
		if t.Failed() {
			t.Logf("%s:\n%s", name, r.log)
		}
	})
	return r
}

func (r *runner) leads() bool {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
	}}}
	resp, err := c.Get("http://service/healthz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var h struct {
		Peerings map[string]struct {
			Leader bool `json:"leader"`
		} `json:"peerings"`
	}
	return json.NewDecoder(resp.Body).Decode(&h) == nil && h.Peerings["acme"].Leader
}

// TestPeerRunLeaderIsKilled: with two instances on real controllers, the one that leads is killed
// with SIGKILL; the other takes over and goes on.
func TestPeerRunLeaderIsKilled(t *testing.T) {
	var sites []*client.Client
	var routers []string
	var b strings.Builder
	b.WriteString("apiVersion: causeway/v1\nkind: Peering\nmetadata: {name: acme}\nspec:\n  network: {cidr: 192.168.0.0/24}\n  sites:\n")
	create := func(c *client.Client, k client.Collection, a client.Attrs) string {
		t.Helper()
		made, err := c.Create(t.Context(), k, a)
		if err != nil {
			t.Fatal(err)
		}
		return client.ID(made)
	}
	subnet := func(i int, cidr string) {
		t.Helper()
		n := create(sites[i], client.Networks, client.Attrs{"name": cidr})
		s := create(sites[i], client.Subnets, client.Attrs{"network_id": n, "ip_version": 4, "cidr": cidr})
		if _, err := sites[i].AddInterface(t.Context(), routers[i], "subnet_id", s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		c := controllerProcess(t)
		sites = append(sites, c)
		routers = append(routers, create(c, client.Routers, client.Attrs{"name": "tenant"}))
		create(c, client.Routers, client.Attrs{"name": "vtep"})
		subnet(i, fmt.Sprintf("10.0.%d.0/24", i))
		fmt.Fprintf(&b, "  - {name: site-%d, endpoint: %q, router: tenant, gateway: {router: vtep, tunnelIP: 200.200.0.%d}}\n", i, c.Endpoint(), i+1)
	}
	dir, err := os.MkdirTemp("", "causeway-lead-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "acme.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	routed := func(i int, cidr string) bool {
		list, err := sites[i].List(t.Context(), client.Routers, url.Values{"id": {routers[i]}})
		return err == nil && len(list) == 1 && strings.Contains(fmt.Sprint(list[0]["routes"]), "destination:"+cidr+" ")
	}
	one := startRunner(t, file, "one")
	testutil.Eventually(t, "the first to lead", one.leads)
	two := startRunner(t, file, "two")
	testutil.Eventually(t, "the peering", func() bool { return routed(0, "10.0.1.0/24") && routed(1, "10.0.0.0/24") })
	if two.leads() {
		t.Error("both lead")
	}
	if err := one.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = testutil.Exit(t, one.Cmd)
	begin := time.Now()
	subnet(0, "10.7.0.0/24")
	testutil.Eventually(t, "the second to go on", func() bool { return two.leads() && routed(1, "10.7.0.0/24") })
	t.Logf("taken over after %v", time.Since(begin).Round(time.Millisecond))
	if err := two.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := testutil.Exit(t, two.Cmd); err != nil {
		t.Errorf("the second ends with %v", err)
	}
}
