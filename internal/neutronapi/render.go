package neutronapi

import (
	"encoding/json"
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

// writer writes the attributes that are asked for, all if none is, and that the caller
// may read.
func (r *resource[I, M]) writer(a *API, v view, fields []string) *rowWriter[I, M] {
	out := &rowWriter[I, M]{s: v}
	for i := range r.attrs {
		attr := &r.attrs[i]
		if attr.get == nil || len(fields) > 0 && !slices.Contains(fields, attr.name) {
			continue
		}
		c := column[I, M]{attr: attr, key: `"` + attr.name + `":`}
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

// answer replies with one resource.
func (r *resource[I, M]) answer(a *API, w http.ResponseWriter, status int, v view, m *M, fields []string) error {
	var e encoder
	e.raw(`{"` + r.name + `":`)
	r.writer(a, v, fields).write(&e, m)
	e.raw("}")
	if e.err != nil {
		return e.err
	}
	a.writeBody(w, status, e.buf)
	return nil
}

// answerAll replies with several; tail is what follows the list in the body.
func (r *resource[I, M]) answerAll(a *API, w http.ResponseWriter, status int, v view, all []*M, fields []string, links []link) error {
	const about = 700 // bytes of a port
	e := encoder{buf: make([]byte, 0, 256+about*len(all))}
	e.raw(`{"` + r.plural + `":[`)
	row := r.writer(a, v, fields)
	for i, m := range all {
		if i > 0 {
			e.raw(",")
		}
		row.write(&e, m)
	}
	e.raw("]")
	if len(links) > 0 {
		e.raw(`,"` + r.plural + `_links":`)
		e.any(links)
	}
	e.raw("}")
	if e.err != nil {
		return e.err
	}
	a.writeBody(w, status, e.buf)
	return nil
}
