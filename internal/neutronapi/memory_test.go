package neutronapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/testutil"
)

// victimEnv makes a test process the server that TestMemory attacks.
const victimEnv = "CAUSEWAY_TEST_VICTIM"

// TestVictim serves the API on loopback until its input ends, with some networks.
func TestVictim(t *testing.T) {
	if os.Getenv(victimEnv) == "" {
		return // it is started by TestMemory
	}
	s := newAuthServer(t, everyCaller())
	for range 2 {
		if status, out, _ := s.callWith("POST", "/v2.0/networks", `{"networks":[`+repeated(`{}`, 4000)+`]}`, token("a")); status != 201 {
			t.Fatal(status, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := apiserver.New(s.h, apiserver.Options{})
	go func() { _ = apiserver.Serve(srv, l, 0) }()
	fmt.Printf("victim %s\n", l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = srv.Close()
}

// victim starts TestVictim in a process of its own, and returns its address and what
// tells the most memory that it ever had resident, in bytes.
func victim(t *testing.T) (addr string, peak func() int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), victimEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := testutil.Exit(t, cmd); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if a, ok := strings.CutPrefix(lines.Text(), "victim "); ok {
			addr = a
			break
		}
	}
	if addr == "" {
		t.Fatal("the server did not start")
	}
	go func() {
		for lines.Scan() {
		}
	}()
	return addr, func() int {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kb), " kB"))
				if err != nil {
					t.Fatal(err)
				}
				return n << 10
			}
		}
		t.Fatal("no VmHWM")
		return 0
	}
}

// TestMemory sends a hundred requests at once, each as large as one may be, with the
// token of whoever may do least and of a member, and reads as many long lists: the
// server stays below 400 MB, and answers others meanwhile.
func TestMemory(t *testing.T) {
	if testutil.UnderRace() {
		t.Log("memory under the race detector says nothing")
		return
	}
	addr, peak := victim(t)
	const most, clients = 400_000_000, 100
	several := clients / 4 // where each takes a while to decode
	fill := func(element string) []byte {
		head, tail := `{"networks":[`, element+`]}`
		return []byte(head + strings.Repeat(element+",", (4<<20-len(head)-len(tail))/(len(element)+1)) + tail)
	}
	nothing := fill(`{}`)
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	for _, c := range []struct {
		name, token, request string
		body                 []byte
		clients              int
		want                 []int
	}{
		{"a reader's bulk", "b-reader", "POST /v2.0/networks", nothing, clients, []int{403}},
		{"a member's bulk", "b", "POST /v2.0/networks", nothing, clients, []int{413, 503}},
		{"of objects with a key", "b", "POST /v2.0/networks", fill(`{"":0}`), clients, []int{413, 503}},
		{"of few large values", "b", "POST /v2.0/networks", fill(`{"name":"` + strings.Repeat("x", 100) + `"}`), several, []int{413, 503}},
		{"of as many values as may be", "b", "POST /v2.0/networks", []byte(`{"networks":[` + repeated(`{"a":0}`, 66_000) + `]}`), several, []int{413, 503}},
		{"of deep ones", "b", "POST /v2.0/networks", fill(strings.Repeat("[", 50) + strings.Repeat("]", 50)), several, []int{400, 413, 503}},
		{"nothing like JSON", "b", "POST /v2.0/networks", bytes.Repeat([]byte("[{"), 2<<20), several, []int{400, 413, 503}},
		{"an action", "b", "PUT /v2.0/routers/3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f/add_extraroutes", nothing, clients, []int{404, 413, 503}},
		{"tags", "b", "PUT /v2.0/networks/3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f/tags", nothing, clients, []int{404, 413, 503}},
		{"lists", "a", "GET /v2.0/networks", nil, clients, []int{200}},
		{"lists that are sorted", "a", "GET /v2.0/networks?sort_key=name&sort_dir=desc", nil, clients, []int{200, 503}},
		{"long queries", "a", "GET /v2.0/networks?" + strings.Repeat("fields=id&", 5000), nil, clients, []int{200, 503}},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		send := func(i int) (int, error) {
			var body io.Reader
			if c.body != nil {
				body = bytes.NewReader(c.body)
			}
			req, err := http.NewRequest(method, "http://"+addr+path, body)
			if err != nil {
				return 0, err
			}
			if i%2 == 1 && c.body != nil {
				req.ContentLength = -1 // it does not say how long it is
			}
			req.Header.Set("X-Auth-Token", c.token)
			resp, err := client.Do(req)
			if err != nil {
				return 0, err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode, err
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[int]int{}
		begin := time.Now()
		for i := range c.clients {
			wg.Go(func() {
				status, _ := send(i) // an early answer may break the connection that the body goes by
				mu.Lock()
				defer mu.Unlock()
				seen[status]++
			})
		}
		testutil.Wait(t, c.name, wg.Wait)
		delete(seen, 0)
		for status := range seen {
			if !strings.Contains(fmt.Sprint(c.want), strconv.Itoa(status)) {
				t.Errorf("%s: %v, want %v", c.name, seen, c.want)
			}
		}
		now := peak()
		t.Logf("%s: %v in %v, at most %d MB resident", c.name, seen, time.Since(begin).Round(time.Millisecond), now/1_000_000)
		if now > most {
			t.Fatalf("%s: %d MB resident", c.name, now/1_000_000)
		}
	}
}
