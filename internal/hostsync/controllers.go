package hostsync

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	// homeAfter is about how long an agent stays with another controller before it looks whether its
	// own is back: between half of it and all of it, at random, so that agents come back one by one.
	homeAfter = 2 * time.Minute
	// mostHomeAfter bounds that time where the own controller answers and lets the agent not in: it is
	// doubled each time.
	mostHomeAfter = time.Hour
	// patience is how long a controller may say nothing before its welcome, and from there to its
	// first rows: one that waits for its store keeps no agent from the others.
	patience = 30 * time.Second
	// homeTimeout bounds a look.
	homeTimeout = 5 * time.Second
)

// errHome ends a stream whose agent goes back to its own controller.
var errHome = errors.New("the agent's own controller is there again")

// controllers are the addresses of a site's controllers in the order in which one agent goes through
// them. Each agent draws an order of its own, so that agents spread over them. The first is its own,
// to which it comes back.
type controllers struct {
	all    []string
	at     int // whose turn it is
	failed int // how many have failed one after another
	// homeAfter is how long the agent stays with another before it looks for its own, least at least.
	homeAfter, least time.Duration
}

func newControllers(targets []string) controllers {
	all := slices.Clone(targets)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return controllers{all: all, homeAfter: homeAfter, least: homeAfter}
}

func (c *controllers) now() string  { return c.all[c.at] }
func (c *controllers) isHome() bool { return c.at == 0 }
func (c *controllers) goHome()      { c.at, c.failed = 0, 0 }

// ended notes whether a stream has brought rows. An agent that its own controller sends away again
// does not come to it as soon the next time.
func (c *controllers) ended(brought bool) {
	switch {
	case !c.isHome():
	case brought:
		c.homeAfter = c.least
	default:
		c.homeAfter = min(2*c.homeAfter, mostHomeAfter)
	}
}

// next goes on to the next one after a stream has ended. It tells whether all of them have failed since
// one was well.
func (c *controllers) next(well bool) (all bool) {
	if c.failed++; well {
		c.failed = 1
	}
	c.at = (c.at + 1) % len(c.all)
	if c.failed < len(c.all) {
		return false
	}
	c.failed = 0
	return true
}

// untilHome ends a stream to another controller than the agent's own once that one answers.
func (c *Client) untilHome(ctx context.Context, end context.CancelCauseFunc) {
	if c.controllers.isHome() {
		return
	}
	for {
		timer := time.NewTimer(c.controllers.homeAfter/2 + rand.N(c.controllers.homeAfter/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if c.answers(ctx, c.controllers.all[0]) {
			end(errHome)
			return
		}
	}
}

// answers tells whether a controller takes connections, TLS included.
func (c *Client) answers(ctx context.Context, target string) bool {
	ctx, cancel := context.WithTimeout(ctx, homeTimeout)
	defer cancel()
	creds, err := c.creds()
	if err != nil {
		return false
	}
	conn, err := c.connectTo(target, creds)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.Connect()
	for {
		s := conn.GetState()
		switch s {
		case connectivity.Ready:
			return true
		case connectivity.TransientFailure, connectivity.Shutdown:
			return false
		}
		if !conn.WaitForStateChange(ctx, s) {
			return false
		}
	}
}

// address is where a target is dialled.
func address(target string) (network, addr string) {
	if path, ok := strings.CutPrefix(target, "unix://"); ok {
		return "unix", path
	}
	return "tcp", target
}

// connectTo makes a connection that dials when it is used.
func (c *Client) connectTo(target string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	network, addr := address(target)
	name := target
	if network == "unix" {
		name = socketName // that its certificate must have
	}
	return grpc.NewClient("passthrough:///"+name,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return c.opt.Dial(ctx, network, addr)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithNoProxy(),
	)
}
