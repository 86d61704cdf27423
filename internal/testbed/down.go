package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostnet"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Down takes away what Up and Attach made of a lab, in whatever state it was left.
func Down(name string) error {
	lock, err := lockLab(context.Background(), name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lab %s: %w", name, ErrNoLab)
	}
	if err != nil {
		return err
	}
	defer lock.unlock()
	return remove(name)
}

// Sweep removes the labs whose owner is gone, as a demo leaves one that was killed.
// It returns their names.
func Sweep() ([]string, error) {
	labs, err := Labs()
	if err != nil {
		return nil, err
	}
	var swept []string
	for _, name := range labs {
		st, err := loadState(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if !deserted(name) {
				continue
			}
		case err != nil || st.Owner == nil || st.Owner.alive():
			continue // not ours to judge
		}
		if err := Down(name); err != nil && !errors.Is(err, ErrNoLab) {
			return swept, fmt.Errorf("remove lab %s, which a killed process left: %w", name, err)
		}
		swept = append(swept, name)
	}
	return swept, nil
}

// deserted tells whether a lab without a state was given up by a maker that died
// before its first word: a living one is that slow for milliseconds.
func deserted(name string) bool {
	info, err := os.Stat(runDir(name))
	return err == nil && time.Since(info.ModTime()) > time.Minute
}

// remove does Down's work under the lock. What fails is kept in the state, so that
// Down can be called again.
func remove(name string) error {
	st, err := loadState(name)
	if errors.Is(err, fs.ErrNotExist) {
		// The maker died before its first word: the directory is all there is.
		return removeRoots(name)
	}
	if err != nil {
		return err
	}
	if err := st.stopAll(); err != nil {
		return err
	}
	var errs []error
	// The last made goes first.
	for _, it := range slices.Backward(slices.Clone(st.Items)) {
		if err := it.remove(); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := st.forget(it); err != nil {
			return err
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("lab %s is not wholly gone: %w", name, errors.Join(errs...))
	}
	return removeRoots(name)
}

// stopAll ends the processes that were written down and those that carry the lab's
// token. Between fork and exec a process does not carry it yet, so one look that
// finds none is not enough after the starter was killed.
func (s *state) stopAll() error {
	for clean := 0; clean < 2; {
		found, err := s.tokenProcesses()
		if err != nil {
			return err
		}
		for _, it := range s.Items {
			if it.Kind == itemProcess && it.alive() && !slices.ContainsFunc(found, func(o item) bool { return o.PID == it.PID }) {
				found = append(found, it)
			}
		}
		if len(found) == 0 {
			clean++
			continue
		}
		clean = 0
		members, others := s.members(found)
		if err := stop(others); err != nil {
			return err
		}
		if err := end(members, unix.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

// members are the etcd members among processes, and the others. A member that is asked to end, and leads, waits
// for seconds for another one to take over, while all of them end; what it has written goes with the lab.
func (s *state) members(procs []item) (members, others []item) {
	for _, p := range procs {
		if slices.ContainsFunc(s.Items, func(it item) bool {
			return it.Kind == itemProcess && it.PID == p.PID && strings.HasPrefix(it.Name, memberName(""))
		}) {
			members = append(members, p)
		} else {
			others = append(others, p)
		}
	}
	return members, others
}

func (it item) remove() error {
	switch it.Kind {
	case itemProcess:
		return nil // stopAll did it
	case itemNetNS:
		ino, err := hostnet.NetNSInode(it.Name)
		if err != nil {
			return err
		}
		if it.Inode != 0 && ino != it.Inode {
			return nil // gone, and perhaps somebody else has the name now
		}
		return removeNetNS(it.Name)
	case itemMount:
		err := unix.Unmount(it.Name, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", it.Name, err)
		}
		return nil
	case itemDir:
		if err := os.RemoveAll(it.Name); err != nil {
			return fmt.Errorf("remove %s: %w", it.Name, err)
		}
		return nil
	}
	return fmt.Errorf("remove %s: a thing of unknown kind %q", it.Name, it.Kind)
}

func removeNetNS(name string) error {
	// A process of somebody else's may keep the namespace alive without its name:
	// at least nothing of the lab stays in it.
	if ns, err := hostnet.OpenNetNS(name); err == nil {
		err := ns.DeleteLinks()
		ns.Close()
		if err != nil {
			return err
		}
	}
	return hostnet.DeleteNetNS(name)
}

// sharedDirs are directories above those of labs that others use as well.
var sharedDirs = []string{"/run/causeway", "/var/lib/causeway", hostnet.NetNSDir}

// parentsFile remembers, while there are labs, which of the shared directories the
// first of them made. The last one removes them.
var parentsFile = filepath.Join(runRoot, "made")

// noteParents is called before the first directory of a lab is made.
func noteParents() error {
	if _, err := os.Stat(runRoot); err == nil {
		return nil
	}
	var made []string
	for _, d := range sharedDirs {
		if _, err := os.Stat(d); errors.Is(err, fs.ErrNotExist) {
			made = append(made, d)
		}
	}
	if err := os.MkdirAll(runRoot, 0o755); err != nil {
		return err
	}
	return os.WriteFile(parentsFile, []byte(strings.Join(made, "\n")), 0o644)
}

// removeRoots removes the lab's directory and, after the last lab, those above it.
func removeRoots(name string) error {
	if err := os.RemoveAll(runDir(name)); err != nil {
		return fmt.Errorf("remove the directory of lab %s: %w", name, err)
	}
	if labs, err := Labs(); err != nil || len(labs) > 0 {
		return err
	}
	made, err := os.ReadFile(parentsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the directories of labs: %w", err)
	}
	dirs := append([]string{parentsFile, runRoot, dataRoot}, strings.Fields(string(made))...)
	for _, d := range dirs {
		_ = os.Remove(d) // not empty or a mount point: somebody uses it
	}
	return nil
}
