// Package openapitest holds requests and their answers to an OpenAPI document, as a
// client that was made from it would: tests of an API check every call by it.
package openapitest

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Checker is a document that has been read. Many goroutines may use it.
type Checker struct {
	// Paths are the items of the paths, as encoding/json reads them.
	Paths map[string]map[string]any

	compiler *jsonschema.Compiler
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

// New reads a document in JSON.
func New(document []byte) (*Checker, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, err
	}
	c := &Checker{Paths: map[string]map[string]any{}, compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	root, _ := doc.(map[string]any)
	paths, _ := root["paths"].(map[string]any)
	for path, item := range paths {
		c.Paths[path], _ = item.(map[string]any)
	}
	return c, c.compiler.AddResource("openapi.json", doc)
}

// route finds the path of the description that a request's path is of; one that is
// written out goes before one with a parameter.
func (c *Checker) route(path string) (string, bool) {
	path, _, _ = strings.Cut(path, "?")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	if path != "/openapi.json" {
		path = strings.TrimSuffix(path, ".json")
	}
	if _, ok := c.Paths[path]; ok {
		return path, true
	}
	have := strings.Split(path, "/")
	for template := range c.Paths {
		want := strings.Split(template, "/")
		if len(want) == len(have) && slices.EqualFunc(want, have, func(w, h string) bool { return w == h || strings.HasPrefix(w, "{") && h != "" }) {
			return template, true
		}
	}
	return "", false
}

// validate holds a body to the schema at a JSON pointer.
func (c *Checker) validate(pointer string, body []byte) error {
	c.mu.Lock()
	s := c.compiled[pointer]
	if s == nil {
		var err error
		if s, err = c.compiler.Compile("openapi.json#" + pointer); err != nil {
			c.mu.Unlock()
			return err
		}
		c.compiled[pointer] = s
	}
	c.mu.Unlock()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func escape(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// Check holds a request that was answered, and its answer, to the description.
func (c *Checker) Check(method, path, request string, status int, reply []byte) error {
	route, ok := c.route(path)
	if !ok {
		switch status {
		case http.StatusNotFound:
			return c.validate("/components/responses/Error/content/application~1json/schema", reply)
		case http.StatusUnauthorized:
			return c.validate("/components/responses/Unauthenticated/content/application~1json/schema", reply)
		}
		return fmt.Errorf("%d of a path that is not described", status)
	}
	op, ok := c.Paths[route][strings.ToLower(method)].(map[string]any)
	if !ok {
		if status != http.StatusMethodNotAllowed && status != http.StatusUnauthorized {
			return fmt.Errorf("%d of a method that is not described", status)
		}
		return nil
	}
	at := "/paths/" + escape(route) + "/" + strings.ToLower(method)
	responses := op["responses"].(map[string]any)
	key := fmt.Sprint(status)
	if responses[key] == nil {
		key = fmt.Sprintf("%dXX", status/100)
	}
	response, ok := responses[key].(map[string]any)
	if !ok {
		return fmt.Errorf("%d is not described", status)
	}
	pointer := at + "/responses/" + key
	if ref, ok := response["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
		response = map[string]any{"content": true}
	}
	if (response["content"] != nil) != (len(reply) > 0) {
		return fmt.Errorf("%d with %d bytes, described: %v", status, len(reply), response["content"] != nil)
	}
	if len(reply) > 0 {
		if err := c.validate(pointer+"/content/application~1json/schema", reply); err != nil {
			return fmt.Errorf("the reply: %w", err)
		}
	}
	if op["requestBody"] != nil && status < 300 {
		if err := c.validate(at+"/requestBody/content/application~1json/schema", []byte(request)); err != nil {
			return fmt.Errorf("the request was taken: %w", err)
		}
	}
	return nil
}
