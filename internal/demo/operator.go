package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/internal/client"
)

// causeway runs a command of this program, as an operator would, and returns what it printed.
func (o *orchestration) causeway(ctx context.Context, args ...string) (string, error) {
	exe, err := o.program()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = withoutClouds(os.Environ())
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("causeway %s: %w\n%s%s", strings.Join(args[:2], " "), err, out.String(), errs.String())
	}
	return out.String(), err
}

// program is the causeway program.
func (o *orchestration) program() (string, error) {
	if o.o.Exe != "" {
		return o.o.Exe, nil
	}
	return os.Executable()
}

// withoutClouds keeps the OS_* variables of whoever runs the demo out of it.
func withoutClouds(env []string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "OS_") {
			out = append(out, kv)
		}
	}
	return out
}

// server is a running "causeway peer run".
type server struct {
	cmd  *exec.Cmd
	errs *bytes.Buffer
}

// startService starts it and waits until it leads and finds all as the file says.
func (o *orchestration) startService(ctx context.Context) (*server, error) {
	exe, err := o.program()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(o.dir, "run.sock")
	s := &server{cmd: exec.Command(exe, "peer", "run", "--file", o.path, "--listen", "unix:"+socket), errs: &bytes.Buffer{}}
	s.cmd.Stderr = s.errs
	s.cmd.Env = withoutClouds(os.Environ())
	o.lab.Own(s.cmd)
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	asks := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	_, err = o.await(ctx, begin, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://service/healthz", nil)
		if err != nil {
			return false, err
		}
		resp, err := asks.Do(req)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		return bytes.Contains(b, []byte(`"leader":true,"in_sync":true`)), err
	})
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	o.p.done("the service watches the file and the sites", time.Since(begin))
	return s, nil
}

// end asks the service to end and waits for it.
func (s *server) end() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("causeway peer run: %w\n%s", err, s.errs)
	}
	return nil
}

// state is everything that a site's API lists, by kind and id.
func (s *site) state(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	for _, k := range []client.Collection{
		client.Networks, client.Subnets, client.Ports, client.Routers, client.GatewayDevices, client.L2Gateways, client.L2GatewayConnections,
	} {
		list, err := s.api.List(ctx, k, nil)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			out[k.Path+"/"+client.ID(a)] = true
			if routes, _ := a["routes"].([]any); k == client.Routers {
				for _, r := range routes {
					out[fmt.Sprintf("route %v of %s", r, client.ID(a))] = true
				}
			}
		}
	}
	return out, nil
}

func (s *site) hasRoute(ctx context.Context, cidr string) (bool, error) {
	r, err := s.api.Get(ctx, client.Routers, s.ids["router"])
	if err != nil {
		return false, err
	}
	routes, _ := r["routes"].([]any)
	for _, x := range routes {
		if m, _ := x.(map[string]any); m["destination"] == cidr {
			return true, nil
		}
	}
	return false, nil
}

// addSubnet is what a tenant does while a peering is there.
func (o *orchestration) addSubnet(ctx context.Context, s *site, cidr string) error {
	begin := time.Now()
	port, err := s.addNetwork(ctx, cidr)
	if err != nil {
		return err
	}
	o.made["networks/"+s.ids["network "+cidr]], o.made["subnets/"+s.ids["subnet "+cidr]], o.made["ports/"+port] = true, true, true
	o.p.done(fmt.Sprintf("the tenant of %s puts %s on its router", s.name, cidr), time.Since(begin))
	return nil
}

// addNetwork makes a network, a subnet, and an interface of the tenant's router, of which it returns the port.
func (s *site) addNetwork(ctx context.Context, cidr string) (port string, err error) {
	err = s.create(ctx, "network "+cidr, client.Networks, client.Attrs{"name": s.plan.name("More"), "tenant_id": tenant})
	if err == nil {
		err = s.create(ctx, "subnet "+cidr, client.Subnets, client.Attrs{
			"name": s.plan.name("More"), "network_id": s.ids["network "+cidr], "ip_version": 4, "cidr": cidr, "tenant_id": tenant,
		})
	}
	if err != nil {
		return "", err
	}
	return s.api.AddInterface(ctx, s.ids["router"], "subnet_id", s.ids["subnet "+cidr])
}

// port makes a port for a workload on what addSubnet made.
func (s *site) port(ctx context.Context, cidr, ip string) (string, error) {
	err := s.create(ctx, "port "+ip, client.Ports, client.Attrs{
		"name": s.plan.name("More"), "network_id": s.ids["network "+cidr], "tenant_id": tenant, "fixed_ips": []client.Attrs{{"ip_address": ip}},
	})
	return s.ids["port "+ip], err
}
