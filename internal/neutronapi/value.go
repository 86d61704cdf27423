package neutronapi

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
)

// value is a kind of value that requests may have: how it is read, and what the
// API's description says of it. Both are written down in one place, and a test
// holds them to each other.
type value[T any] struct {
	// takes describes what parse takes, gives what replies have in its place.
	takes, gives *openapi.Schema
	// parse reads a decoded JSON value. Its error is a reason, to which the
	// engine puts the attribute's name, or a *model.Error.
	parse func(any) (T, error)
}

// input is what a request may set an attribute to.
type input[I any] struct {
	takes, gives *openapi.Schema
	set          func(*I, any) error
}

// into is an input that is a plain field.
func into[I, T any](v value[T], field func(*I) *T) input[I] {
	return with(v, func(i *I, t T) error {
		*field(i) = t
		return nil
	})
}

// with is an input that a function takes, which may refuse it or look at others.
func with[I, T any](v value[T], set func(*I, T) error) input[I] {
	return input[I]{v.takes, v.gives, func(i *I, x any) error {
		t, err := v.parse(x)
		if err != nil {
			return err
		}
		return set(i, t)
	}}
}

// as gives a value a type of its own, such as an id's.
func as[To, From ~string](v value[From]) value[To] {
	return value[To]{v.takes, v.gives, func(x any) (To, error) {
		s, err := v.parse(x)
		return To(s), err
	}}
}

// nullable takes null as the zero value.
func nullable[T any](v value[T]) value[T] {
	return value[T]{openapi.OrNull(v.takes), v.gives, func(x any) (t T, err error) {
		if x == nil {
			return t, nil
		}
		return v.parse(x)
	}}
}

// optional takes null, as nothing given.
func optional[T any](v value[T]) value[*T] {
	return value[*T]{openapi.OrNull(v.takes), openapi.OrNull(v.gives), func(x any) (*T, error) {
		if x == nil {
			return nil, nil
		}
		t, err := v.parse(x)
		return &t, err
	}}
}

// The patterns of texts that stand for a value of another type, and of values
// whose formats JSON Schema does not name.
const (
	truthPattern   = `^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|0|1)$`
	integerPattern = `^\s*[+-]?[0-9]+\s*$`
	uuidPattern    = `^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`
	// What is taken for a MAC address (see model.ParseMAC), and what is given.
	macsPattern = `^([0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}|[0-9A-Fa-f]{1,2}(-[0-9A-Fa-f]{1,2}){5}` +
		`|[0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{1,4}){2}|[0-9A-Fa-f]{1,4}(-[0-9A-Fa-f]{1,4}){2}|[0-9A-Fa-f]{1,4}(\.[0-9A-Fa-f]{1,4}){2}` +
		`|[0-9A-Fa-f]{5,6}[:-][0-9A-Fa-f]{5,6}|[0-9A-Fa-f]{11,12})$`
	macPattern  = `^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$`
	cidrPattern = `^[0-9A-Fa-f:.]+/[0-9]{1,3}$`
	addrPattern = `^[0-9A-Fa-f:.]+$`
)

func pattern(p string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{openapi.String}, Pattern: p}
}

// boolean takes what Neutron's clients send for one.
func boolean() value[bool] {
	numbers := &openapi.Schema{Type: openapi.Types{openapi.Integer}, Enum: []any{0, 1}}
	return value[bool]{openapi.Any(openapi.Of(openapi.Boolean), numbers, pattern(truthPattern)), openapi.Of(openapi.Boolean), toBool}
}

// integer takes numbers, and texts of them, in a range.
func integer(least, most int64) value[int64] {
	number := openapi.Between(least, most)
	return value[int64]{openapi.Any(number, pattern(integerPattern)), number, func(x any) (int64, error) {
		n, err := toInt(x)
		if err == nil && (n < least || n > most) {
			err = reasonf("'%s' is not in range %d to %d", text(x), least, most)
		}
		return n, err
	}}
}

// label is a short text: a name, a description.
func label() value[string] {
	s := &openapi.Schema{Type: openapi.Types{openapi.String}, MaxLength: maxText}
	return value[string]{s, s, toString}
}

// resourceID takes a UUID, and reads it in lower case.
func resourceID() value[string] {
	return value[string]{pattern(uuidPattern), pattern(uuidPattern), toUUID}
}

func address() value[netip.Addr] {
	return value[netip.Addr]{pattern(addrPattern), pattern(addrPattern), toAddr}
}

func prefix() value[netip.Prefix] {
	return value[netip.Prefix]{pattern(cidrPattern), pattern(cidrPattern), toPrefix}
}

// around takes a prefix by any address in it, as Neutron does for subnets and pools.
func around(v value[netip.Prefix]) value[netip.Prefix] {
	return value[netip.Prefix]{v.takes, v.gives, func(x any) (netip.Prefix, error) {
		if s, ok := x.(string); ok {
			if p, err := netip.ParsePrefix(s); err == nil {
				x = p.Masked().String()
			}
		}
		return v.parse(x)
	}}
}

func mac() value[model.NamedMAC] {
	return value[model.NamedMAC]{pattern(macsPattern), pattern(macPattern), toMAC}
}

// oneOf takes certain texts; others are refused in Neutron's words.
func oneOf(words ...string) value[string] {
	return value[string]{enum(words...), enum(words...), func(x any) (string, error) {
		s, ok := x.(string)
		if !ok || !slices.Contains(words, s) {
			return "", reasonf("%s is not in valid_values", text(x))
		}
		return s, nil
	}}
}

// enum is the schema of certain texts.
func enum(words ...string) *openapi.Schema {
	s := openapi.Of(openapi.String)
	for _, w := range words {
		s.Enum = append(s.Enum, w)
	}
	return s
}

// listOf takes a list. More than most elements, called what, are refused; most < 0
// leaves that to the request's size.
func listOf[T any](v value[T], most int, what string) value[[]T] {
	return value[[]T]{openapi.ListOf(v.takes, most), openapi.ListOf(v.gives, most), func(x any) ([]T, error) {
		l, err := toList(x)
		if err != nil {
			return nil, err
		}
		if most >= 0 && len(l) > most {
			return nil, reasonf("more than %d %s", most, what)
		}
		out := make([]T, 0, len(l))
		for _, e := range l {
			t, err := v.parse(e)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
		return out, nil
	}}
}

// key is a key of an object.
type key[T any] struct {
	name string
	// required keys are read as null where they are missing.
	required bool
	input[T]
}

// object takes an object of certain keys, and reads them in the order given.
func object[T any](keys ...key[T]) value[T] {
	in, out := closed(), closed()
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
		in.Properties[k.name], out.Properties[k.name] = k.takes, k.gives
		if k.required {
			in.Required = append(in.Required, k.name)
		}
		out.Required = append(out.Required, k.name)
	}
	return value[T]{in, out, func(x any) (t T, err error) {
		d, err := toDict(x)
		if err != nil {
			return t, err
		}
		if err := only(d, names...); err != nil {
			return t, err
		}
		for _, k := range keys {
			v, given := d[k.name]
			if !given && !k.required {
				continue
			}
			if err := k.set(&t, v); err != nil {
				return t, err
			}
		}
		return t, nil
	}}
}

// closed is the schema of an object that has the properties named and no other.
func closed() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{openapi.Map}, Properties: map[string]*openapi.Schema{}, Closed: true}
}

// routes takes extra routes or host routes; null means none.
// anyRoutes is a list of routes in which one may stand twice: Neutron takes the list of an action
// for a set.
func anyRoutes() value[[]model.HostRoute] {
	type route = model.HostRoute
	return nullable(listOf(object(
		key[route]{"destination", true, into(prefix(), func(r *route) *netip.Prefix { return &r.Destination })},
		key[route]{"nexthop", true, into(address(), func(r *route) *netip.Addr { return &r.NextHop })},
	), -1, ""))
}

func routes() value[[]model.HostRoute] {
	type route = model.HostRoute
	l := anyRoutes()
	return value[[]route]{l.takes, l.gives, func(x any) ([]route, error) {
		out, err := l.parse(x)
		seen := make(map[route]bool, len(out))
		for _, r := range out {
			if seen[r] {
				return nil, reasonf("Duplicate hostroute '{'destination': '%s', 'nexthop': '%s'}'", r.Destination, r.NextHop)
			}
			seen[r] = true
		}
		return out, err
	}}
}

// nothing takes the values that ask for nothing, of whatever type.
func nothing(refuse func(any) error) value[struct{}] {
	takes := openapi.Any(&openapi.Schema{Enum: []any{nil, false, "", []any{}, map[string]any{}}}, pattern(`^[Ff][Aa][Ll][Ss][Ee]$`))
	return value[struct{}]{takes, takes, func(x any) (none struct{}, err error) {
		switch x := x.(type) {
		case nil:
			return none, nil
		case bool:
			if !x {
				return none, nil
			}
		case string:
			if x == "" || strings.EqualFold(x, "false") {
				return none, nil
			}
		case []any:
			if len(x) == 0 {
				return none, nil
			}
		case map[string]any:
			if len(x) == 0 {
				return none, nil
			}
		}
		return none, refuse(x)
	}}
}

// constant is the schema of a value that never varies.
func constant(v any) *openapi.Schema {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("a constant that is no JSON: %v", err)) // of a table, at start
	}
	return &openapi.Schema{Enum: []any{json.RawMessage(b)}}
}
