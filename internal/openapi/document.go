package openapi

import (
	"encoding/json"
	"strconv"
)

// Version is the version of the specification that documents here follow.
const Version = "3.1.0"

// Document is the root.
type Document struct {
	OpenAPI    string                `json:"openapi"`
	Info       Info                  `json:"info"`
	Servers    []Server              `json:"servers"`
	Security   []SecurityRequirement `json:"security,omitempty"`
	Tags       []Tag                 `json:"tags,omitempty"`
	Paths      map[string]*PathItem  `json:"paths"`
	Components Components            `json:"components"`
}

// Info says what is described.
type Info struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	Version     string `json:"version"`
}

// Server is where the paths begin, relative to where the document was read.
type Server struct {
	URL string `json:"url"`
}

// SecurityRequirement names schemes of Components; the empty one asks for none.
type SecurityRequirement map[string][]string

// Tag is a group of operations.
type Tag struct {
	Name string `json:"name"`
}

// PathItem is a path.
type PathItem struct {
	Parameters []Parameter `json:"parameters,omitempty"`
	Get        *Operation  `json:"get,omitempty"`
	Put        *Operation  `json:"put,omitempty"`
	Post       *Operation  `json:"post,omitempty"`
	Delete     *Operation  `json:"delete,omitempty"`
}

// Operation is a method of a path.
type Operation struct {
	OperationID string               `json:"operationId"`
	Summary     string               `json:"summary"`
	Tags        []string             `json:"tags,omitempty"`
	Parameters  []Parameter          `json:"parameters,omitempty"`
	RequestBody *RequestBody         `json:"requestBody,omitempty"`
	Responses   map[string]*Response `json:"responses"`
	// Security replaces the document's, where it is not nil.
	Security []SecurityRequirement `json:"security,omitempty"`
}

// The places of a Parameter.
const (
	InPath   = "path"
	InQuery  = "query"
	InHeader = "header"
)

// Parameter is a part of a request that is not its body. A list in a query is
// given by repeating the parameter.
type Parameter struct {
	Name        string  `json:"name"`
	In          string  `json:"in"`
	Description string  `json:"description,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Schema      *Schema `json:"schema"`
}

// RequestBody is a request's body in JSON.
type RequestBody struct {
	Required bool    `json:"required"`
	Content  Content `json:"content"`
}

// Content is a body in JSON.
type Content struct{ Schema *Schema }

// MarshalJSON writes the only media type there is.
func (c Content) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"application/json": map[string]any{"schema": c.Schema}})
}

// Response is an answer: with a body, or with Ref to one of Components.
type Response struct {
	Ref         string            `json:"$ref,omitempty"`
	Description string            `json:"description,omitempty"`
	Headers     map[string]Header `json:"headers,omitempty"`
	Content     *Content          `json:"content,omitempty"`
}

// Header is a header of an answer.
type Header struct {
	Description string  `json:"description,omitempty"`
	Schema      *Schema `json:"schema"`
}

// Components are what the rest refers to.
type Components struct {
	Schemas         map[string]*Schema        `json:"schemas,omitempty"`
	Responses       map[string]*Response      `json:"responses,omitempty"`
	SecuritySchemes map[string]SecurityScheme `json:"securitySchemes,omitempty"`
}

// SecurityScheme is a way to show who asks: here a header.
type SecurityScheme struct {
	Type        string `json:"type"`
	Description string `json:"description,omitempty"`
	Name        string `json:"name"`
	In          string `json:"in"`
}

// Ref is a schema of Components.
func Ref(name string) *Schema { return &Schema{Ref: "#/components/schemas/" + name} }

// Status is the key of a response.
func Status(code int) string { return strconv.Itoa(code) }
