package neutronapi

import (
	"encoding/json"
	"iter"
	"net/http"
	"slices"

	"github.com/causeway-net/causeway/internal/store"
)

// rowWriter writes resources as one caller sees them: what is the same for each is
// worked out once.
type rowWriter[I, M any] struct {
	s       store.Snapshot // the view, so that it is made an interface once
	columns []column[I, M]
}

// column is an attribute that is asked for.
type column[I, M any] struct {
	attr *attribute[I, M]
	key  string        // as JSON has it, with the colon
	open func(*M) bool // whether the caller may read it; nil: always
}

// allColumns are all that can be read. Nobody changes them.
func (r *resource[I, M]) allColumns() []column[I, M] {
	r.once.Do(func() {
		for i := range r.attrs {
			if attr := &r.attrs[i]; attr.get != nil {
				r.columns = append(r.columns, column[I, M]{attr: attr, key: `"` + attr.name + `":`})
			}
		}
	})
	return r.columns
}

// writer writes the attributes that are asked for, all if none is, and that the caller
// may read.
func (r *resource[I, M]) writer(a *API, v view, fields []string) *rowWriter[I, M] {
	if len(fields) == 0 && v.d == nil {
		return &rowWriter[I, M]{s: v, columns: r.allColumns()}
	}
	all := r.allColumns()
	out := &rowWriter[I, M]{s: v, columns: make([]column[I, M], 0, len(all))}
	for _, c := range all {
		attr := c.attr
		if len(fields) > 0 && !slices.Contains(fields, attr.name) {
			continue
		}
		if v.d != nil {
			rule := "get_" + r.name + ":" + attr.name
			if v.d.Has(rule) {
				allowed, known := v.d.Always(rule)
				if known && !allowed {
					continue
				}
				if !known {
					c.open = func(m *M) bool { return !r.hidden(a, v, attr, m) }
				}
			}
		}
		out.columns = append(out.columns, c)
	}
	return out
}

func (w *rowWriter[I, M]) write(e *encoder, m *M) {
	e.raw("{")
	first := true
	for i := range w.columns {
		c := &w.columns[i]
		if c.open != nil && !c.open(m) {
			continue
		}
		if !first {
			e.raw(",")
		}
		first = false
		e.raw(c.key)
		e.value(c.attr.get(w.s, m))
	}
	e.raw("}")
}

// render writes one resource.
func (r *resource[I, M]) render(a *API, v view, m *M, fields []string) json.RawMessage {
	var e encoder
	r.writer(a, v, fields).write(&e, m)
	if e.err != nil {
		panic(e.err) // a value of a table that is no JSON: a defect
	}
	return e.buf
}

// rowBytes is about as long as most resources are as JSON.
const rowBytes = 1 << 10

// answer replies with one resource.
func (r *resource[I, M]) answer(a *API, w http.ResponseWriter, status int, v view, m *M, fields []string) error {
	e := encoder{buf: make([]byte, 0, rowBytes)}
	e.raw(`{"` + r.name + `":`)
	r.writer(a, v, fields).write(&e, m)
	e.raw("}")
	if e.err != nil {
		return e.err
	}
	a.writeBody(w, status, e.buf)
	return nil
}

// chunk is about how many bytes of a long list are made at a time.
const chunk = 64 << 10

// answerAll replies with several. A long list is made and sent piece by piece, so
// that a client that reads slowly holds a piece of it and not the whole; and, where
// the resources come from a snapshot in order, not even a list of them. Pieces are
// made in turns, see pace. links is asked when all are written. What it is to answer
// instead of a list it returns; what it cannot tell the client any more ends the
// connection.
func (r *resource[I, M]) answerAll(a *API, w http.ResponseWriter, p *pace, status int, v view, all iter.Seq2[*M, error], fields []string, links func() []link) error {
	defer p.rest()
	out := pieces{w: w, p: p, status: status}
	row := r.writer(a, v, fields)
	e := &out.e
	e.raw(`{"` + r.plural + `":[`)
	first := true
	for m, err := range all {
		if err == nil && !first {
			e.raw(",")
		}
		first = false
		if err == nil {
			row.write(e, m)
			err = e.err
		}
		if err == nil && len(e.buf) >= chunk {
			err = out.send()
		}
		if err != nil {
			return out.fail(err)
		}
	}
	p.rest()
	e.raw("]")
	if l := links(); len(l) > 0 {
		e.raw(`,"` + r.plural + `_links":`)
		e.any(l)
	}
	e.raw("}")
	if e.err != nil {
		return out.fail(e.err)
	}
	if !out.sent {
		a.writeBody(w, status, e.buf)
		return nil
	}
	_, _ = w.Write(e.buf) // the client has gone if this fails
	return nil
}

// pieces is an answer that is sent as it is made.
type pieces struct {
	w      http.ResponseWriter
	p      *pace
	e      encoder
	status int
	sent   bool
}

// send sends what has been made, without its turn or a place among the requests worked on.
func (o *pieces) send() error {
	o.p.rest()
	o.p.l.leave()
	if !o.sent {
		o.w.Header().Set("Content-Type", "application/json")
		o.w.WriteHeader(o.status)
		o.sent = true
	}
	_, err := o.w.Write(o.e.buf)
	o.e.buf = o.e.buf[:0]
	return err
}

// fail ends an answer: in words, unless a part of it has been sent, which the client
// must not take for the whole.
func (o *pieces) fail(err error) error {
	o.p.rest()
	if o.sent {
		panic(http.ErrAbortHandler)
	}
	return err
}

// each gives resources that are there already, at the pace of the request.
func each[M any](p *pace, all []*M) iter.Seq2[*M, error] {
	return func(yield func(*M, error) bool) {
		for _, m := range all {
			if err := p.step(); !yield(m, err) || err != nil {
				return
			}
		}
	}
}
