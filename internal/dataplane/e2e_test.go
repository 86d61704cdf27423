package dataplane

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

func reasonName(r int) string { return reason.Reason(r).String() }

func TestPing(t *testing.T) {
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.1")
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.1.3")
	l.exec("vB", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.3")
	l.exec("vB", "ping -c 3 -i 0.2 -W 2 -q 192.168.0.1")
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 192.168.0.2")
}

// bulk sends TCP both ways.
func (l *lab) bulk(flags string) {
	l.t.Helper()
	server := exec.Command("ip", "netns", "exec", l.ns("vB"), "iperf3", "-s", "-p", "5201", "--forceflush")
	out, err := server.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		l.t.Fatal(err)
	}
	defer func() {
		if err := server.Process.Kill(); err != nil {
			l.t.Error(err)
		}
		_ = server.Wait() // killed
	}()
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			l.t.Fatalf("iperf3 server: %v", err)
		}
		if strings.Contains(line, "Server listening") {
			break
		}
	}
	for _, dir := range []string{"", "-R"} {
		text := l.exec("vA", "timeout 60 iperf3 -c 10.0.1.3 -p 5201 -n 200M -J %s %s", dir, flags)
		var res struct {
			End struct {
				SumReceived struct {
					Bytes   int64
					Seconds float64
				} `json:"sum_received"`
				SumSent struct{ Retransmits int } `json:"sum_sent"`
			}
		}
		if err := json.Unmarshal([]byte(text), &res); err != nil {
			l.t.Fatal(err)
		}
		r := res.End.SumReceived
		if r.Bytes < 190<<20 {
			l.t.Fatalf("only %d bytes arrived\n%s", r.Bytes, text)
		}
		l.t.Logf("%s %s: %.2f Gb/s, %d retransmitted", dir, flags, float64(r.Bytes)*8/r.Seconds/1e9, res.End.SumSent.Retransmits)
	}
}

func TestBulkTCP(t *testing.T) {
	testutil.RequireTool(t, "iperf3")
	for _, mtu := range []int{1450, 8950} {
		for _, offloads := range []string{"on", "off"} {
			t.Run(fmt.Sprintf("mtu=%d,offloads=%s", mtu, offloads), func(t *testing.T) {
				l := newLab(t, mtu, mtu+50)
				defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
				if offloads == "off" {
					for _, s := range []string{"A", "B"} {
						l.exec("v"+s, "ethtool -K eth0 tso off gso off gro off tx off rx off")
						l.exec("h"+s, "ethtool -K tap0 tso off gso off gro off tx off rx off")
					}
				}
				l.bulk("")
			})
		}
	}
}
