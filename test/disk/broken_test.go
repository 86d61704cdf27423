package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// program is the causeway program under test.
var program string

func TestMain(m *testing.M) {
	os.Exit(testutil.MainWithProgram(m, "../../cmd/causeway", func(path string) { program = path }))
}

// TestBrokenDisk: where the disk of a controller refuses to be written, with room or without, the
// controller turns to reading, or ends with words; never with a stack. Nothing that was acknowledged
// is lost, and once the disk is whole writes are taken again.
func TestBrokenDisk(t *testing.T) {
	testutil.RequireRoot(t)
	for name, broken := range map[string]func(*testing.T) breakable{
		"the file system turns read-only": func(t *testing.T) breakable { return readOnly(newExt4(t, t.TempDir(), 640)) },
		"an I/O error of the disk":        func(t *testing.T) breakable { return shutDown(newExt4(t, t.TempDir(), 640)) },
		"EDQUOT":                          func(t *testing.T) breakable { return refusing(t, "EDQUOT") },
		"EIO":                             func(t *testing.T) breakable { return refusing(t, "EIO") },
		"EROFS":                           func(t *testing.T) breakable { return refusing(t, "EROFS") },
		"EFBIG":                           fileSizeLimit,
	} {
		t.Run(name, func(t *testing.T) { brokenDisk(t, broken(t)) })
	}
}

// breakable is a disk: breaks makes it refuse writes of a process, and mends ends that once the
// process has ended.
type breakable struct {
	dir    string
	breaks func(t *testing.T, pid int)
	mends  func(t *testing.T)
	words  []string // one of which says what it was
	// atRest is of a file system whose fdatasync can say that all is well of what it loses, where
	// its journal ends meanwhile: jbd2_complete_transaction does not look whether the transaction
	// that it finds no more was written. A disk that fails does not do that.
	atRest bool
}

// readOnly is what a file system does that finds an error of its own. A write that is
// under way then is an I/O error.
func readOnly(v *volume) breakable {
	return breakable{dir: v.dir, atRest: true, words: []string{"read-only", "input/output error"}, mends: v.repair, breaks: func(t *testing.T, _ int) {
		if err := os.WriteFile(filepath.Join("/sys/fs/ext4", filepath.Base(v.device(t)), "trigger_fs_error"), []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}}
}

// shutDown ends all access to the file system, with EIO, as a disk does that is pulled. Where
// its journal is the first to meet that, the file system is read-only.
func shutDown(v *volume) breakable {
	return breakable{dir: v.dir, atRest: true, words: []string{"input/output error", "read-only"}, mends: v.repair, breaks: func(t *testing.T, _ int) {
		const ext4IocShutdown, noLogFlush = 0x8004587d, 2 // fs/ext4/ext4.h
		d, err := os.Open(v.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := unix.IoctlSetPointerInt(int(d.Fd()), ext4IocShutdown, noLogFlush); err != nil {
			t.Fatal(err)
		}
	}}
}

// refusing is a disk whose kernel answers each write with an error.
func refusing(t *testing.T, errno string) breakable {
	testutil.RequireTool(t, "strace")
	var tracer *process.Process
	log := filepath.Join(t.TempDir(), "strace")
	number := map[string]unix.Errno{"EDQUOT": unix.EDQUOT, "EIO": unix.EIO, "EROFS": unix.EROFS}[errno]
	b := breakable{dir: t.TempDir(), words: []string{number.Error()}}
	b.breaks = func(t *testing.T, pid int) {
		// Only of the store's files: the log and the API go on.
		args := []string{"-f", "-q", "-o", "/dev/null", "-p", fmt.Sprint(pid), "-e", "trace=write,pwrite64,fdatasync,fallocate,ftruncate",
			"-e", "inject=write,pwrite64,fdatasync,fallocate,ftruncate:error=" + errno}
		files, err := filepath.Glob(filepath.Join(b.dir, "*", "etcd", "member", "*", "*"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%v, %v", files, err)
		}
		for _, f := range files {
			args = append(args, "-P", f)
		}
		if tracer, err = process.Start(exec.Command("strace", args...), log); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tracer.Stop() })
	}
	b.mends = func(t *testing.T) {
		if err := tracer.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// fileSizeLimit has files of the process not grow any more (RLIMIT_FSIZE).
func fileSizeLimit(t *testing.T) breakable {
	return breakable{dir: t.TempDir(), words: []string{"file too large"}, mends: func(*testing.T) {}, breaks: func(t *testing.T, pid int) {
		const most = 16 << 10 // more than the log has, and less than the store's
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
			t.Fatal(err)
		}
	}}
}

func brokenDisk(t *testing.T, b breakable) {
	dir := t.TempDir()
	data := filepath.Join(b.dir, "data")
	p, url, err := process.StartController(t.Context(), program, dir, "--data-dir", data, "--audit-log", os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	wrote := writeNetworks(t, url, b.atRest, func() { b.breaks(t, p.PID()) })
	t.Logf("%d writes were acknowledged", len(wrote))

	// It reads on, or it ends.
	if have, err := networks(t.Context(), url); err == nil {
		lacksNone(t, have, wrote)
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	} else {
		testutil.Eventually(t, "the controller to end", func() bool { return p.Ended() != nil })
		if ended := p.Ended(); !strings.Contains(ended.Error(), "exit status 1") {
			t.Error(ended)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "controller.log"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log, []byte("goroutine ")) || bytes.Contains(log, []byte("panic")) {
		t.Errorf("a stack:\n%s", p.Tail())
	}
	told := false
	for _, w := range b.words {
		told = told || bytes.Contains(log, []byte(w))
	}
	if !told {
		t.Errorf("nothing says any of %q:\n%s", b.words, p.Tail())
	}

	b.mends(t)
	p, url, err = process.StartController(t.Context(), program, t.TempDir(), "--data-dir", data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	have, err := networks(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	lacksNone(t, have, wrote)
	if status, answer, err := post(t.Context(), url, "after"); err != nil || status != http.StatusCreated {
		t.Errorf("a write on the disk that is whole again: %d %s %v", status, answer, err)
	}
}

// writeNetworks writes until that is refused, and gives the names of those that were acknowledged. The
// disk breaks under way, or, at rest, while no write is.
func writeNetworks(t *testing.T, url string, atRest bool, breaks func()) map[string]bool {
	t.Helper()
	const writers, before = 3, 20
	var mu sync.Mutex
	var underWay sync.RWMutex
	wrote := map[string]bool{}
	started := make(chan struct{}, writers)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }() // where breaks ends the test, its writers end before it
	for w := range writers {
		wg.Go(func() {
			for n := 1; ; n++ {
				name := fmt.Sprintf("n-%d-%d", w, n)
				underWay.RLock()
				status, answer, err := post(ctx, url, name)
				underWay.RUnlock()
				if status == http.StatusCreated {
					mu.Lock()
					wrote[name] = true
					mu.Unlock()
				} else {
					// It is not there any more, or says so.
					if err == nil && status != http.StatusServiceUnavailable || errors.Is(ctx.Err(), context.DeadlineExceeded) {
						t.Errorf("%d %s %v", status, answer, err)
					}
					return
				}
				if n == before {
					started <- struct{}{}
				}
			}
		})
	}
	for range writers {
		testutil.Receive(t, "a writer's first writes", started)
	}
	if atRest {
		func() {
			underWay.Lock()
			defer underWay.Unlock()
			breaks()
		}()
	} else {
		breaks()
	}
	wg.Wait()
	return wrote
}

// TestWritersEndWithTheTest: a disk that cannot be broken ends the test, and no writer goes on after
// it: what it has to say of it would be a panic.
func TestWritersEndWithTheTest(t *testing.T) {
	for _, atRest := range []bool{false, true} {
		var asked, ended atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
		defer srv.Close()
		base := http.DefaultClient.Transport
		http.DefaultClient.Transport = counting{&asked, &ended}
		done := make(chan struct{})
		go func() {
			defer close(done)
			writeNetworks(t, srv.URL, atRest, runtime.Goexit) // as t.Fatal does
		}()
		testutil.Receive(t, "the end of the test", done)
		now := asked.Load()
		if under := now - ended.Load(); under > 0 {
			t.Errorf("at rest %v: %d writes are under way after the test", atRest, under)
		}
		runtime.Gosched()
		if more := asked.Load() - now; more > 0 {
			t.Errorf("at rest %v: %d writes came after the test", atRest, more)
		}
		http.DefaultClient.Transport = base
	}
}

// counting counts requests.
type counting struct{ asked, ended *atomic.Int64 }

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked.Add(1)
	defer c.ended.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

func post(ctx context.Context, url, name string) (status int, answer string, err error) {
	body := fmt.Sprintf(`{"network":{"name":%q,"description":%q}}`, name, strings.Repeat("x", 200))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v2.0/networks", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), errors.Join(err, resp.Body.Close())
}

// networks are the names of those that there are.
func networks(ctx context.Context, url string) (map[string]bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v2.0/networks?fields=name", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	var answer struct{ Networks []struct{ Name string } }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, n := range answer.Networks {
		have[n.Name] = true
	}
	return have, nil
}

func lacksNone(t *testing.T, have, want map[string]bool) {
	t.Helper()
	for name := range want {
		if !have[name] {
			t.Errorf("%s was acknowledged, and is not there", name)
		}
	}
}
