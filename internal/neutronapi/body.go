package neutronapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/causeway-net/causeway/internal/model"
)

const (
	// maxValues bounds the JSON values of a body: four thousand ports with all that
	// can be said of one are half of it. A value takes far more memory than its text:
	// an empty object of two bytes takes sixty, one with a key four hundred.
	maxValues = 200_000
	// maxDepth bounds how deep they are nested; a resource's are some five deep.
	maxDepth = 64
)

// ReadBody decodes a request's body, which must be one JSON object. Numbers stay
// json.Number. Large ones wait until there is room for them.
func ReadBody(r *http.Request) (map[string]any, error) {
	ctx, l := r.Context(), loadOf(r.Context())
	b, free, err := readBytes(r, l)
	defer func() { free() }()
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, badAttribute("Resource body required")
	}
	if !utf8.Valid(b) {
		return nil, malformed() // the decoder would put other text in its place
	}
	s := measure(b)
	switch {
	case s.depth > maxDepth:
		return nil, badAttribute("The request's body is nested more than %d deep.", maxDepth)
	case s.values > maxValues:
		return nil, model.Errf(model.KindTooLarge, "HTTPRequestEntityTooLarge", "The request's body has more than %d values.", maxValues)
	}
	if cost := s.cost(len(b)); cost > smallCost {
		if err := l.take(ctx, cost); err != nil {
			return nil, err
		}
	}
	if err := l.enter(ctx, s.values); err != nil {
		return nil, err
	}
	return decodeBody(b)
}

// readBytes reads a body. What is beyond smallBody is read when there is room for the
// whole; free gives the room back.
func readBytes(r *http.Request, l *load) (_ []byte, free func(), _ error) {
	free = func() {}
	length := r.ContentLength
	if length > l.limit {
		return nil, free, bodyTooLarge(l.limit)
	}
	var buf bytes.Buffer
	if length >= 0 && length <= smallBody {
		buf.Grow(int(length) + bytes.MinRead)
	}
	_, err := io.Copy(&buf, io.LimitReader(r.Body, smallBody+1))
	if err == nil && buf.Len() > smallBody {
		room := length
		if length < 0 { // nobody knows: as much as it may be
			room = l.limit
		}
		if free, err = roomFor(r.Context(), l, room); err != nil {
			return nil, func() {}, err
		}
		if length > 0 {
			buf.Grow(int(length) - buf.Len() + bytes.MinRead)
		}
		_, err = io.Copy(&buf, r.Body)
	}
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, free, bodyTooLarge(tooLarge.Limit)
		}
		return nil, free, badAttribute("The request's body could not be read.")
	}
	return buf.Bytes(), free, nil
}

func bodyTooLarge(limit int64) error {
	return model.Errf(model.KindTooLarge, "HTTPRequestEntityTooLarge", "The request's body is larger than %d bytes.", limit)
}

func roomFor(ctx context.Context, l *load, bytes int64) (func(), error) {
	free, err := l.g.bodies.Acquire(ctx, l.who, bytes)
	if err != nil {
		return nil, crowded(err)
	}
	return free, nil
}

func decodeBody(b []byte) (map[string]any, error) {
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

// size is what a text would become as JSON, counted without making anything of it. Of
// what is no JSON the decoder makes no more than that before it notices.
type size struct{ values, objects, depth int }

func measure(b []byte) (s size) {
	depth := 0
	s.values = 1
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if b[i] == '{' {
				s.objects++
			}
			s.values++ // what is in it first
			depth++
			s.depth = max(s.depth, depth)
		case '}', ']':
			depth--
		case ',':
			s.values++
		}
	}
	return s
}

// cost is about how many bytes of memory the values of a text take, beside the
// decoder's own copy.
func (s size) cost(text int) int64 {
	return int64(s.objects)*360 + int64(s.values)*48 + 3*int64(text)
}

// large tells whether a request's body is one to wait for room with.
func large(r *http.Request) bool { return r.ContentLength < 0 || r.ContentLength > smallBody }

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
