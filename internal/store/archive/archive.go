// Package archive is the file that a site's state is exported to and imported from: lines of
// JSON. The first is a Header, then comes one line an entry, in order of the keys, and last a
// line that counts and sums up all before it. So a file that was cut off, or changed, is told.
package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"

	"github.com/causeway-net/causeway/internal/store"
)

const (
	// Kind is what the first line says that the file is.
	Kind = "causeway site state"
	// Version is that of the lines, not of what is in the entries.
	Version = 1
	// maxLine bounds a line, bytes: a store has no larger entries.
	maxLine = 16 << 20
)

// Header is the first line.
type Header struct {
	Kind    string `json:"file"`
	Version int    `json:"version"`
	// StateFormat is that of the entries; see ADR 0012.
	StateFormat int `json:"state_format"`
	// Revision is that of the store that was exported.
	Revision int64     `json:"revision"`
	Made     time.Time `json:"made"`
	By       string    `json:"by"` // version of the program
}

// line is an entry: an object, or an index entry.
type line struct {
	Kind  store.Kind      `json:"kind,omitempty"`
	ID    string          `json:"id,omitempty"`
	Index store.Index     `json:"index,omitempty"`
	Key   string          `json:"key,omitempty"`
	Value json.RawMessage `json:"value"` // an object, or an index entry's text
}

// trailer is the last line.
type trailer struct {
	Entries int    `json:"entries"`
	SHA256  string `json:"sha256"` // of all lines before it
}

// Writer writes a file.
type Writer struct {
	out *bufio.Writer
	sum hash.Hash
	n   int
}

// NewWriter writes the header. Kind and Version are filled in.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	out := &Writer{out: bufio.NewWriterSize(w, 1<<16), sum: sha256.New()}
	h.Kind, h.Version = Kind, Version
	return out, out.line(h)
}

func (w *Writer) line(v any) error {
	e := json.NewEncoder(io.MultiWriter(w.sum, w.out))
	e.SetEscapeHTML(false) // an object's JSON is kept as it is
	return e.Encode(v)
}

// Add writes an entry.
func (w *Writer) Add(e store.Entry) error {
	l := line{Kind: e.Kind, ID: e.ID, Index: e.Index, Key: e.Key, Value: json.RawMessage(e.Value)}
	if e.Index != "" {
		text, err := json.Marshal(e.Value)
		if err != nil {
			return err
		}
		l.Value = text
	}
	w.n++
	return w.line(l)
}

// Close writes the last line, and returns how many entries there are.
func (w *Writer) Close() (int, error) {
	b, err := json.Marshal(trailer{w.n, hex.EncodeToString(w.sum.Sum(nil))})
	if err != nil {
		return w.n, err
	}
	_, err = w.out.Write(append(b, '\n'))
	return w.n, errors.Join(err, w.out.Flush())
}

// Reader reads a file.
type Reader struct {
	Header Header

	in   *bufio.Reader
	sum  hash.Hash
	n    int
	last store.Entry
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	out := &Reader{in: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}
	b, err := out.next()
	if err != nil {
		return nil, err
	}
	// A later version's header may have more in it.
	if err := json.Unmarshal(b, &out.Header); err != nil || out.Header.Kind != Kind {
		return nil, errors.New("it does not begin as an export of a site's state does")
	}
	if out.Header.Version != Version {
		return nil, fmt.Errorf("it has version %d; this program reads version %d", out.Header.Version, Version)
	}
	if out.Header.StateFormat < 1 {
		return nil, fmt.Errorf("it has the state format %d, which there is not", out.Header.StateFormat)
	}
	out.sum.Write(b)
	return out, nil
}

// next is the next line without its end; io.EOF: there is none.
func (r *Reader) next() ([]byte, error) {
	var b []byte
	for {
		part, err := r.in.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case err == nil:
			return b, nil
		case errors.Is(err, io.EOF) && len(b) > 0:
			return nil, fmt.Errorf("line %d is cut off", r.n+2)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(b) > maxLine:
			return nil, fmt.Errorf("line %d has more than %d bytes", r.n+2, maxLine)
		}
	}
}

// Entries goes through the entries. An error is the last that it gives; without one the file was
// whole.
func (r *Reader) Entries() iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for {
			b, err := r.next()
			if errors.Is(err, io.EOF) {
				err = errors.New("it is cut off: its last line is missing")
			}
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			if bytes.HasPrefix(b, []byte(`{"entries":`)) {
				if err := r.end(b); err != nil {
					yield(store.Entry{}, err)
				}
				return
			}
			e, err := r.entry(b)
			if err != nil {
				yield(e, fmt.Errorf("line %d: %w", r.n+2, err))
				return
			}
			r.sum.Write(b)
			r.n++
			r.last = e
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (r *Reader) entry(b []byte) (e store.Entry, err error) {
	var l line
	if err := strict(b, &l); err != nil {
		return e, err
	}
	e = store.Entry{Kind: l.Kind, ID: l.ID, Index: l.Index, Key: l.Key, Value: string(l.Value)}
	object, index := l.Kind != "" && l.ID != "", l.Index != "" && l.Key != ""
	if object == index || l.Kind != "" && l.Index != "" {
		return e, errors.New("it is neither an object with kind and id nor an index entry with index and key")
	}
	if index {
		if err := json.Unmarshal(l.Value, &e.Value); err != nil {
			return e, fmt.Errorf("an index entry's value is a text: %w", err)
		}
	} else if len(l.Value) == 0 || l.Value[0] != '{' {
		return e, errors.New("an object's value is an object")
	}
	if r.n > 0 && path(r.last) >= path(e) {
		return e, errors.New("it is not after the one before: the file was put together by other means")
	}
	return e, nil
}

// end looks at the last line.
func (r *Reader) end(b []byte) error {
	var t trailer
	if err := strict(b, &t); err != nil {
		return fmt.Errorf("the last line: %w", err)
	}
	if t.Entries != r.n {
		return fmt.Errorf("it has %d entries, and its last line counts %d", r.n, t.Entries)
	}
	if t.SHA256 != hex.EncodeToString(r.sum.Sum(nil)) {
		return errors.New("it was changed since it was exported: its sum is another")
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its last line")
	}
	return nil
}

// path is where a store keeps an entry; the order of entries is that of their paths.
func path(e store.Entry) string {
	if e.Index != "" {
		return "ix/" + string(e.Index) + "/" + e.Key
	}
	return string(e.Kind) + "/" + e.ID
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more than one value in it")
	}
	return nil
}
