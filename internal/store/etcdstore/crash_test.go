package etcdstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

// The tests that kill a process run this test binary again, as one of these.
const childVariable = "CAUSEWAY_ETCDSTORE_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch role, dir, _ := strings.Cut(os.Getenv(childVariable), ":"); role {
	case "":
		os.Exit(m.Run())
	case "crash":
		err = crashChild(dir)
	case "sync":
		err = syncChild(dir)
	case "half":
		err = halfChild(dir)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
}

// halfChild ends as a process does that is killed in its first start: etcd's files
// are there, and nothing is in its log.
func halfChild(dir string) error {
	if err := formatFile(dir); err != nil {
		return err
	}
	opt, err := Options{DataDir: dir}.withDefaults()
	if err != nil {
		return err
	}
	end := newEnding()
	cfg, err := etcdConfig(opt, newZap(opt.Logger, end))
	if err != nil {
		return err
	}
	_, err = newEtcd(cfg, end)
	return err
}

// TestKilledInFirstStart opens what a process left that was killed before etcd had
// written that it is a member of its own cluster.
func TestKilledInFirstStart(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=half:"+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
	if _, err := os.Stat(etcdDir(dir)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Open(ctx, Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

const (
	crashWriters = 4
	crashIDs     = 7 // objects of each writer
)

// crashState is the state of a writer after n transactions, by keys as the mirror
// has them. It is what the child's transactions do, said another way.
func crashState(w, n int) map[string]string {
	state := make(map[string]string)
	for i := 1; i <= n; i++ {
		id, name := fmt.Sprintf("%d-%d", w, i%crashIDs), fmt.Sprintf("%d-name-%d", w, i)
		if old, ok := state["network/"+id]; ok {
			delete(state, "ix/name/"+old)
			delete(state, "network/"+id)
		}
		if i%3 != 0 {
			state["network/"+id], state["ix/name/"+name] = name, id
		}
	}
	if n > 0 {
		state[fmt.Sprint("ix/done/", w)] = strconv.Itoa(n)
	}
	return state
}

// crashStep is the n-th transaction of a writer. All writers contend for the
// total.
func crashStep(w, n int) func(store.Tx) error {
	return func(tx store.Tx) error {
		writer := strconv.Itoa(w)
		if done, _ := tx.Lookup("done", writer); done != strconv.Itoa(n-1) && (n != 1 || done != "") {
			return fmt.Errorf("writer %d has done %q, is about to do %d", w, done, n)
		}
		tx.SetIndex("done", writer, strconv.Itoa(n))
		total, _ := tx.Lookup("total", "all")
		sum, _ := strconv.Atoi(total)
		tx.SetIndex("total", "all", strconv.Itoa(sum+1))
		id, name := fmt.Sprintf("%d-%d", w, n%crashIDs), fmt.Sprintf("%d-name-%d", w, n)
		if old := store.Get(tx, store.Networks, id); old != nil {
			tx.DeleteIndex("name", old.Name)
			store.Delete(tx, store.Networks, id)
		}
		if n%3 != 0 {
			return putNetwork(id, name)(tx)
		}
		return nil
	}
}

// crashCheck tells how far each writer got, or what is wrong.
func crashCheck(v *snapshot) ([crashWriters]int, error) {
	var done [crashWriters]int
	got, want := make(map[string]string), make(map[string]string)
	for name, i := range v.tree.numbers {
		v.tree.families[i].Scan(func(key string, it *item) bool {
			got[name+key] = it.text()
			if n, ok := it.what.(*model.Network); ok {
				got[name+key] = n.Name
			}
			return true
		})
	}
	sum := 0
	for w := range done {
		done[w], _ = strconv.Atoi(got[fmt.Sprint("ix/done/", w)])
		sum += done[w]
		maps.Copy(want, crashState(w, done[w]))
	}
	if sum > 0 {
		want["ix/total/all"] = strconv.Itoa(sum)
	}
	if !maps.Equal(got, want) {
		return done, fmt.Errorf("the state is\n%v\nafter %v transactions it must be\n%v", got, done, want)
	}
	return done, nil
}

// crashChild opens the store, says what it found and writes until it is killed.
func crashChild(dir string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := Open(context.Background(), Options{DataDir: dir, Logger: log})
	if err != nil {
		return err
	}
	v, err := s.view(context.Background())
	if err != nil {
		return err
	}
	done, err := crashCheck(v)
	if err != nil {
		return err
	}
	fmt.Println("found", strings.Trim(fmt.Sprint(done), "[]"))
	ctx, fail := context.WithCancelCause(context.Background())
	for w := range crashWriters {
		go func() {
			for n := done[w] + 1; ; n++ {
				if _, err := s.Update(context.Background(), crashStep(w, n)); err != nil {
					fail(err)
				}
				// One write call: a line is there whole or not at all.
				fmt.Printf("ack %d %d\n", w, n)
			}
		}()
	}
	go func() { // be killed while old revisions are thrown away, too
		for i := 0; ; i++ {
			time.Sleep(10 * time.Millisecond)
			cur, _ := s.mirror.current()
			s.maintain.compact(context.Background(), cur.rev, true)
			if i%4 != 0 {
				continue
			}
			if err := s.maintain.defragment(context.Background(), memberName); err != nil {
				fail(err)
			}
		}
	}()
	<-ctx.Done()
	return context.Cause(ctx)
}

func startChild(role, dir string) (*exec.Cmd, io.ReadCloser, *strings.Builder, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+role+":"+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	return cmd, out, &stderr, cmd.Start()
}

// crashCycle runs a child on dir, kills it, and compares what it found with what
// was acknowledged before; acked becomes what is acknowledged now.
func crashCycle(t *testing.T, dir string, rng *rand.Rand, acked *[crashWriters]int) (found bool, err error) {
	cmd, out, stderr, err := startChild("crash", dir)
	if err != nil {
		return false, err
	}
	kill := func() { _ = cmd.Process.Kill() }
	left := 1 + rng.IntN(80)
	if rng.IntN(5) == 0 { // while it opens
		opening := time.AfterFunc(time.Duration(rng.Int64N(int64(150*time.Millisecond))), kill)
		defer opening.Stop()
	}
	hang := time.AfterFunc(time.Minute, kill)
	defer hang.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 1+crashWriters && f[0] == "found":
			found = true
			for w := range acked {
				n, _ := strconv.Atoi(f[1+w])
				if n != acked[w] && n != acked[w]+1 {
					err = errors.Join(err, fmt.Errorf("writer %d: %d transactions acknowledged, %d found", w, acked[w], n))
				}
				acked[w] = n
			}
		case len(f) == 3 && f[0] == "ack":
			w, _ := strconv.Atoi(f[1])
			n, _ := strconv.Atoi(f[2])
			if n != acked[w]+1 {
				err = errors.Join(err, fmt.Errorf("writer %d: %d acknowledged after %d", w, n, acked[w]))
			}
			acked[w] = n
			// It dies after so many, and a moment: on a machine of any speed.
			if left--; left == 0 {
				during := time.AfterFunc(time.Duration(rng.Int64N(int64(20*time.Millisecond))), kill)
				defer during.Stop()
			}
		default:
			err = errors.Join(err, fmt.Errorf("unexpected line %q", lines.Text()))
		}
	}
	werr := testutil.Exit(t, cmd)
	if exit := new(exec.ExitError); !errors.As(werr, &exit) || exit.ExitCode() != -1 || stderr.Len() > 0 {
		err = errors.Join(err, fmt.Errorf("the child was not killed but ended (%v): %s", werr, stderr))
	}
	if found && !hang.Stop() {
		err = errors.Join(err, errors.New("the child hung"))
	}
	return found, err
}

// TestKill kills the process at random moments: while it opens, writes, compacts
// and defragments. After each, every acknowledged transaction must be there, at
// most the one in flight of each writer beside them, and all of them whole.
func TestKill(t *testing.T) {
	const chains = 4
	cycles := 55
	if testing.Short() || testutil.UnderRace() { // processes that start slowly
		cycles = 6
	}
	start := time.Now()
	var kills, opens, acks atomic.Int64
	var wg sync.WaitGroup
	for c := range chains {
		dir := t.TempDir()
		wg.Go(func() {
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 0))
			var acked [crashWriters]int
			for i := range cycles {
				found, err := crashCycle(t, dir, rng, &acked)
				if err != nil {
					t.Errorf("chain %d, seed %d, cycle %d: %v", c, seed, i, err)
					return
				}
				kills.Add(1)
				if found {
					opens.Add(1)
				}
			}
			// The last one is checked as well.
			s, err := Open(context.Background(), Options{DataDir: dir})
			if err != nil {
				t.Errorf("chain %d: %v", c, err)
				return
			}
			defer s.Close()
			cur, _ := s.mirror.current()
			done, err := crashCheck(cur)
			if err != nil {
				t.Errorf("chain %d: %v", c, err)
			}
			for w := range done {
				if n := done[w] - acked[w]; n != 0 && n != 1 {
					t.Errorf("chain %d, writer %d: %d acknowledged, %d found", c, w, acked[w], done[w])
				}
				acks.Add(int64(acked[w]))
			}
		})
	}
	testutil.Wait(t, "the chains", wg.Wait)
	t.Logf("%d kills, %d of them after opening, %d acknowledged transactions, in %v",
		kills.Load(), opens.Load(), acks.Load(), time.Since(start).Round(time.Millisecond))
	if acks.Load() < kills.Load() {
		t.Error("too little was written for this to prove anything")
	}
}
