package main

import (
	"errors"
	"fmt"
)

// The example's names and addresses, as both sites see them. Site B's peer port
// has its MAC of the example with the group bit off: a Linux bridge would flood
// the original, and K would measure that.
type siteFacts struct {
	letter   string
	vm       string // the workload's address
	vmMAC    string
	gateway  string // the tenant router's address in the tenant network
	peer     string // the peer router's address in the multi-site network
	peerMAC  string
	tunnelIP string
	underlay string // the host's own address on the wire between the sites
	wireMAC  string
	network  string // the tenant network
}

const (
	gatewayMAC  = "fa:16:3e:00:00:01"
	multiSite   = "192.168.0.0/24"
	vni         = 100
	workloadMTU = 1450
	underlayMTU = 1500
)

var siteA = siteFacts{"A", "10.0.0.3", "fa:16:3e:00:0a:03", "10.0.0.1", "192.168.0.1", "16:b7:b5:a4:57:75", "200.200.0.1", "172.31.0.1", "02:00:00:00:aa:01", "10.0.0.0/24"}
var siteB = siteFacts{"B", "10.0.1.3", "fa:16:3e:00:0b:03", "10.0.1.1", "192.168.0.2", "6e:e4:5a:fa:8e:09", "200.200.0.2", "172.31.0.2", "02:00:00:00:bb:02", "10.0.1.0/24"}

// hosts is the part that all variants share: two hosts, one wire, one workload each.
type hosts struct {
	variant  string
	host, vm [2]netns // of site A and B
	sink     *sink    // in the workload of site B
	closers  []func() error
}

func (h *hosts) close() error {
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i]())
	}
	return errors.Join(append(errs, deleteNetns(h.variant))...)
}

// newHosts makes the shared part; what it returns is to be closed, with an error
// too. hostMAC is the MAC of the host's end of the workload's veth: the gateway's
// own where the host itself routes. tunnelIPs puts the tunnel IPs on the hosts,
// which Causeway does itself.
func newHosts(variant, hostMAC string, tunnelIPs bool) (*hosts, error) {
	h := &hosts{variant: variant}
	if err := deleteNetns(variant); err != nil {
		return h, err
	}
	for i, s := range []siteFacts{siteA, siteB} {
		var err error
		if h.host[i], err = newNetns(variant + "-h" + s.letter); err != nil {
			return h, err
		}
		if h.vm[i], err = newNetns(variant + "-v" + s.letter); err != nil {
			return h, err
		}
	}
	if err := veth(end{h.host[0], "ul0", siteA.wireMAC}, end{h.host[1], "ul0", siteB.wireMAC}, underlayMTU); err != nil {
		return h, err
	}
	for i, s := range []siteFacts{siteA, siteB} {
		o := other(i)
		if err := h.host[i].all(
			fmt.Sprintf("addr add %s/30 dev ul0", s.underlay),
			fmt.Sprintf("route add %s/32 via %s", o.tunnelIP, o.underlay),
			fmt.Sprintf("neigh add %s lladdr %s nud permanent dev ul0", o.underlay, o.wireMAC),
		); err != nil {
			return h, err
		}
		if tunnelIPs {
			if err := h.host[i].ip("addr add %s/32 dev lo", s.tunnelIP); err != nil {
				return h, err
			}
		}
		if err := veth(end{h.host[i], "tap0", hostMAC}, end{h.vm[i], "eth0", s.vmMAC}, workloadMTU); err != nil {
			return h, err
		}
		if err := h.vm[i].all(
			fmt.Sprintf("addr add %s/24 dev eth0", s.vm),
			fmt.Sprintf("route add default via %s", s.gateway),
			fmt.Sprintf("neigh add %s lladdr %s nud permanent dev eth0", s.gateway, gatewayMAC),
		); err != nil {
			return h, err
		}
	}
	return h, nil
}

func other(i int) siteFacts { return []siteFacts{siteB, siteA}[i] }

// finish attaches the sink and proves that packets pass.
func (h *hosts) finish() error {
	var err error
	if h.sink, err = newSink(h.vm[1], "eth0"); err != nil {
		return err
	}
	h.closers = append(h.closers, h.sink.close)
	if err := run("ip", "netns", "exec", string(h.vm[0]), "ping", "-q", "-c1", "-W2", siteB.vm); err != nil {
		return fmt.Errorf("variant %s carries no ping: %w", h.variant, err)
	}
	return nil
}

// plain is V: routed, no tunnel.
func plain(h *hosts, i int, s, o siteFacts) error {
	return h.host[i].all(
		fmt.Sprintf("addr add %s/24 dev tap0", s.gateway),
		fmt.Sprintf("neigh add %s lladdr %s nud permanent dev tap0", s.vm, s.vmMAC),
		fmt.Sprintf("route add %s via %s", o.network, o.underlay),
	)
}

// rawTunnel is R: routed into a point-to-point vxlan device.
func rawTunnel(h *hosts, i int, s, o siteFacts) error {
	n := h.host[i]
	if err := n.all(
		fmt.Sprintf("addr add %s/24 dev tap0", s.gateway),
		fmt.Sprintf("neigh add %s lladdr %s nud permanent dev tap0", s.vm, s.vmMAC),
		fmt.Sprintf("link add vx0 address %s mtu %d type vxlan id %d local %s dstport 4789 nolearning", s.peerMAC, workloadMTU, vni, s.tunnelIP),
		fmt.Sprintf("addr add %s/24 dev vx0", s.peer),
		"link set vx0 up",
		fmt.Sprintf("neigh add %s lladdr %s nud permanent dev vx0", o.peer, o.peerMAC),
		fmt.Sprintf("route add %s via %s", o.network, o.peer),
	); err != nil {
		return err
	}
	return n.bridge(fmt.Sprintf("fdb add %s dev vx0 dst %s self permanent", o.peerMAC, o.tunnelIP))
}

// kernel is K: a bridge for each network, a namespace for the router, a vxlan
// device with a static entry; bridge netfilter off, no connection tracking.
func kernel(h *hosts, i int, s, o siteFacts) error {
	n := h.host[i]
	r, err := newNetns(h.variant + "-r" + s.letter)
	if err != nil {
		return err
	}
	if err := n.sysctl("net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0", "net.bridge.bridge-nf-call-arptables=0"); err != nil {
		return err
	}
	for _, b := range []string{"br-tenant", "br-multi"} {
		if err := n.all(fmt.Sprintf("link add %s mtu %d type bridge stp_state 0 mcast_snooping 0", b, workloadMTU), "link set "+b+" up"); err != nil {
			return err
		}
	}
	if err := veth(end{n, "qr-host", "02:00:00:00:01:0" + fmt.Sprint(i)}, end{r, "qr", gatewayMAC}, workloadMTU); err != nil {
		return err
	}
	if err := veth(end{n, "qm-host", "02:00:00:00:02:0" + fmt.Sprint(i)}, end{r, "qm", s.peerMAC}, workloadMTU); err != nil {
		return err
	}
	if err := n.all(
		"link set tap0 master br-tenant",
		"link set qr-host master br-tenant",
		"link set qm-host master br-multi",
		fmt.Sprintf("link add vx0 mtu %d type vxlan id %d local %s dstport 4789 nolearning", workloadMTU, vni, s.tunnelIP),
		"link set vx0 master br-multi",
		"link set vx0 up",
	); err != nil {
		return err
	}
	for _, words := range []string{
		"link set dev vx0 learning off",
		fmt.Sprintf("fdb add %s dev vx0 dst %s self permanent", o.peerMAC, o.tunnelIP),
		fmt.Sprintf("fdb add %s dev vx0 master static", o.peerMAC),
	} {
		if err := n.bridge(words); err != nil {
			return err
		}
	}
	return r.all(
		fmt.Sprintf("addr add %s/24 dev qr", s.gateway),
		fmt.Sprintf("addr add %s/24 dev qm", s.peer),
		fmt.Sprintf("neigh add %s lladdr %s nud permanent dev qr", s.vm, s.vmMAC),
		fmt.Sprintf("neigh add %s lladdr %s nud permanent dev qm", o.peer, o.peerMAC),
		fmt.Sprintf("route add %s via %s", o.network, o.peer),
	)
}

// agentRules are what OpenStack's reference agents leave on host and router: a
// stateful security group where bridged packets pass it, NAT hooks and a
// connection-state rule in the router's namespace.
const hostRules = `table ip filter {
	chain group {
		ct state established,related accept
		ip saddr 10.0.0.0/16 accept
		drop
	}
	chain forward {
		type filter hook forward priority 0
		jump group
	}
}`

const routerRules = `table ip nat {
	chain prerouting { type nat hook prerouting priority -100; }
	chain postrouting {
		type nat hook postrouting priority 100
		oifname "qg-*" masquerade
	}
}
table ip filter {
	chain forward {
		type filter hook forward priority 0
		ct state invalid drop
	}
}`

// reference is N: K as the reference agents really leave it.
func reference(h *hosts, i int, s, o siteFacts) error {
	if err := kernel(h, i, s, o); err != nil {
		return err
	}
	if err := h.host[i].sysctl("net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1", "net.bridge.bridge-nf-call-arptables=1"); err != nil {
		return err
	}
	if err := h.host[i].nft(hostRules); err != nil {
		return err
	}
	return netns(prefix + h.variant + "-r" + s.letter).nft(routerRules)
}

// build makes a variant of the kernel's own means; name starts its namespaces'
// names. What it returns is to be
// closed, with an error too.
func build(letter, name string) (*hosts, error) {
	hostMAC := "02:00:00:00:03:01"
	var each func(*hosts, int, siteFacts, siteFacts) error
	switch letter {
	case "K":
		each = kernel
	case "N":
		each = reference
	case "R":
		each, hostMAC = rawTunnel, gatewayMAC
	case "V":
		each, hostMAC = plain, gatewayMAC
	default:
		return nil, fmt.Errorf("unknown variant %q", letter)
	}
	h, err := newHosts(name, hostMAC, true)
	if err != nil {
		return h, err
	}
	for i, s := range []siteFacts{siteA, siteB} {
		if err := each(h, i, s, other(i)); err != nil {
			return h, err
		}
	}
	return h, h.finish()
}
