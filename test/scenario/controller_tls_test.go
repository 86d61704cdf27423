package scenario

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// issue makes a certificate for one use and returns the three flags that name it,
// its key and the authorities of the other end.
func issue(t *testing.T, by testutil.Certificate, prefix string, use x509.ExtKeyUsage, name string, ips ...net.IP) []string {
	t.Helper()
	c := by.Issue(t, "", func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses, c.ExtKeyUsage = []string{name}, ips, []x509.ExtKeyUsage{use}
		if use == x509.ExtKeyUsageClientAuth {
			testutil.Role("host:" + name)(c)
		}
	})
	return []string{prefix + "tls-cert", c.CertFile, prefix + "tls-key", c.KeyFile, prefix + "tls-ca", c.CAFile}
}

// TestAgentOverTLS has an agent come over a network: its certificate says which host
// it is, and neither another host nor a stranger gets in, while packets flow on.
func TestAgentOverTLS(t *testing.T) {
	p := newPair(t)
	// A link of the management network, between this namespace, where the
	// controllers are, and the host's. It goes with the host's namespace.
	here, there := net.IPv4(169, 254, 201, 1), "169.254.201.2/30"
	outside := fmt.Sprintf("cwm%d", os.Getpid())
	for _, argv := range [][]string{
		{"ip", "link", "add", outside, "type", "veth", "peer", "name", "mgmt", "netns", p.NetNSName("a1")},
		{"ip", "addr", "add", here.String() + "/30", "dev", outside},
		{"ip", "link", "set", outside, "up"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "link", "del", outside).CombinedOutput(); err != nil {
			t.Errorf("delete %s: %v\n%s", outside, err, out)
		}
	})
	p.mustRun("a1", "sh", "-ec", "ip addr add "+there+" dev mgmt; ip link set mgmt up")
	at := fmt.Sprintf("%s:%d", here, freePorts(t, 1)[0])

	ca, other := testutil.SelfSigned(t, t.TempDir(), "authority"), testutil.SelfSigned(t, t.TempDir(), "authority")
	restart := func(server string, args ...string) {
		t.Helper()
		if err := p.Restart(t.Context(), server, args...); err != nil {
			t.Fatal(err)
		}
	}
	agent := func(files []string) { restart("a1", append([]string{"--controller", at}, files...)...) }
	logs := func(server string) string {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(p.MetricsSocket("x")), server+".log"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	restart("site-a", append([]string{"--agent-socket", "", "--agent-listen", at}, issue(t, ca, "--agent-", x509.ExtKeyUsageServerAuth, "controller", here)...)...)

	good := issue(t, ca, "--", x509.ExtKeyUsageClientAuth, "a1")
	for name, c := range map[string]struct {
		files []string
		words string // of the agent's log
	}{
		"another host": {
			issue(t, ca, "--", x509.ExtKeyUsageClientAuth, "b9"),
			"host b9 is refused: the site has another host, a1, ",
		},
		// The agent trusts the controller here, but not the other way round.
		"a stranger": {
			append(issue(t, other, "--", x509.ExtKeyUsageClientAuth, "a1")[:4], "--tls-ca", ca.CAFile),
			"unknown certificate authority",
		},
		"a controller that is a stranger": {
			append(issue(t, ca, "--", x509.ExtKeyUsageClientAuth, "a1")[:4], "--tls-ca", other.CAFile),
			"certificate signed by unknown authority",
		},
	} {
		p.sub(name, func(t *testing.T) {
			before := len(logs("agent-a1"))
			agent(c.files)
			testutil.Succeeds(t, "the agent to be told", func() error {
				if said := logs("agent-a1")[before:]; !strings.Contains(said, c.words) {
					return fmt.Errorf("%q is not in its log:\n%s", c.words, said)
				}
				return nil
			})
			m, err := p.metrics("a1")
			if err != nil || m["causeway_agent_connected"] != 0 {
				t.Errorf("connected: %v, %v", m["causeway_agent_connected"], err)
			}
			p.mustPing(p.vmA, p.addrB)
		})
	}
	p.sub("the site's host", func(t *testing.T) {
		agent(good)
		p.waitSynced("a1")
		p.mustPing(p.vmA, p.addrB)
		p.a.setRoutes()
		testutil.Succeeds(t, "the change to apply", func() error { return mustFail(p.ping(p.vmA, p.addrB, 1)) })
		p.a.setRoutes(p.b)
		p.reach(p.vmA, p.addrB)
		// A controller that is killed is found again.
		if err := p.Kill("site-a"); err != nil {
			t.Fatal(err)
		}
		restart("site-a", append([]string{"--agent-socket", "", "--agent-listen", at}, issue(t, ca, "--agent-", x509.ExtKeyUsageServerAuth, "controller", here)...)...)
		p.waitSynced("a1")
		p.reach(p.a.attach("vm-a2", 4, ""), p.addrB)
	})
	p.sub("no TLS", func(t *testing.T) {
		for _, argv := range [][]string{
			{"controller", "--agent-listen", "0.0.0.0:0"},
			{"controller", "--agent-listen", "127.0.0.1:0"},
			{"agent", "--controller", at},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			out, err := exec.CommandContext(ctx, program, argv...).CombinedOutput()
			cancel()
			if err == nil || !strings.Contains(string(out), "tls-cert") || err.(*exec.ExitError).ExitCode() != 2 {
				t.Errorf("causeway %s: %v\n%s", strings.Join(argv, " "), err, out)
			}
		}
	})
}
