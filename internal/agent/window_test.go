package agent

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// While an agent starts for the first time, tunnel packets from anybody come to no
// service of the host: the vxlan device comes up after its program.
func TestNothingReachesTheHostDuringTheStart(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	far := newNamespace(t)
	sh(t, "ip link add eth1 type veth peer name eth0 netns "+far.pid+"; ip addr add 172.31.0.1/24 dev eth1; ip link set eth1 up")
	sh(t, far.in("ip addr add 172.31.0.2/24 dev eth0")+";"+far.in("ip link set eth0 up"))
	service, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 9999})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	// VNI 1, a broadcast frame, UDP from 172.31.0.2 to 172.31.0.1 port 9999.
	packet := "\x08\x00\x00\x00\x00\x00\x01\x00" + "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x09\x08\x00" +
		"\x45\x00\x00\x20\x00\x00\x00\x00\x40\x11\x22\x8c\xac\x1f\x00\x02\xac\x1f\x00\x01" + "\x00\x09\x27\x0f\x00\x0c\x00\x00evil"
	file := filepath.Join(t.TempDir(), "packet")
	if err := os.WriteFile(file, []byte(packet), 0o600); err != nil {
		t.Fatal(err)
	}
	sender := exec.Command("nsenter", "-t", far.pid, "-n", "bash", "-c", "while cat "+file+" > /dev/udp/172.31.0.1/4789; do :; done")
	if err := sender.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sender.Process.Kill(); _ = testutil.Exit(t, sender) }()

	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	startAgent(t, cfg, newController(t))
	testutil.Eventually(t, "the vxlan device's program sees them", func() bool {
		_, err := os.Stat(strings.TrimPrefix(cfg.MetricsListen, "unix:"))
		return err == nil && !strings.Contains(scrape(t, strings.TrimPrefix(cfg.MetricsListen, "unix:")), `drops_total{reason="tunnel_ip_unknown"} 0`)
	})
	if err := service.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := service.Read(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes from a tunnel that nobody has came to the host", n)
	}
}
