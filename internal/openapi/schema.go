// Package openapi is the shape of an OpenAPI 3.1 document: plain data that
// encoding/json writes as the specification wants it, and nothing of what a
// particular API serves.
package openapi

import (
	"encoding/json"
	"slices"
)

// The names of JSON's types in a Schema.
const (
	Null    = "null"
	Boolean = "boolean"
	Integer = "integer"
	String  = "string"
	Array   = "array"
	Map     = "object"
)

// Schema is a JSON Schema of draft 2020-12, as far as a document here needs it.
// The zero Schema takes every value. Schemas are shared: never change one that
// somebody else made, copy it first.
type Schema struct {
	Ref         string `json:"$ref,omitempty"`
	Description string `json:"description,omitempty"`
	// Type is one of JSON's types, several where a value may be of either.
	Type Types `json:"type,omitempty"`
	// Enum are the values allowed, whatever their type.
	Enum    []any  `json:"enum,omitempty"`
	Format  string `json:"format,omitempty"`
	Pattern string `json:"pattern,omitempty"`
	// MinLength and MaxLength count characters.
	MinLength int    `json:"minLength,omitempty"`
	MaxLength int    `json:"maxLength,omitempty"`
	Minimum   *int64 `json:"minimum,omitempty"`
	Maximum   *int64 `json:"maximum,omitempty"`

	Items    *Schema `json:"items,omitempty"`
	MinItems int     `json:"minItems,omitempty"`
	MaxItems *int    `json:"maxItems,omitempty"`

	Properties map[string]*Schema `json:"properties,omitempty"`
	Required   []string           `json:"required,omitempty"`
	// Closed objects have no properties but those named.
	Closed bool `json:"-"`

	AnyOf []*Schema `json:"anyOf,omitempty"`
}

// MarshalJSON writes Closed as additionalProperties: false.
func (s Schema) MarshalJSON() ([]byte, error) {
	type plain Schema // without this method
	if !s.Closed {
		return json.Marshal(plain(s))
	}
	return json.Marshal(struct {
		plain
		AdditionalProperties bool `json:"additionalProperties"`
	}{plain: plain(s)})
}

// Types is written as a text where it has one element.
type Types []string

// MarshalJSON implements json.Marshaler.
func (t Types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// Of is the schema of a type.
func Of(types ...string) *Schema { return &Schema{Type: types} }

// OrNull takes null beside what s takes.
func OrNull(s *Schema) *Schema {
	if slices.Contains(s.Type, Null) {
		return s
	}
	if len(s.Type) > 0 && len(s.Enum) == 0 && s.Ref == "" {
		c := *s
		c.Type = append(append(Types{}, s.Type...), Null)
		return &c
	}
	return Any(s, Of(Null))
}

// Any takes what one of the schemas takes.
func Any(s ...*Schema) *Schema { return &Schema{AnyOf: s} }

// ListOf is the schema of a list; most < 0: of any length.
func ListOf(item *Schema, most int) *Schema {
	s := &Schema{Type: Types{Array}, Items: item}
	if most >= 0 {
		s.MaxItems = &most
	}
	return s
}

// Between is the schema of the integers from least to most.
func Between(least, most int64) *Schema {
	return &Schema{Type: Types{Integer}, Minimum: &least, Maximum: &most}
}
