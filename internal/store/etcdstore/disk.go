package etcdstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// etcd ends its process where it cannot write to its disk, and cannot begin again where
// there is no room. So nothing is written to a disk that is nearly full, while reads go
// on; and a file of the data directory keeps room back that the next start can have.
const (
	// diskFloor is the room, in bytes, below which no transaction begins: what is under
	// way, and etcd's next log segment (64 MiB), still find theirs.
	diskFloor = 192 << 20
	// diskResume is the room with which transactions begin again.
	diskResume = 224 << 20
	// diskReserve is the size of the reserve file: a start allocates a log segment anew
	// and writes some pages.
	diskReserve = 128 << 20
	// leastReserve is what a start can do with, leftReserve what it leaves to others where
	// it makes a reserve of the room that it has itself given back.
	leastReserve, leftReserve = 72 << 20, 1 << 20
)

// disk watches the file system of a data directory.
type disk struct {
	dir  string
	log  *slog.Logger
	full atomic.Bool
	// lent: the reserve has been used, and is to be made again before writes go on.
	lent atomic.Bool
}

// space is what the kernel says of a file system.
type space struct {
	free     uint64 // bytes that may be taken without root's share
	readOnly bool
}

func spaceOf(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	return space{free: st.Bavail * uint64(st.Bsize), readOnly: st.Flags&unix.ST_RDONLY != 0}, nil
}

// refusal is why nothing may be written; "" if it may. full is how it was before, lent
// whether the reserve is to be made again.
func (s space) refusal(full, lent bool) string {
	least := uint64(diskFloor)
	if full {
		least = diskResume
	}
	if full && lent {
		least += diskReserve
	}
	switch {
	case s.readOnly:
		return "is mounted read-only"
	case s.free < least:
		return fmt.Sprintf("has %d MiB free, and the store wants %d", s.free>>20, least>>20)
	}
	return ""
}

// admit refuses transactions where the disk has no room for them. Each one asks: a
// statfs takes a microsecond, and a disk may fill in less than a second.
func (d *disk) admit() error {
	s, err := spaceOf(d.dir)
	if err != nil {
		return unavailable("StoreUnavailable", "%s", err)
	}
	was := d.full.Load()
	why := s.refusal(was, d.lent.Load())
	if is := why != ""; was != is && d.full.CompareAndSwap(was, is) {
		if is {
			d.log.Error("nothing is written any more: make room", "directory", d.dir, "cause", "its file system "+why)
		} else {
			d.log.Warn("there is room again: changes are taken", "directory", d.dir)
			if err := d.keep(); err != nil {
				d.log.Warn("no room is kept back for a start on a full disk", "error", err)
			}
		}
	}
	if why != "" {
		return unavailable("StoreFull", "nothing can be written: the file system of %s %s; reads go on, and so do packets", d.dir, why)
	}
	return nil
}

func (d *disk) reservePath() string { return filepath.Join(d.dir, "reserve") }

// release gives the reserve to a start that would have no room otherwise.
func (d *disk) release() error {
	s, err := spaceOf(d.dir)
	if err != nil || s.free >= diskFloor || s.readOnly {
		return err
	}
	switch err := os.Remove(d.reservePath()); {
	case errors.Is(err, fs.ErrNotExist):
		d.lent.Store(true)
	case err != nil:
		return fmt.Errorf("give the reserve back: %w", err)
	default:
		d.lent.Store(true)
		d.log.Warn("the disk is nearly full: the reserve is used for this start", "directory", d.dir, "free_bytes", s.free)
	}
	return nil
}

// keep makes the reserve, where there is room for it. After a start that has used it, it
// makes a smaller one of what is left, for the next.
func (d *disk) keep() error {
	if st, err := os.Stat(d.reservePath()); err == nil && st.Size() == diskReserve {
		d.lent.Store(false)
		return nil
	}
	s, err := spaceOf(d.dir)
	size := int64(diskReserve)
	if s.free < diskResume+diskReserve {
		size = min(size, int64(s.free)-leftReserve)
		if !d.lent.Load() || size < leastReserve {
			return err
		}
	}
	if err != nil || s.readOnly {
		return err
	}
	f, err := os.OpenFile(d.reservePath(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("make the reserve: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("make the reserve: %w", err), os.Remove(d.reservePath()))
	}
	if size == diskReserve {
		d.lent.Store(false)
	}
	return nil
}

// roomToCopy tells whether a copy of the database fits.
func (d *disk) roomToCopy() bool {
	st, err := os.Stat(filepath.Join(etcdDir(d.dir), "member", "snap", "db"))
	if err != nil {
		return true // there is none yet
	}
	s, err := spaceOf(d.dir)
	return err == nil && s.free > uint64(st.Size())+diskFloor
}

// damagedError is a store that is there and cannot be read.
type damagedError struct {
	dir string
	err error
}

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// Hint is the way out.
func (e *damagedError) Hint() string {
	return fmt.Sprintf(`What is in %s cannot be read. Packets go on as they were told. docs/operator-guide.md, "Copies of a site's state", says how to go back to a copy; keep what is there until that has worked.`, e.dir)
}

// damaged makes a damagedError of what etcd says when it cannot start, unless the cause is
// the disk or the process and not what is written there.
func damaged(dir string, err error) error {
	for _, no := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EACCES, unix.EPERM, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, no) || strings.Contains(err.Error(), no.Error()) {
			return err
		}
	}
	return &damagedError{dir, err}
}
