package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/test/stats"
)

// quietFor is how long a store must have taken no write to be at rest: more than a mark waits, which is a second.
const quietFor = 1500 * time.Millisecond

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile of a list, 0 to 1: the least value that so many are not above.
func percentile(x []float64, p float64) float64 {
	s := slices.Sorted(slices.Values(x))
	i := int(p*float64(len(s)) + 0.999999)
	return s[min(max(i-1, 0), len(s)-1)]
}

// marked is a MAC that no port has.
func marked(n int) model.MAC { return model.MAC{0x06, 0xbe, 0, byte(n >> 16), byte(n >> 8), byte(n)} }

// changer makes changes at a site and times them.
type changer struct {
	*site
	made int
}

// toggle makes a port on a network and deletes it, and returns how long each took until all agents that have the
// network had applied it.
func (c *changer) toggle(ctx context.Context, network, host string, agents int) (create, remove time.Duration, err error) {
	c.made++
	mac := marked(c.made)
	var id string
	create, err = c.fleet.until(ctx, agents, withMAC(mac, false), func(ctx context.Context) (err error) {
		p := boundPort(network, host, fmt.Sprint("probe", c.made))
		p["mac_address"] = mac.String()
		id, err = c.client.create(ctx, "port", p)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	remove, err = c.fleet.until(ctx, agents, withMAC(mac, true), func(ctx context.Context) error {
		return c.client.call(ctx, http.MethodDelete, "ports/"+id, nil, nil)
	})
	return create, remove, err
}

// onProbe does so on the probe network.
func (c *changer) onProbe(ctx context.Context, agents int) (create, remove time.Duration, err error) {
	n := c.drawing.Networks[0]
	return c.toggle(ctx, c.site.made.networks[0], hostName(n.ports[c.made%len(n.ports)]), agents)
}

// anywhere changes ports of networks drawn as likely as they have ports: what a port of the site has to expect.
func (c *changer) anywhere(ctx context.Context, count int) (took, concerned []float64, err error) {
	r := rand.New(rand.NewPCG(3, 4))
	having := map[int]int{}
	for range count {
		at := r.IntN(c.drawing.ports())
		n := 0
		for at >= len(c.drawing.Networks[n].ports) {
			at -= len(c.drawing.Networks[n].ports)
			n++
		}
		if _, known := having[n]; !known {
			having[n] = c.fleet.having(c.site.made.networks[n])
		}
		if having[n] == 0 {
			continue // the real agent's alone
		}
		create, remove, err := c.toggle(ctx, c.site.made.networks[n], hostName(c.drawing.Networks[n].ports[at]), having[n])
		if err != nil {
			return nil, nil, err
		}
		took, concerned = append(took, ms(create), ms(remove)), append(concerned, float64(having[n]))
	}
	return took, concerned, nil
}

// everywhere has a host say of another MTU on the fabric each time, which all hosts are told of.
func (c *changer) everywhere(ctx context.Context, count, agents int) (took []float64, err error) {
	for i := range count {
		a := c.fleet.agents[len(c.fleet.agents)-1-i%agents] // a host may not do so often
		mtu := 1400 + i
		matches := func(d *hoststate.Delta) bool { return d.Set.Hosts[model.HostName(a.name)].MTU == mtu }
		d, err := c.fleet.until(ctx, agents, matches, func(context.Context) error {
			a.client.Report(hostsync.Report{FabricMTU: mtu})
			return nil
		})
		if err != nil {
			return nil, err
		}
		took = append(took, ms(d))
	}
	return took, nil
}

// paired compares changes of the probe network at two sites, round by round, each beginning with another one.
type paired struct{ create, remove, cpu []float64 } // ratios of large to small

func compare(ctx context.Context, large, small *changer, rounds, each int) (p paired, err error) {
	sites := [2]*changer{large, small}
	having := [2]int{large.fleet.having(large.site.made.networks[0]), small.fleet.having(small.site.made.networks[0])}
	if having[0] != having[1] {
		return p, fmt.Errorf("%d agents have the probe network at the large site, %d at the small one", having[0], having[1])
	}
	for round := range rounds {
		var create, remove, cpu [2]float64
		for i := range 2 {
			i = (i + round) % 2
			before, err := sites[i].process.CPU()
			if err != nil {
				return p, err
			}
			var cs, rs []float64
			for range each {
				c, r, err := sites[i].onProbe(ctx, having[i])
				if err != nil {
					return p, err
				}
				cs, rs = append(cs, ms(c)), append(rs, ms(r))
			}
			after, err := sites[i].process.CPU()
			if err != nil {
				return p, err
			}
			create[i], remove[i], cpu[i] = stats.Median(cs), stats.Median(rs), ms(after-before)
		}
		p.create = append(p.create, create[0]/create[1])
		p.remove = append(p.remove, remove[0]/remove[1])
		if cpu[1] > 0 {
			p.cpu = append(p.cpu, cpu[0]/cpu[1])
		}
	}
	return p, nil
}

// writes counts what deletes make the store write, with the rest of what follows from them.
func (c *changer) writes(ctx context.Context, count int) (writes []float64, err error) {
	n := c.drawing.Networks[0]
	for i := range count {
		id, err := c.client.create(ctx, "port", boundPort(c.site.made.networks[0], hostName(n.ports[0]), fmt.Sprint("gone", i)))
		if err != nil {
			return nil, err
		}
		before, err := c.quiet(ctx, quietFor)
		if err != nil {
			return nil, err
		}
		if err := c.client.call(ctx, http.MethodDelete, "ports/"+id, nil, nil); err != nil {
			return nil, err
		}
		after, err := c.quiet(ctx, quietFor)
		if err != nil {
			return nil, err
		}
		writes = append(writes, after-before)
	}
	return writes, nil
}

// reconnects has one agent come again with all that it is to have.
func (c *changer) reconnects(ctx context.Context, a *agent, count int) (took, bytes []float64, rows int64, err error) {
	before := a.rows
	for range count {
		a.stop()
		a.bytes.Store(0)
		begin := time.Now()
		if err := a.start(ctx); err != nil {
			return nil, nil, 0, err
		}
		if err := a.connected(ctx); err != nil {
			return nil, nil, 0, err
		}
		took, bytes = append(took, ms(time.Since(begin))), append(bytes, float64(a.bytes.Load()))
	}
	return took, bytes, a.rows - before, nil
}
