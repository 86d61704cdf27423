package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

const (
	asAgent  = "CAUSEWAY_TEST_AS_AGENT"  // JSON of a Config: be an agent without a controller
	asSender = "CAUSEWAY_TEST_AS_SENDER" // ADDRESS:PORT: send it 64-byte frames until standard input ends
)

// TestMain lets the test's program be the other processes that tests need.
func TestMain(m *testing.M) {
	if s := os.Getenv(asAgent); s != "" {
		var cfg Config
		if err := json.Unmarshal([]byte(s), &cfg); err != nil {
			panic(err)
		}
		cfg.Log = slog.New(slog.NewTextHandler(os.Stdout, nil))
		if err := Run(context.Background(), cfg, newController(nil)); err != nil {
			panic(err)
		}
		return
	}
	if s := os.Getenv(asSender); s != "" {
		blast(s)
		return
	}
	os.Exit(m.Run())
}

func blast(to string) {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		panic(err)
	}
	dst := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
	}()
	payload := make([]byte, 64-14-20-8)
	fmt.Println("sending")
	for {
		select {
		case <-done:
			return
		default:
			_, _ = c.WriteTo(payload, dst) // a full queue is the sender's own affair
		}
	}
}

// agentProcess starts an agent as a process of its own and returns when it runs.
func agentProcess(t *testing.T, cfg Config) *exec.Cmd {
	t.Helper()
	cfg.Log = nil
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), asAgent+"="+string(b))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(testutil.Patience, cancel)
	defer hangs.Stop()
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		if strings.Contains(sc.Text(), "agent is running") {
			go func() {
				for sc.Scan() { // so that it never waits for us
				}
			}()
			return cmd
		}
	}
	_ = cmd.Process.Kill()
	t.Fatalf("the agent does not run: %v", testutil.Exit(t, cmd))
	return nil
}

// packets reads a counter of eth0 in the namespace.
func (n namespace) packets(t *testing.T, direction string) uint64 {
	t.Helper()
	var links []struct {
		Stats64 map[string]struct{ Packets uint64 }
	}
	if err := json.Unmarshal([]byte(sh(t, n.in("ip -s -j link show dev eth0"))), &links); err != nil || len(links) != 1 {
		t.Fatal(err)
	}
	return links[0].Stats64[direction].Packets
}

// lost counts the packets of a flow at full rate from one workload to the other
// that do not arrive while during runs.
func lost(t *testing.T, from, to namespace, during func()) (sent, lost uint64) {
	t.Helper()
	cmd := exec.Command("nsenter", "-t", from.pid, "-n", os.Args[0])
	cmd.Env = append(os.Environ(), asSender+"=10.0.0.4:9")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	tx, rx := from.packets(t, "tx"), to.packets(t, "rx")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	during()
	in.Close()
	if err := testutil.Exit(t, cmd); err != nil {
		t.Fatal(err)
	}
	// What is on its way arrives; a packet that has not by then is lost.
	err = process.Poll(t.Context(), 10*time.Millisecond, 20*time.Second, "the last packet", func() (bool, error) {
		sent = from.packets(t, "tx") - tx
		got := to.packets(t, "rx") - rx
		lost = sent - min(got, sent)
		return lost == 0, nil
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return sent, lost
}

func TestKillLosesNoPacket(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	c := newController(t)
	a := startAgent(t, cfg, c)
	vm2 := hoststate.Port{
		ID: "port-2", Network: 1, Interface: "tap2", MAC: model.MustMAC("fa:16:3e:00:00:04"),
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.4")}, PortSecurity: true,
	}
	one, two := newNamespace(t), newNamespace(t)
	one.vm(t, "tap1", vm1, "10.0.0.1")
	two.vm(t, "tap2", vm2, "10.0.0.1")
	for _, n := range []namespace{one, two} {
		// Counted are the flow's packets alone: no IPv6, no answers, no ARP.
		sh(t, n.in("sh -c 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6'"))
	}
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1); bind(s, 2, vm2) })
	sh(t, one.in("ip neigh add 10.0.0.4 lladdr "+vm2.MAC.String()+" dev eth0"))
	sh(t, two.in("ip neigh add 10.0.0.3 lladdr "+vm1.MAC.String()+" dev eth0"))
	a.stop()

	sent, gone := lost(t, one, two, func() {
		begin := one.packets(t, "tx")
		testutil.Eventually(t, "the flow's packets", func() bool { return one.packets(t, "tx") >= begin+10_000 })
	})
	t.Logf("control: %d packets sent, %d lost", sent, gone)
	if gone != 0 || sent < 1000 {
		t.Fatalf("the control run lost %d of %d packets", gone, sent)
	}
	sent, gone = lost(t, one, two, func() {
		for range 4 {
			p := agentProcess(t, cfg)
			if err := p.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = testutil.Exit(t, p)
		}
	})
	t.Logf("killed four times: %d packets sent, %d lost", sent, gone)
	if gone != 0 || sent < 1000 {
		t.Errorf("lost %d of %d packets", gone, sent)
	}
}
