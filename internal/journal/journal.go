// Package journal keeps on disk what the controller last said of a host, so that an agent that restarts
// goes on from there.
package journal

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/causeway-net/causeway/internal/hoststate"
)

// File is the journal's name in the state directory.
const File = "state.journal"

const (
	format = 2 // 1 had Endpoints where 2 has FDB
	// A journal is written anew when it has grown to this many rows more than
	// the state has.
	slack = 1 << 16
)

// head is the first value of the file.
type head struct {
	Format int
	Life   string // the boot and network namespace it belongs to: hostnet.Life
}

// Journal keeps what the controller last said: a full state, then the deltas after it, one
// gob value each. Appending costs what the delta costs. Nothing is synced to disk: the
// file serves an agent that restarts, and after a reboot it is not used.
type Journal struct {
	path string
	life string
	f    *os.File
	enc  *gob.Encoder
	rows int // written since the file was begun
}

// In is the journal of a life in a directory; nothing is opened before there is something to write.
func In(dir, life string) Journal { return Journal{path: filepath.Join(dir, File), life: life} }

// Read returns the state that the file in dir leads to; ok is false where
// there is none of this life. A file that ends within a value, as after a crash,
// counts up to there.
func Read(dir, life string) (st hoststate.State, revision int64, ok bool, err error) {
	f, err := os.Open(filepath.Join(dir, File))
	if errors.Is(err, os.ErrNotExist) {
		return st, 0, false, nil
	}
	if err != nil {
		return st, 0, false, err
	}
	defer f.Close()
	dec := gob.NewDecoder(bufio.NewReader(f))
	var h head
	if err := dec.Decode(&h); err != nil || h.Format != format || h.Life != life {
		return st, 0, false, nil
	}
	for {
		var d hoststate.Delta
		err := dec.Decode(&d)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return st, 0, false, fmt.Errorf("read %s: %w", File, err)
			}
			return st, revision, ok, nil
		}
		if !ok && !d.Full {
			return st, 0, false, fmt.Errorf("read %s: it does not begin with a full state", File)
		}
		st.Apply(d)
		revision, ok = d.Revision, true
	}
}

// Begin writes a new file with st alone.
func (j *Journal) Begin(st hoststate.State, revision int64) error {
	j.Close()
	f, err := os.CreateTemp(filepath.Dir(j.path), "."+File+".*")
	if err != nil {
		return err
	}
	// The encoder goes on with the file behind the buffer: what it has said of the
	// types is not said again, and a delta is one write.
	buf := bufio.NewWriterSize(f, 1<<16)
	out := &switchWriter{buf}
	enc := gob.NewEncoder(out)
	err = errors.Join(
		enc.Encode(head{Format: format, Life: j.life}),
		enc.Encode(hoststate.Delta{Revision: revision, Full: true, Set: st}),
		buf.Flush(),
	)
	if err == nil {
		err = os.Rename(f.Name(), j.path)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", File, err)
	}
	out.w = f
	j.f, j.enc, j.rows = f, enc, 0
	return nil
}

type switchWriter struct{ w io.Writer }

func (s *switchWriter) Write(b []byte) (int, error) { return s.w.Write(b) }

// Add notes a delta; st is the state after it.
func (j *Journal) Add(d hoststate.Delta, st hoststate.State) error {
	if d.Full || j.f == nil || j.rows > slack+st.Len() {
		return j.Begin(st, d.Revision)
	}
	if err := j.enc.Encode(d); err != nil {
		// Half a value may be in the file: nothing can follow it.
		j.Close()
		return errors.Join(fmt.Errorf("write %s: %w", File, err), os.Remove(j.path))
	}
	j.rows += d.Set.Len() + d.Unset.Len()
	return nil
}

// Close lets go of the file. Add begins a new one.
func (j *Journal) Close() {
	if j.f != nil {
		j.f.Close()
		j.f, j.enc = nil, nil
	}
}
