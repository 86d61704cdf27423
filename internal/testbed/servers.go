package testbed

import (
	"context"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/causeway-net/causeway/internal/pki"
)

func controllerName(controller string) string { return "controller " + controller }
func agentName(host string) string            { return "agent " + host }
func memberName(member string) string         { return "etcd " + member }

// clustered tells whether a site has several controllers on a cluster of etcd members.
func (s Site) clustered() bool { return len(s.Controllers) > 0 }

// controllers are those of a site. The only one of a site has the site's name.
func (s Site) controllers() []Controller {
	if s.clustered() {
		return s.Controllers
	}
	return []Controller{{Name: s.Name, API: s.API}}
}

// called is a controller in words.
func (s Site) called(k Controller) string {
	if s.clustered() {
		return "controller " + k.Name
	}
	return "site " + s.Name
}

// startController starts a controller of a site.
func (l *Lab) startController(s Site, k Controller, more ...string) error {
	args := []string{
		"controller",
		"--metrics-listen", "unix:" + l.MetricsSocket(k.Name),
		"--underlay-mtu", strconv.Itoa(l.st.File.underlayMTU(s)),
	}
	if s.clustered() {
		return l.startClustered(s, k, append(args, more...))
	}
	args = append(args, "--api-listen", k.API, "--data-dir", l.DataDir(s.Name))
	// Agents come by a unix socket, which works across network namespaces: it is found by its file.
	switch len(s.Hosts) {
	case 0:
		args = append(args, "--agent-socket", l.agentSocket(s.Name))
	case 1:
		args = append(args, "--agent-socket", l.agentSocket(s.Name), "--local-host", s.Hosts[0].Name)
	default:
		files, err := l.certificates(s)
		if err != nil {
			return err
		}
		args = append(args, "--agent-socket", "", "--agent-listen", "unix:"+l.agentSocket(s.Name), "--local-host", s.Hosts[0].Name)
		args = append(args, files.flags("--agent-", pki.Controller, s.Name)...)
	}
	return l.spawn(controllerName(k.Name), nil, nil, append(args, more...)...)
}

// startClustered starts one of several controllers in its namespace, with a listening socket of the API that
// belongs to this one: a way that is cut there cuts no client of the API.
func (l *Lab) startClustered(s Site, k Controller, args []string) error {
	files, err := l.certificates(s)
	if err != nil {
		return err
	}
	ln, err := listenAPI(s, k)
	if err != nil {
		return err
	}
	defer ln.Close()
	api, err := ln.File()
	if err != nil {
		return err
	}
	defer api.Close()
	ns, err := l.NetNS(k.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	fixed := []string{"--api-listen", "fd:3", "--insecure-api", "--agent-socket", "", "--agent-listen", l.agentAddr(s, k)}
	for _, m := range s.Etcd {
		fixed = append(fixed, "--etcd-endpoints", "http://"+l.memberAddr(m, clientPort))
	}
	if len(s.Hosts) > 0 {
		fixed = append(fixed, "--local-host", s.Hosts[0].Name)
	}
	fixed = append(fixed, files.flags("--agent-", pki.Controller, k.Name)...)
	return l.spawn(controllerName(k.Name), ns, []*os.File{api}, slices.Concat(args[:1], fixed, args[1:])...)
}

func (l *Lab) awaitAPI(ctx context.Context, k Controller) error {
	c, err := l.Client(ctx, k.Name)
	if err != nil {
		return err
	}
	return l.await(ctx, "the API of "+k.Name, controllerName(k.Name), serverDeadline, c.Up)
}

func (l *Lab) startAgent(s Site, h Node, more ...string) error {
	ns, err := l.NetNS(h.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	args := []string{"agent"}
	switch {
	case slices.Contains(more, "--controller"): // a further one would be one more
	case s.clustered():
		for _, k := range s.Controllers {
			args = append(args, "--controller", l.agentAddr(s, k))
		}
	default:
		args = append(args, "--controller", "unix://"+l.agentSocket(s.Name))
	}
	args = append(args,
		"--pin-dir", l.PinDir(h.Name),
		"--state-dir", l.DataDir(h.Name),
		"--metrics-listen", "unix:"+l.MetricsSocket(h.Name),
	)
	if h.FabricAddress.IsValid() {
		args = append(args, "--fabric-address", h.FabricAddress.String())
	}
	if h.Gateway {
		args = append(args, "--gateway")
	}
	if h.GatewayPriority != 0 {
		args = append(args, "--gateway-priority", strconv.Itoa(h.GatewayPriority))
	}
	if len(s.Hosts) > 1 || s.clustered() {
		args = append(args, l.authority(s).flags("--", pki.Host, h.Name)...)
	}
	return l.spawn(agentName(h.Name), ns, nil, append(args, more...)...)
}

func (l *Lab) awaitAgent(ctx context.Context, h Node) error {
	path := l.MetricsSocket(h.Name)
	return l.await(ctx, "the agent of "+h.Name, agentName(h.Name), serverDeadline, func(ctx context.Context) error {
		c, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return c.Close()
	})
}
