package crash

import (
	"errors"
	"fmt"
	"strings"
)

// model is what a client knows to be there: of each resource that it made, what the
// last acknowledged answer said; and what becomes of it by the request, one at most,
// whose answer never came.
type model struct {
	objects map[string]*object // by id
	pending *change
}

// change is what one request does: all of it, or nothing.
type change struct {
	what   string
	pieces []piece
}

// piece is the change of one resource. before nil: it comes to be, with an id that
// only the answer tells; after nil: it goes.
type piece struct {
	coll, id      string
	before, after attrs
}

func (c *change) creates(coll string, after attrs) {
	c.pieces = append(c.pieces, piece{coll: coll, after: after})
}

func (c *change) updates(o *object, to attrs) {
	c.pieces = append(c.pieces, piece{o.coll, o.id, o.attrs, to})
}

func (c *change) deletes(o *object) { c.pieces = append(c.pieces, piece{o.coll, o.id, o.attrs, nil}) }

func (m *model) put(coll, id string, a attrs) {
	kept := attrs{}
	for k, v := range a {
		kept[k] = v
	}
	for _, k := range volatile {
		delete(kept, k)
	}
	m.objects[id] = &object{coll, id, kept}
}

// settle finds out whether the request without an answer was done, and wants it to
// have been done wholly or not at all. Resources that belong to nobody are in lost;
// those that are found to be the client's are taken out.
func (m *model) settle(there, lost map[string]*object) (done bool, err error) {
	c := m.pending
	m.pending = nil
	if c == nil {
		return false, nil
	}
	var yes, no []string
	for i, p := range c.pieces {
		if p.before == nil {
			for id, o := range lost {
				if o.coll == p.coll && differs(p.after, o.attrs) == "" {
					c.pieces[i].id = id
					break
				}
			}
		}
		id := c.pieces[i].id
		o := there[id]
		name := fmt.Sprintf("%s %s", p.coll, id)
		asBefore, asAfter := (o == nil) == (p.before == nil), (o == nil) == (p.after == nil)
		if o != nil {
			asBefore = asBefore && differs(p.before, o.attrs) == ""
			asAfter = asAfter && differs(p.after, o.attrs) == ""
		}
		switch {
		case asBefore && asAfter: // it would change nothing
		case asAfter:
			yes = append(yes, name)
		case asBefore:
			no = append(no, name)
		case o == nil:
			return false, fmt.Errorf("%s: %s is gone", c.what, name)
		default:
			return false, fmt.Errorf("%s: %s is neither as before nor as after: %v; before %v; after %v", c.what, name, o.attrs, p.before, p.after)
		}
	}
	if len(yes) > 0 && len(no) > 0 {
		return false, fmt.Errorf("half a request was done, %s: done %v, not done %v", c.what, yes, no)
	}
	if len(yes) == 0 {
		return false, nil
	}
	for _, p := range c.pieces {
		if p.after == nil {
			delete(m.objects, p.id)
			continue
		}
		delete(lost, p.id)
		m.put(p.coll, p.id, there[p.id].attrs)
	}
	return true, nil
}

// verify compares what is there with what the models say, and has them take in what
// became of the requests without an answer.
func verify(there map[string]*object, models []*model) (done int, err error) {
	lost := map[string]*object{}
	for id, o := range there {
		lost[id] = o
	}
	for _, m := range models {
		for id := range m.objects {
			delete(lost, id)
		}
	}
	var errs []error
	for _, m := range models {
		ok, err := m.settle(there, lost)
		if ok {
			done++
		}
		errs = append(errs, err)
	}
	for _, m := range models {
		for id, o := range m.objects {
			switch now := there[id]; {
			case now == nil:
				errs = append(errs, fmt.Errorf("%s %s was acknowledged and is gone: %v", o.coll, id, o.attrs))
			case now.coll != o.coll:
				errs = append(errs, fmt.Errorf("%s %s is now one of %s", o.coll, id, now.coll))
			default:
				if d := differs(o.attrs, now.attrs); d != "" {
					errs = append(errs, fmt.Errorf("%s %s is not as acknowledged: %s", o.coll, id, d))
				}
			}
		}
	}
	for id, o := range lost {
		errs = append(errs, fmt.Errorf("%s %s is there, but was deleted or never asked for: %v", o.coll, id, o.attrs))
	}
	if len(errs) > 20 {
		errs = append(errs[:20], errors.New("and more"))
	}
	return done, errors.Join(errs...)
}

func (c *change) String() string {
	var b strings.Builder
	b.WriteString(c.what)
	for _, p := range c.pieces {
		fmt.Fprintf(&b, "; %s %s", p.coll, p.id)
	}
	return b.String()
}
