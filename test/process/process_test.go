package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

func TestProcess(t *testing.T) {
	p, err := Start(exec.Command("sh", "-c", "echo one; echo two >&2; exec sleep 60"), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Poll(t.Context(), time.Millisecond, time.Minute, "output", func() (bool, error) {
		return p.Tail() == "one\ntwo", p.Ended()
	}); err != nil {
		t.Fatal(err)
	}
	// Its memory changes while it becomes another program, between the two looks too.
	if err := Poll(t.Context(), time.Millisecond, time.Minute, "memory", func() (bool, error) {
		resident, err := p.Resident()
		anonymous, err2 := p.Anonymous()
		return resident > anonymous && anonymous > 0, errors.Join(err, err2, p.Ended())
	}); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	busy, err := Start(exec.Command("sh", "-c", "while :; do :; done"), filepath.Join(t.TempDir(), "busy (1) 2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Poll(t.Context(), time.Millisecond, time.Minute, "processor time", func() (bool, error) {
		took, err := busy.CPU()
		return took >= 20*time.Millisecond, errors.Join(err, busy.Ended())
	}); err != nil {
		t.Error(err)
	}
	if err := busy.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := p.Kill(); err == nil || p.Succeeded() {
		t.Errorf("of a process that was ended by SIGTERM: %v, succeeded %v", err, p.Succeeded())
	}
	if err := p.Ended(); err == nil || !strings.Contains(err.Error(), "one\ntwo") {
		t.Errorf("of a process that has ended: %v", err)
	}
}

func TestKill(t *testing.T) {
	start := func(script string) *Process {
		p, err := Start(exec.Command("sh", "-c", script), filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := start("exec sleep 60"); p.Succeeded() || p.Kill() != nil || p.Succeeded() {
		t.Error("a process that was killed")
	}
	p := start("true")
	testutil.Receive(t, "the end of true", p.done)
	if err := p.Kill(); err == nil || !p.Succeeded() {
		t.Errorf("of a process that had ended: %v, succeeded %v", err, p.Succeeded())
	}
}

func TestServing(t *testing.T) {
	for script, want := range map[string]string{
		`echo '{"msg":"controller re'; echo '{"msg":"controller ready","api":"127.0.0.1:7"}'; exec sleep 60`: "http://127.0.0.1:7",
		`echo broken; exit 1`: "",
	} {
		p, err := Start(exec.Command("sh", "-c", script), filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		url, err := p.Serving(t.Context())
		if url != want || (err == nil) != (want != "") || err != nil && !strings.Contains(err.Error(), "broken") {
			t.Errorf("%s: %q, %v", script, url, err)
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestPollEnds(t *testing.T) {
	err := Poll(t.Context(), time.Millisecond, 5*time.Millisecond, "nothing", func() (bool, error) { return false, nil })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("got %v", err)
	}
	broken := errors.New("broken")
	if err := Poll(t.Context(), time.Millisecond, time.Minute, "it", func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestOutlivesThreads: a child that is to end with its parent does not end with a thread
// of it.
func TestOutlivesThreads(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := filepath.Join(t.TempDir(), "log")
	var p *Process
	var err error
	thread := make(chan int)
	var starter func(on chan struct{})
	starter = func(on chan struct{}) {
		runtime.LockOSThread() // the thread ends with the goroutine
		if syscall.Gettid() == syscall.Getpid() {
			// The main thread does not end: another one, while this goroutine holds it.
			defer runtime.UnlockOSThread()
			next := make(chan struct{})
			go starter(next)
			<-next
			close(on)
			return
		}
		close(on)
		p, err = Start(cmd, log)
		thread <- syscall.Gettid()
	}
	go starter(make(chan struct{}))
	task := fmt.Sprint("/proc/self/task/", testutil.Receive(t, "the thread", thread))
	if err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the thread's end", func() bool { _, err := os.Stat(task); return err != nil })
	p.Terminate()
	<-p.done
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGTERM {
		t.Errorf("it ended by %v", p.cmd.ProcessState)
	}
}
