package testbed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Where labs live. The controllers' data is kept out of /run, which is often a
// small memory file system.
const (
	runRoot  = "/run/causeway/testbed"
	dataRoot = "/var/lib/causeway/testbed"
)

const stateFormat = 1

// itemKind is a kind of thing that a lab makes on the machine.
type itemKind string

const (
	itemNetNS   itemKind = "netns"   // Name: in /run/netns
	itemMount   itemKind = "mount"   // Name: where
	itemDir     itemKind = "dir"     // Name: path, removed with all in it
	itemProcess itemKind = "process" // Name: "controller site-a", PID, Start
)

// item is one thing, written down before it is made.
type item struct {
	Kind itemKind `json:"kind"`
	Name string   `json:"name"`
	// Inode of a namespace, once it is made: another one that took its name is
	// not ours.
	Inode uint64 `json:"inode,omitempty"`
	PID   int    `json:"pid,omitempty"`
	// Start is the process's start time in clock ticks since boot
	// (/proc/PID/stat), so that a PID that was given again is not taken for it.
	Start uint64 `json:"start,omitempty"`
}

// Workload is what Attach made.
type Workload struct {
	Name      string   `json:"name"`
	Site      string   `json:"site"`
	Host      string   `json:"host"`
	PortID    string   `json:"port_id"`
	Interface string   `json:"interface"` // the host-side one
	Kind      string   `json:"kind"`
	MAC       string   `json:"mac_address"`
	Addresses []string `json:"addresses"`
	MTU       int      `json:"mtu"`
	NetNS     string   `json:"netns"`
}

// state is what is known of a lab, in its state.json.
type state struct {
	Format int  `json:"format"`
	File   File `json:"file"`
	// Token is in the environment of every process of the lab: it finds one that
	// was started and not yet written down when the starter died.
	Token string `json:"token"`
	// Owner, where there is one, is the process whose end makes the lab garbage.
	Owner     *item      `json:"owner,omitempty"`
	Items     []item     `json:"items"`
	Workloads []Workload `json:"workloads,omitempty"`
	Cuts      []Cut      `json:"cuts,omitempty"`
}

func newToken() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return hex.EncodeToString(b), nil
}

func runDir(lab string) string    { return filepath.Join(runRoot, lab) }
func dataDir(lab string) string   { return filepath.Join(dataRoot, lab) }
func statePath(lab string) string { return filepath.Join(runDir(lab), "state.json") }

// save writes the state whole or not at all: what a reader sees after a crash is
// the last state before it.
func (s *state) save() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	path := statePath(s.File.Lab)
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return nil
}

// loadState returns fs.ErrNotExist if there is no such lab.
func loadState(lab string) (*state, error) {
	b, err := os.ReadFile(statePath(lab))
	if err != nil {
		return nil, fmt.Errorf("read the state of lab %s: %w", lab, err)
	}
	s := new(state)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read the state of lab %s: %s: %w", lab, statePath(lab), err)
	}
	if s.Format != stateFormat {
		return nil, fmt.Errorf("lab %s was made by another version of causeway (state format %d, not %d)", lab, s.Format, stateFormat)
	}
	return s, nil
}

// note writes an item down and returns its place.
func (s *state) note(it item) (int, error) {
	s.Items = append(s.Items, it)
	return len(s.Items) - 1, s.save()
}

// forget takes an item off the list after it has gone.
func (s *state) forget(it item) error {
	i := slices.IndexFunc(s.Items, func(o item) bool { return o.Kind == it.Kind && o.Name == it.Name })
	if i < 0 {
		return nil
	}
	s.Items = slices.Delete(s.Items, i, i+1)
	return s.save()
}

// Labs lists the labs of the machine.
func Labs() ([]string, error) {
	entries, err := os.ReadDir(runRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// errBusy says that another causeway works on the lab.
var errBusy = errors.New("another causeway is at work on this lab")

// labLock keeps changes of one lab apart.
type labLock struct{ f *os.File }

// lockLab takes the lab's lock. The lock is on the directory itself, so that
// nothing of it is left when the directory goes. With wait it waits for its turn,
// until ctx ends.
func lockLab(ctx context.Context, lab string, wait bool) (*labLock, error) {
	for {
		f, err := os.Open(runDir(lab))
		if err != nil {
			return nil, fmt.Errorf("lock lab %s: %w", lab, err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameDir(f, runDir(lab)) {
			return &labLock{f}, nil
		}
		f.Close()
		switch {
		case err == nil:
			continue // the directory was removed, and perhaps made anew, meanwhile
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, fmt.Errorf("lock lab %s: %w", lab, err)
		case !wait:
			return nil, fmt.Errorf("lock lab %s: %w", lab, errBusy)
		}
		// A blocking flock could not be ended by ctx.
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

func sameDir(f *os.File, path string) bool {
	var ours, now unix.Stat_t
	return unix.Fstat(int(f.Fd()), &ours) == nil && unix.Stat(path, &now) == nil && ours.Ino == now.Ino
}

func (l *labLock) unlock() { l.f.Close() }
