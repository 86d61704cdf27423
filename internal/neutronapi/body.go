package neutronapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/causeway-net/causeway/internal/model"
)

// ReadBody decodes a request's body, which must be one JSON object. Numbers stay
// json.Number.
func ReadBody(r *http.Request) (map[string]any, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, model.Errf(model.KindTooLarge, "HTTPRequestEntityTooLarge", "The request's body is larger than %d bytes.", tooLarge.Limit)
		}
		return nil, badAttribute("The request's body could not be read.")
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, badAttribute("Resource body required")
	}
	if !utf8.Valid(b) {
		return nil, malformed() // the decoder would put other text in its place
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, malformed()
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed()
	}
	switch v := v.(type) {
	case nil:
		return nil, badAttribute("Resource body required")
	case map[string]any:
		return v, nil
	}
	return nil, badAttribute("Resource body required")
}

func malformed() error {
	return model.Errf(model.KindInvalid, "MalformedRequestBody", "Malformed request body: Cannot understand JSON.")
}

// unwrap takes the attributes of one resource out of a body.
func unwrap(body map[string]any, name string) (map[string]any, error) {
	attrs, ok := body[name].(map[string]any)
	if !ok {
		return nil, badAttribute("Unable to find '%s' in request body", name)
	}
	return attrs, nil
}
