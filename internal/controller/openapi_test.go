package controller

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/openapi/openapitest"
)

var theDescription = sync.OnceValues(func() (*openapitest.Checker, error) { return openapitest.New(Description()) })

// checkDescribed holds each call of each test here to the API's description.
func checkDescribed(t testing.TB, method, path string, request any, status int, reply []byte) {
	t.Helper()
	c, err := theDescription()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(method, path, string(b), status, reply); err != nil {
		t.Errorf("%s %s %.300s: %d %.300s: the description says otherwise: %v", method, path, b, status, reply, err)
	}
}

// TestDescription: the document printed is the one served.
func TestDescription(t *testing.T) {
	l := start(t, socketDir(t))
	var printed map[string]any
	if err := json.Unmarshal(Description(), &printed); err != nil {
		t.Fatal(err)
	}
	served := l.do("GET", "/openapi.json", nil, 200)
	for _, doc := range []m{printed, served} {
		if doc["paths"].(m)["/v2.0/ports/{id}/trace"] == nil || len(doc["paths"].(m)) != len(served["paths"].(m)) {
			t.Errorf("%d paths, %d served", len(doc["paths"].(m)), len(served["paths"].(m)))
		}
	}
}
