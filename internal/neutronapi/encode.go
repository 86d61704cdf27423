package neutronapi

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"unicode/utf8"

	"github.com/causeway-net/causeway/internal/model"
)

// encoder writes JSON: a list of ten thousand ports is most of what a controller
// ever encodes, and building each row as a map first takes four times as long.
// What it has no case for goes through encoding/json, whose output it writes in
// every case.
type encoder struct {
	buf []byte
	err error // of encoding/json, the first
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) value(v any) {
	switch v := v.(type) {
	case nil:
		e.raw("null")
	case string:
		e.text(v)
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case int:
		e.buf = strconv.AppendInt(e.buf, int64(v), 10)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case json.RawMessage: // of this package, in order
		e.buf = append(e.buf, v...)
	case []string:
		listed(e, v, e.text)
	case map[string]any:
		mapped(e, v)
	case map[string]json.RawMessage:
		mapped(e, v)
	case []allowedPair:
		listed(e, v, func(p allowedPair) { e.any(p) })
	case []model.AddrPair:
		listed(e, v, func(a model.AddrPair) {
			e.raw(`{"subnet_id":`)
			e.text(string(a.SubnetID))
			e.raw(`,"ip_address":`)
			e.addr(a.IP)
			e.raw(`}`)
		})
	case []model.HostRoute:
		listed(e, v, func(r model.HostRoute) {
			e.raw(`{"destination":"`)
			e.buf = r.Destination.AppendTo(e.buf)
			e.raw(`","nexthop":`)
			e.addr(r.NextHop)
			e.raw(`}`)
		})
	case []model.AddrRange:
		listed(e, v, func(r model.AddrRange) {
			e.raw(`{"start":`)
			e.addr(r.Start)
			e.raw(`,"end":`)
			e.addr(r.End)
			e.raw(`}`)
		})
	default:
		e.any(v)
	}
}

func (e *encoder) any(v any) {
	b, err := json.Marshal(v)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.buf = append(e.buf, b...)
}

// addr writes the zero address as the empty text, as encoding/json does.
func (e *encoder) addr(a netip.Addr) {
	e.raw(`"`)
	if a.IsValid() {
		e.buf = a.AppendTo(e.buf)
	}
	e.raw(`"`)
}

// text writes what needs no escaping itself; most texts are ids.
func (e *encoder) text(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x7f {
			e.any(s)
			return
		}
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, '"')
}

// mapped writes empty maps itself, which is what most are.
func mapped[T any](e *encoder, m map[string]T) {
	if m != nil && len(m) == 0 {
		e.raw("{}")
		return
	}
	e.any(m)
}

func listed[T any](e *encoder, l []T, one func(T)) {
	if l == nil {
		e.raw("null")
		return
	}
	e.raw("[")
	for i, x := range l {
		if i > 0 {
			e.raw(",")
		}
		one(x)
	}
	e.raw("]")
}
