package process

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	resident, err := p.Resident()
	if anonymous, err2 := p.Anonymous(); err != nil || err2 != nil || resident < anonymous || anonymous <= 0 {
		t.Errorf("%v bytes resident, %v anonymous: %v, %v", resident, anonymous, err, err2)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := p.Ended(); err == nil || !strings.Contains(err.Error(), "one\ntwo") {
		t.Errorf("of a process that has ended: %v", err)
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
