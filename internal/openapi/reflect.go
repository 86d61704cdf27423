package openapi

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// Written describes what encoding/json writes of a T.
func Written[T any]() *Schema { return typeSchema(reflect.TypeFor[T](), true) }

// Read describes what encoding/json reads into a T: no field needs to be there.
func Read[T any]() *Schema { return typeSchema(reflect.TypeFor[T](), false) }

func typeSchema(t reflect.Type, written bool) *Schema {
	switch {
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return Of(String)
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		return &Schema{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return Of(Boolean)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return Of(Integer)
	case reflect.Float32, reflect.Float64:
		return Of("number")
	case reflect.String:
		return Of(String)
	case reflect.Pointer:
		return OrNull(typeSchema(t.Elem(), written))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return OrNull(Of(String)) // in base64
		}
		return OrNull(ListOf(typeSchema(t.Elem(), written), -1))
	case reflect.Array:
		return ListOf(typeSchema(t.Elem(), written), t.Len())
	case reflect.Map:
		return OrNull(Of(Map))
	case reflect.Struct:
		s := &Schema{Type: Types{Map}, Properties: map[string]*Schema{}, Closed: written}
		addFields(s, t, written)
		return s
	}
	return &Schema{}
}

// addFields adds the fields of t as encoding/json names them.
func addFields(s *Schema, t reflect.Type, written bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			addFields(s, f.Type, written)
			continue
		}
		if name == "" {
			name = f.Name
		}
		if s.Properties[name] = typeSchema(f.Type, written); !written {
			s.Properties[name] = OrNull(s.Properties[name]) // which encoding/json passes over
		}
		if written && !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			s.Required = append(s.Required, name)
		}
	}
}
