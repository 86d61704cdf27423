// Package statetest makes random states for tests: rows in every table, also in those
// that a test's author did not think of.
package statetest

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"reflect"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// Random is a state with up to rows random rows in each table, each one that can be sent
// over the wire. Which fields of a row belong together it does not know.
func Random(r *rand.Rand, rows int) hoststate.State {
	st := hoststate.NewState()
	fill(r, reflect.ValueOf(&st).Elem(), rows)
	return st
}

// fill puts rows into all maps of a State.
func fill(r *rand.Rand, state reflect.Value, rows int) {
	for i := range state.NumField() {
		m := state.Field(i)
		for range r.IntN(rows + 1) {
			m.SetMapIndex(value(r, m.Type().Key()), value(r, m.Type().Elem()))
		}
	}
}

// Change is st with some rows gone, some changed in one field, and some new.
func Change(r *rand.Rand, st hoststate.State, rows int) hoststate.State {
	st = st.Clone()
	v := reflect.ValueOf(&st).Elem()
	for i := range v.NumField() {
		m := v.Field(i)
		for _, k := range m.MapKeys() {
			switch r.IntN(3) {
			case 0:
				m.SetMapIndex(k, reflect.Value{})
			case 1:
				m.SetMapIndex(k, changed(r, m.MapIndex(k)))
			}
		}
	}
	fill(r, v, rows)
	return st
}

// EachField goes through the fields of the rows of each table: two states that differ in
// that field of one row alone.
func EachField(r *rand.Rand) iter.Seq2[string, [2]hoststate.State] {
	return func(yield func(string, [2]hoststate.State) bool) {
		state := reflect.TypeFor[hoststate.State]()
		for i := range state.NumField() {
			k, v := value(r, state.Field(i).Type.Key()), value(r, state.Field(i).Type.Elem())
			one := func(v reflect.Value) hoststate.State {
				st := hoststate.NewState()
				reflect.ValueOf(&st).Elem().Field(i).SetMapIndex(k, v)
				return st
			}
			name := state.Field(i).Name
			if v.Kind() != reflect.Struct || opaque(v.Type()) {
				if !yield(name, [2]hoststate.State{one(v), one(other(r, v))}) {
					return
				}
				continue
			}
			for f := range v.NumField() {
				if !yield(name+"."+v.Type().Field(f).Name, [2]hoststate.State{one(v), one(with(r, v, f))}) {
					return
				}
			}
		}
	}
}

func changed(r *rand.Rand, v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Struct && v.NumField() == 0 {
		return v
	}
	if v.Kind() != reflect.Struct || opaque(v.Type()) {
		return other(r, v)
	}
	return with(r, v, r.IntN(v.NumField()))
}

func with(r *rand.Rand, v reflect.Value, field int) reflect.Value {
	w := reflect.New(v.Type()).Elem()
	w.Set(v)
	w.Field(field).Set(other(r, v.Field(field)))
	return w
}

// other is another value than v.
func other(r *rand.Rand, v reflect.Value) reflect.Value {
	for {
		if w := value(r, v.Type()); !reflect.DeepEqual(v.Interface(), w.Interface()) {
			return w
		}
	}
}

func opaque(t reflect.Type) bool {
	return t == reflect.TypeFor[netip.Addr]() || t == reflect.TypeFor[netip.Prefix]()
}

// value is a random value that the wire takes.
func value(r *rand.Rand, t reflect.Type) reflect.Value {
	within := func(low, high uint64) reflect.Value {
		return reflect.ValueOf(low + r.Uint64N(high-low+1)).Convert(t)
	}
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return reflect.ValueOf(addr(r))
	case reflect.TypeFor[netip.Prefix]():
		a := addr(r)
		return reflect.ValueOf(netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked())
	case reflect.TypeFor[model.PortKey](), reflect.TypeFor[model.NetworkKey](), reflect.TypeFor[model.RouterKey]():
		return within(1, model.MaxKey)
	case reflect.TypeFor[model.VNI]():
		return within(1, model.MaxVNI)
	case reflect.TypeFor[reason.Reason]():
		return within(0, uint64(reason.Count)-1)
	case reflect.TypeFor[hoststate.FDBKind]():
		return within(1, uint64(hoststate.FDBDrop))
	case reflect.TypeFor[hoststate.RouteKind]():
		return within(1, uint64(hoststate.RouteDrop))
	}
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int: // an MTU
		return within(0, 65535)
	case reflect.Uint8:
		return within(0, 255)
	case reflect.Uint16: // a VLAN
		return within(1, model.MaxVLAN)
	case reflect.Uint32, reflect.Uint64:
		return within(0, 1<<32-1)
	case reflect.String:
		v.SetString(fmt.Sprintf("%x", r.Uint32N(1<<20)))
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).Set(value(r, t.Elem()))
		}
	case reflect.Slice:
		for range r.IntN(4) {
			v = reflect.Append(v, value(r, t.Elem()))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			v.Field(i).Set(value(r, t.Field(i).Type))
		}
	default:
		panic(fmt.Sprintf("statetest does not know values of %v", t))
	}
	return v
}

func addr(r *rand.Rand) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	b[0] = 0xfd // no IPv4 in IPv6
	return netip.AddrFrom16(b)
}
