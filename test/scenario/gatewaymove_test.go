package scenario

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
)

// moveLinger is --gateway-linger of the labs in which devices move.
const moveLinger = "1s"

var pingLoss = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// pinging pings all the time, from before some work until after it, and tells what came back of how many.
func (l *lab) pinging(from, to string) (end func() (sent, received int)) {
	l.t.Helper()
	out := make(chan string, 1)
	stop := "/tmp/" + l.Name() + "-" + from + "-" + to
	go func() {
		s, err := l.run(from, "sh", "-c", "ping -q -i 0.005 "+to+" & p=$!; until [ -e "+stop+" ]; do sleep 0.05; done; kill -INT $p; wait $p; rm "+stop)
		out <- fmt.Sprint(s, err)
	}()
	return func() (sent, received int) {
		l.t.Helper()
		l.mustRun(from, "touch", stop)
		s := testutil.Receive(l.t, "the end of pings from "+from, out)
		if m := pingLoss.FindStringSubmatch(s); m != nil {
			fmt.Sscan(m[1], &sent)
			fmt.Sscan(m[2], &received)
		} else {
			l.t.Errorf("ping from %s said %q", from, s)
		}
		return sent, received
	}
}

// testGatewayMove: an admin drains the host that serves the gateway device, and the device moves to the other one while
// workloads of both hosts talk to the other site; then the admin moves it back. The underlay's route follows the tunnel IP, as an operator's routing
// daemon has it. Nothing is lost, and nothing after it comes back.
func testGatewayMove(t *testing.T, l *lab, a *tenant) {
	has := func(host string) bool {
		return strings.Contains(l.mustRun(host, "ip", "-o", "addr", "show", "dev", "cw-vxlan"), tunnelIP(0).String())
	}
	device := func() client.Attrs { return a.site.get(client.GatewayDevices, a.device) }
	hosts := []string{"a1", "a2"}
	for i, command := range [][]string{{"host", "drain", "a1", "--wait"}, {"gateway-device", "move", a.device}} {
		from, to := hosts[i], hosts[1-i]
		ends := map[string]func() (int, int){}
		for _, p := range [][2]string{{"vm-a1", "10.0.1.12"}, {"vm-a2", "10.0.1.11"}, {"vm-b1", "10.0.0.12"}, {"vm-b2", "10.0.0.11"}} {
			ends[p[0]] = l.pinging(p[0], p[1])
		}
		done := make(chan error, 1)
		go func() {
			_, err := l.tryCauseway(a.site, command...)
			done <- err
		}()
		testutil.Eventually(t, "the tunnel IP at "+to, func() bool { return has(to) })
		if !has(from) {
			t.Errorf("%s has let go of the tunnel IP before %s has it", from, to)
		}
		l.mustRun("core", "ip", "route", "replace", tunnelIP(0).String()+"/32", "via", fabricIP(0, 1-i).String())
		if err := testutil.Receive(t, "the command", done); err != nil {
			t.Fatal(err)
		}
		testutil.Succeeds(t, "the device at "+to, func() error {
			if d := device(); client.Str(d, "host") != to || client.Str(d, "host_reason") != "" {
				return fmt.Errorf("host %s, %s", client.Str(d, "host"), client.Str(d, "host_reason"))
			}
			return nil
		})
		testutil.Eventually(t, from+" lets go of the tunnel IP", func() bool { return !has(from) })
		if bound := client.Str(device(), "binding:host_id"); bound != "" {
			t.Errorf("the device is bound to %s", bound)
		}
		for from, end := range ends {
			sent, received := end()
			t.Logf("%s → %s: %s sent %d, %d came back", hosts[i], to, from, sent, received)
			if sent < 100 || received != sent {
				t.Errorf("%s sent %d pings, and %d came back", from, sent, received)
			}
		}
		if i == 0 {
			l.causeway(a.site, "host", "drain", "a1", "--undo")
			if at := client.Str(device(), "host"); at != "a2" {
				t.Errorf("the device is at %s, and was bound to no host", at)
			}
			want := "[map[ha_state:active host:a2] map[ha_state:standby host:a1]]"
			if hosts := fmt.Sprint(device()["hosts"]); hosts != want {
				t.Errorf("the device's hosts are %s, want %s", hosts, want)
			}
		}
	}
}
