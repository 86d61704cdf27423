package hwvtep

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// FuzzApply: whatever a switch says that its tables hold, reading it ends well, and
// a plan can be made of it.
func FuzzApply(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"Logical_Switch":{"a":{"new":{"name":"causeway-` + string(device) + `-100","description":"","tunnel_key":["set",[]],"replication_mode":["set",[]]}}}}`,
		`{"Physical_Switch":{"a":{"new":{"name":"x","tunnel_ips":"10.8.0.1","ports":["uuid","b"]}}},"Physical_Port":{"b":{"new":{"name":"p0","vlan_bindings":["map",[[10,["uuid","c"]]]]}}}}`,
		`{"Physical_Switch":{"a":{"new":{"name":"x","tunnel_ips":["set",["10.8.0.1","x"]],"ports":["set",[["uuid","b"]]]}}}}`,
		`{"Ucast_Macs_Remote":{"a":{"new":{"MAC":"02:00:00:00:00:01","logical_switch":["uuid","c"],"locator":["uuid","l"]},"old":{}}}}`,
		`{"Ucast_Macs_Local":{"a":{"new":{"MAC":"02:00:00:00:00:01","logical_switch":["uuid","c"]}}}}`,
		`{"Ucast_Macs_Local":{"a":{"old":{}}}}`, `{"Ucast_Macs_Local":{"a":null}}`, `{"Ucast_Macs_Local":{"a":{"new":{}}}}`,
		`{"Physical_Locator":{"l":{"new":{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"10.8.0.2","tunnel_key":5}}}}`,
		`{"Physical_Locator_Set":{"s":{"new":{"locators":["set",[]]}}}}`, `{"Physical_Locator_Set":{"s":{"new":{"locators":[]}}}}`,
		`{"Mcast_Macs_Remote":{"a":{"new":{"MAC":"unknown-dst","logical_switch":["uuid","c"],"locator_set":["uuid","s"]}}}}`,
		`{"Physical_Port":{"b":{"new":{"name":"p0","vlan_bindings":["map",[[70000,["uuid","c"]]]]}}}}`, `{"Physical_Port":{"b":{"new":{"name":"p0","vlan_bindings":["map",[[]]]}}}}`,
		`{"Unknown":{"b":{"new":{"name":"p0"}}}}`,
	} {
		f.Add(s)
	}
	want := example()
	f.Fuzz(func(t *testing.T, s string) {
		h := newHave(true)
		h.switches["sw"] = physicalSwitch{name: "a", tunnelIPs: []string{"10.8.0.1"}, ports: []uuid{"b"}}
		if h.apply(json.RawMessage(s)) != nil {
			return
		}
		steps, _ := plan(&want, h)
		for _, st := range steps {
			if _, err := json.Marshal(st.ops); err != nil {
				t.Errorf("a step that cannot be written: %v", err)
			}
		}
		h.learned()
	})
}

// FuzzMessages: whatever comes over the wire, the session ends or goes on, and a
// call gets an answer or an error.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"result":{},"error":null}`, `{"id":1,"error":"no"}`, `{"id":1,"result":null,"error":{"a":1}}`, `{"id":"1","result":1,"error":null}`,
		`{"id":"echo","method":"echo","params":[]}{"id":1,"result":1,"error":null}`, `{"id":null,"method":"update","params":[null,{}]}`,
		`{"method":"update","params":[1]}`, `{"method":"locked","params":["x"]}{"method":"stolen"}{"method":"stolen"}{"method":"stolen"}`,
		`{"id":5,"method":"get_schema","params":[]}`, `[]`, `1 2 3`, `{"id":`, ``, `null`, `{"id":{"a":[]},"result":1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		us, them := net.Pipe()
		ses := &session{have: newHave(true), changed: make(chan struct{}, 1), lock: make(chan bool, 2)}
		ses.conn = newConn(us, ses.notify)
		go func() {
			_, _ = io.CopyN(io.Discard, them, 1) // the call has begun
			go func() { _, _ = io.Copy(io.Discard, them) }()
			_ = them.SetWriteDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.Copy(them, strings.NewReader(s))
			_ = them.Close()
		}()
		var x any
		if err := ses.conn.call(t.Context(), &x, "list_dbs"); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the call waits longer than there is a session: %v", err)
		}
		testutil.Receive(t, "the session's end", ses.conn.ended())
		if ses.conn.failure() == nil {
			t.Error("the session ended without a reason")
		}
		ses.conn.close()
		_ = ses.takeIn()
	})
}

// TestBadServers: what is no switch is told in the status, and keeps nothing
// waiting.
func TestBadServers(t *testing.T) {
	for name, c := range map[string]struct{ says, status string }{
		"not JSON":       {"HTTP/1.1 400 Bad Request\r\n\r\n", "invalid character"},
		"hangs up":       {"", "the switch ended the connection"},
		"no such schema": {`{"id":1,"result":null,"error":"unknown database"}`, "get_schema: the switch answers: \"unknown database\""},
		"another schema": {`{"id":1,"result":{"name":"hardware_vtep","tables":{}},"error":null}`, "has no column"},
		"no answer":      {`{"id":1,"result":7,"error":null}`, "get_schema: the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					s, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = io.CopyN(io.Discard, s, 1)
					_, _ = io.WriteString(s, c.says)
					_ = s.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, s)
					_ = s.Close()
				}
			}()
			site := newFakeSite()
			targets, stop := drive(t, site, "one")
			o := &ovs{t: t, address: addrPort(l)}
			targets <- o.target(example())
			site.until(t, "told", func(s *fakeSite) bool {
				return !s.status.Connected && strings.Contains(s.status.Error, c.status)
			})
			stop()
			_ = l.Close()
			testutil.Receive(t, "the server's end", served)
		})
	}
}

// TestHugeMessage: a message without end takes no more memory than the limit.
func TestHugeMessage(t *testing.T) {
	us, them := net.Pipe()
	c := newConn(us, func(string, json.RawMessage) error { return nil })
	go func() {
		_, _ = io.WriteString(them, `{"method":"update","params":["`)
		chunk := strings.Repeat("x", 1<<16)
		for {
			if _, err := io.WriteString(them, chunk); err != nil {
				return
			}
		}
	}()
	testutil.Wait(t, "the session's end", func() { <-c.ended() }) // after all of the limit came
	if err := c.failure(); err == nil || !strings.Contains(err.Error(), "a message of more than") {
		t.Errorf("ended with %v", err)
	}
	c.close()
}
