package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// law is how the site is drawn, for people.
const law = `50 ports a host; networks of 1 to 2,000 ports by a power law (P(size > x) = x^-0.73), each network's ports over as many
hosts as it has ports, up to 250, side by side from a random one; half the networks behind routers of 1 to 8 interfaces (n of them
with a weight of n^-2), one router with 64; 5 % of ports with allowed address pairs; one shared network that a fifth of the routers join`

const (
	mostPorts  = 2000 // of a network
	mostHosts  = 250  // of a network
	bigRouter  = 10   // the router with many interfaces
	manyIfaces = 64
	sharedOf   = 5  // every how many-th router joins the shared network
	pairsOf    = 20 // every how many-th port has an allowed address pair
)

// The probe network is the same in each site: its ports are what is changed where two sites are compared.
const (
	probePorts = 25
	probeHosts = 8
)

// drawing is a site to be made.
type drawing struct {
	Hosts    int
	Networks []drawnNetwork // the first is the probe network, which has no router
	Routers  []drawnRouter
}

// drawnNetwork has the host of each of its ports.
type drawnNetwork struct{ ports []int }

// drawnRouter has the networks of its interfaces.
type drawnRouter struct {
	networks []int
	shared   bool
}

// draw draws a site of so many ports: always the same one.
func draw(ports, hosts int) drawing {
	r := rand.New(rand.NewPCG(1, 2))
	d := drawing{Hosts: hosts}
	add := func(size, begin, most int) {
		n := drawnNetwork{}
		spread := min(size, most, hosts)
		for i := range size {
			n.ports = append(n.ports, (begin+i%spread)%hosts)
		}
		d.Networks = append(d.Networks, n)
	}
	add(min(probePorts, ports), 1, probeHosts)
	for left := ports - probePorts; left > 0; {
		size := min(int(math.Pow(1-r.Float64(), -1/0.73)), mostPorts, max(1, ports/10), left)
		add(size, r.IntN(hosts), mostHosts)
		left -= size
	}
	d.route(r)
	return d
}

// route puts half the networks behind half as many routers as there are networks. Those for which no network is left
// join one that has a router.
func (d *drawing) route(r *rand.Rand) {
	count, next := len(d.Networks)/2, 1
	last := next + count
	for i := range count {
		n := interfaces(r)
		if i == bigRouter {
			n = min(manyIfaces, count/4)
		}
		router := drawnRouter{shared: i%sharedOf == 0}
		for ; n > 0 && next < last; n-- {
			router.networks = append(router.networks, next)
			next++
		}
		if len(router.networks) == 0 && next > 1 {
			router.networks = []int{1 + r.IntN(next-1)}
		}
		d.Routers = append(d.Routers, router)
	}
}

// interfaces draws how many a router has.
func interfaces(r *rand.Rand) int {
	sum := 0.0
	for n := 1; n <= 8; n++ {
		sum += 1 / float64(n*n)
	}
	x := r.Float64() * sum
	for n := 1; n < 8; n++ {
		if x -= 1 / float64(n*n); x < 0 {
			return n
		}
	}
	return 8
}

func (d *drawing) ports() (n int) {
	for _, x := range d.Networks {
		n += len(x.ports)
	}
	return n
}

// String says what was drawn.
func (d *drawing) String() string {
	var b strings.Builder
	largest, ifaces, shared := 0, 0, 0
	for _, n := range d.Networks {
		largest = max(largest, len(n.ports))
	}
	for _, r := range d.Routers {
		ifaces += len(r.networks)
		if r.shared {
			shared++
		}
	}
	fmt.Fprintf(&b, "%d ports on %d hosts; %d networks, the largest with %d ports; %d routers with %d interfaces, and %d more on the shared network",
		d.ports(), d.Hosts, len(d.Networks), largest, len(d.Routers), ifaces, shared)
	return b.String()
}

func hostName(i int) string      { return fmt.Sprintf("host-%04d", i) }
func interfaceName(p int) string { return fmt.Sprintf("tap%d", p) }

// subnet is a network's range: room for 4,000 addresses.
func subnet(network int) string {
	return fmt.Sprintf("10.%d.%d.0/20", network>>4, network&15<<4)
}
