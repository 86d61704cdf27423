package neutronapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi/openapitest"
)

// descriptions are the checkers by document: few servers differ in theirs.
var descriptions sync.Map

// described is the checker of the server's own description.
func (s *server) described() *openapitest.Checker {
	s.t.Helper()
	if s.checker == nil {
		doc := s.h.(*neutronapi.API).Description()
		c, ok := descriptions.Load(string(doc))
		if !ok {
			made, err := openapitest.New(doc)
			if err != nil {
				s.t.Fatal(err)
			}
			c, _ = descriptions.LoadOrStore(string(doc), made)
		}
		s.checker = c.(*openapitest.Checker)
	}
	return s.checker
}

// checkDescribed is part of every call of every test here.
func (s *server) checkDescribed(method, path, request string, status int, reply []byte) {
	s.t.Helper()
	if err := s.described().Check(method, path, request, status, reply); err != nil {
		s.t.Errorf("%s %s %.300s: %d %.300s: the description says otherwise: %v", method, path, request, status, reply, err)
	}
}

// TestDescriptionIsOpenAPI has the document read by a validator of others, which
// holds it to the specification.
func TestDescriptionIsOpenAPI(t *testing.T) {
	s := newServer(t)
	status, doc := s.call("GET", "/openapi.json", "")
	if status != http.StatusOK {
		t.Fatalf("GET /openapi.json: %d", status)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d, err := libopenapi.NewDocument(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.BuildV3Model(); err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(d)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, problems := v.ValidateDocument(); !ok {
		for _, p := range problems {
			t.Errorf("%s: %s", p.Message, p.Reason)
			for _, e := range p.SchemaValidationErrors {
				t.Errorf("  %s: %s", e.FieldPath, e.Reason)
			}
		}
	}
	if doc["openapi"] != "3.1.0" {
		t.Errorf("openapi: %v", doc["openapi"])
	}
}

// TestDescriptionIsWhole asks for everything described; nothing is described that
// is not there, and operations have names of their own.
func TestDescriptionIsWhole(t *testing.T) {
	s := newServer(t)
	d := s.described()
	names := map[string]bool{}
	for path, item := range d.Paths {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			real := strings.NewReplacer("{id}", "3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f", "{device}", "x", "{tag}", "t", "{alias}", "router").Replace(path)
			if strings.Contains(real, "{") {
				t.Errorf("%s: a parameter without a value here", path)
			}
			status, out := s.call(method, real, "")
			op, described := item[strings.ToLower(method)].(map[string]any)
			if described != (status != http.StatusMethodNotAllowed) {
				t.Errorf("%s %s: described: %v, answered with %d", method, path, described, status)
			}
			if e, _ := out["NeutronError"].(map[string]any); e["type"] == "HTTPNotFound" {
				t.Errorf("%s %s is not there: %v", method, path, out)
			}
			if described {
				name, _ := op["operationId"].(string)
				if name == "" || names[name] || op["summary"] == "" {
					t.Errorf("%s %s: operation %q is without a name of its own or a summary", method, path, name)
				}
				names[name] = true
			}
		}
	}
	if len(names) < 60 {
		t.Errorf("%d operations", len(names))
	}
}
