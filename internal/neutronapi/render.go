package neutronapi

import (
	"context"
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

// inTurn does work of some length. Where it is long, it waits for its turn.
func (a *API) inTurn(ctx context.Context, long bool, work func()) error {
	if long {
		select {
		case a.turns <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-a.turns }()
	}
	work()
	return nil
}

// chunk is about how many bytes of a long list are made at a time.
const chunk = 64 << 10

// answerAll replies with several. A long list is made and sent piece by piece, so
// that a client that reads slowly holds a piece of it and not the whole. Pieces are
// made in turns, by as many requests at a time as leave room for short ones.
func (r *resource[I, M]) answerAll(a *API, w http.ResponseWriter, req *http.Request, status int, v view, all []*M, fields []string, links []link) error {
	const about = 700 // bytes of a port
	row := r.writer(a, v, fields)
	e := encoder{buf: make([]byte, 0, min(chunk+chunk/8, 256+about*len(all)))}
	e.raw(`{"` + r.plural + `":[`)
	sent := false
	for next := 0; next < len(all); {
		long := (len(all)-next)*about > chunk
		err := a.inTurn(req.Context(), long, func() {
			for ; next < len(all) && len(e.buf) < chunk; next++ {
				if next > 0 {
					e.raw(",")
				}
				row.write(&e, all[next])
			}
		})
		if err == nil {
			err = e.err
		}
		if err != nil && !sent {
			return err
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the client must not take this for whole
		}
		if next == len(all) {
			break
		}
		if !sent {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			sent = true
		}
		if _, err := w.Write(e.buf); err != nil {
			panic(http.ErrAbortHandler) // the client has gone
		}
		e.buf = e.buf[:0]
	}
	e.raw("]")
	if len(links) > 0 {
		e.raw(`,"` + r.plural + `_links":`)
		e.any(links)
	}
	e.raw("}")
	switch {
	case !sent && e.err != nil:
		return e.err
	case !sent:
		a.writeBody(w, status, e.buf)
	case e.err != nil:
		panic(http.ErrAbortHandler)
	default:
		_, _ = w.Write(e.buf) // the client has gone if this fails
	}
	return nil
}
