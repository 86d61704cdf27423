package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/liveness"
	"github.com/causeway-net/causeway/internal/testutil"
)

// startHealth runs "causeway health" beside a host's agent; the function returned kills it.
func (p *pair) startHealth(host string) (kill func()) {
	p.t.Helper()
	cmd := exec.Command(program, "health", "--state-dir", p.DataDir(host), "--interval", "100ms", "--multiplier", "10")
	if err := p.Start(host, cmd); err != nil {
		p.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = testutil.Exit(p.t, cmd)
	})
	p.t.Cleanup(kill)
	return kill
}

// health is what it says of the one remote that the host has.
func (p *pair) health(host string) (one liveness.RemoteStatus, err error) {
	out, err := p.run(host, program, "health", "status", "--state-dir", p.DataDir(host), "-f", "json")
	text, _, _ := strings.Cut(out, "\n}") // an exit code of 1 says that a remote is down
	var s liveness.Status
	if jerr := json.Unmarshal([]byte(text+"\n}"), &s); jerr != nil {
		return one, errors.Join(err, jerr)
	}
	if len(s.Remotes) != 1 {
		return one, fmt.Errorf("%d remotes: %s", len(s.Remotes), out)
	}
	return s.Remotes[0], nil
}

func (p *pair) healthIs(host, what string, ok func(liveness.RemoteStatus) bool) (got liveness.RemoteStatus) {
	p.t.Helper()
	testutil.Succeeds(p.t, what, func() (err error) {
		if got, err = p.health(host); err == nil && !ok(got) {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	return got
}

// TestHealth: what the agents say is watched through their own data path, by S-BFD where both sites have "causeway health";
// the end and the beginning of agents change nothing about it; what ends and what is cut is seen; what is no longer a remote
// is no longer watched, and clean-up takes away what the agent said.
func TestHealth(t *testing.T) {
	p := newPair(t)
	const a, b = "a1", "b1"
	bySBFD := func(r liveness.RemoteStatus) bool {
		return r.State == liveness.Up && r.Means == liveness.SBFD && r.RTTMicros != nil
	}
	p.startHealth(a)
	p.healthIs(a, "site B's VTEP to answer ICMP echo", func(r liveness.RemoteStatus) bool {
		return r.TunnelIP == tunnelIP(0) && r.VTEP == tunnelIP(1) && r.State == liveness.Up && r.Means == liveness.ICMP
	})
	killB := p.startHealth(b)
	was := map[string]liveness.RemoteStatus{a: p.healthIs(a, "up by S-BFD", bySBFD), b: p.healthIs(b, "up by S-BFD", bySBFD)}

	// Both agents are killed and are away for many more questions than make a remote down.
	for _, host := range []string{a, b} {
		if err := p.Kill(host); err != nil {
			t.Fatal(err)
		}
	}
	on := func(during string) {
		t.Helper()
		for _, host := range []string{a, b} {
			from := was[host].Answered
			now := p.healthIs(host, "answers "+during, func(r liveness.RemoteStatus) bool { return r.Answered >= from+30 })
			if !bySBFD(now) || now.Flaps != 0 {
				t.Errorf("%s, %s has: %+v", during, host, now)
			}
			was[host] = now
		}
	}
	on("without agents")
	for _, host := range []string{a, b} {
		if err := p.Restart(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	on("with new agents")

	killB()
	down := p.healthIs(a, "down, for health of site B is gone", func(r liveness.RemoteStatus) bool { return r.State == liveness.Down })
	if down.Means != liveness.SBFD || down.Flaps != 1 || !strings.Contains(down.Why, "has stopped answering S-BFD") {
		t.Errorf("%+v", down)
	}
	p.reach(p.vmA, p.addrB) // nothing moves, nothing stops
	p.startHealth(b)
	p.healthIs(a, "up again", bySBFD)
	p.mustRun("core", "ip", "link", "set", "to-b1", "down")
	p.healthIs(a, "down by a cut", func(r liveness.RemoteStatus) bool { return r.State == liveness.Down })
	p.mustRun("core", "ip", "link", "set", "to-b1", "up")
	p.mustRun("core", "ip", "route", "replace", "200.200.0.2/32", "via", "172.16.2.2")
	p.healthIs(a, "up after the cut", bySBFD)

	// Another tunnel IP at site B is another remote.
	p.a.site.remove(client.RemoteMACEntries(p.a.device), p.a.remoteMACs[p.b])
	testutil.Succeeds(t, "nothing to be watched", func() error {
		if _, err := p.health(a); err == nil || !strings.Contains(err.Error(), "0 remotes") {
			return fmt.Errorf("it still has some: %w", err)
		}
		return nil
	})
	if err := p.Kill(a); err != nil {
		t.Fatal(err)
	}
	p.mustRun(a, program, "agent", "cleanup", "--pin-dir", p.PinDir(a), "--state-dir", p.DataDir(a))
	if _, err := os.Stat(liveness.Dir(p.DataDir(a)) + "/remotes.json"); !os.IsNotExist(err) {
		t.Errorf("what the agent said is left: %v", err)
	}
}
