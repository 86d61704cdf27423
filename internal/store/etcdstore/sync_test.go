package etcdstore

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

const syncUpdates = 25

func syncChild(dir string) error {
	s, err := Open(context.Background(), Options{DataDir: dir})
	if err != nil {
		return err
	}
	for i := range syncUpdates {
		if _, err := s.Update(context.Background(), putNetwork("n", fmt.Sprintf("payload-%d-", i))); err != nil {
			return err
		}
		if _, err := fmt.Printf("ack %d\n", i); err != nil {
			return err
		}
	}
	return s.Close()
}

// syscalls reads a trace of strace -f -y as calls in the order of their ends; a
// call that others interrupted in the trace is put together again.
func syscalls(trace string) (ended []string) {
	begun := make(map[string]string)
	resumed := regexp.MustCompile(`^<\.\.\. \w+ resumed>`)
	for line := range strings.Lines(trace) {
		pid, call, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		call = strings.TrimSpace(call)
		switch {
		case strings.HasSuffix(call, "<unfinished ...>"):
			begun[pid] = strings.TrimSuffix(call, "<unfinished ...>")
			ended = append(ended, "begin "+begun[pid])
		case resumed.MatchString(call):
			ended = append(ended, "end "+begun[pid]+resumed.ReplaceAllString(call, ""))
		default:
			ended = append(ended, "begin "+call, "end "+call)
		}
	}
	return ended
}

// TestSyncedBeforeAnswer watches the system calls: before a transaction is
// acknowledged, its bytes have been written to the write-ahead log and an
// fdatasync of the log that began after has succeeded.
func TestSyncedBeforeAnswer(t *testing.T) {
	testutil.RequireTool(t, "strace")
	trace := filepath.Join(t.TempDir(), "trace")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "strace", "-f", "-y", "-s", "16384", "-e", "trace=write,pwrite64,fdatasync,fsync", "-e", "signal=none",
		"-o", trace)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args = append(cmd.Args, exe)
	cmd.Env = append(os.Environ(), childVariable+"=sync:"+filepath.Join(t.TempDir(), "data"))
	cmd.Stdout = io.Discard
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("strace: %v\n%s", err, stderr.String())
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	// Where each transaction stands: 1 written, 2 sync begun, 3 synced.
	var stage [syncUpdates]int
	acks := 0
	for _, e := range syscalls(string(b)) {
		wal := strings.Contains(e, "/wal/")
		switch {
		case wal && strings.HasPrefix(e, "end write(") || wal && strings.HasPrefix(e, "end pwrite64("):
			for i := range stage {
				if strings.Contains(e, fmt.Sprintf("payload-%d-", i)) && stage[i] == 0 {
					stage[i] = 1
				}
			}
		case wal && (strings.HasPrefix(e, "begin fdatasync(") || strings.HasPrefix(e, "begin fsync(")):
			for i := range stage {
				if stage[i] == 1 {
					stage[i] = 2
				}
			}
		case wal && (strings.HasPrefix(e, "end fdatasync(") || strings.HasPrefix(e, "end fsync(")):
			if !strings.HasSuffix(e, "= 0") {
				t.Fatalf("a sync failed: %s", e)
			}
			for i := range stage {
				if stage[i] == 2 {
					stage[i] = 3
				}
			}
		case strings.HasPrefix(e, "begin write(1<") && strings.Contains(e, `"ack `):
			if acks == syncUpdates || !strings.Contains(e, fmt.Sprintf(`"ack %d\n"`, acks)) {
				t.Fatalf("out of order after %d acknowledgements: %s", acks, e)
			}
			if stage[acks] != 3 {
				t.Errorf("transaction %d was acknowledged at stage %d (1 written to the log, 2 sync begun, 3 synced)", acks, stage[acks])
			}
			acks++
		}
	}
	if acks != syncUpdates {
		t.Errorf("%d of %d acknowledgements are in the trace", acks, syncUpdates)
	}
}
