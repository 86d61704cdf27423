package neutronapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

// statusOf is the one place where kinds of errors become HTTP status codes.
var statusOf = map[model.ErrorKind]int{
	model.KindInternal:        http.StatusInternalServerError,
	model.KindInvalid:         http.StatusBadRequest,
	model.KindNotFound:        http.StatusNotFound,
	model.KindConflict:        http.StatusConflict,
	model.KindForbidden:       http.StatusForbidden,
	model.KindUnauthenticated: http.StatusUnauthorized,
	model.KindUnsupported:     http.StatusBadRequest,
	model.KindTooMany:         http.StatusTooManyRequests,
	model.KindUnavailable:     http.StatusServiceUnavailable,
	model.KindPrecondition:    http.StatusPreconditionFailed,
	model.KindTooLarge:        http.StatusRequestEntityTooLarge,
}

// errMethod is the 405, which no domain error has.
var errMethod = &model.Error{Kind: model.KindInvalid, Type: "HTTPMethodNotAllowed", Message: "The method is not allowed for the requested resource."}

func errNoURL() error {
	return model.Errf(model.KindNotFound, "HTTPNotFound", "The resource could not be found.")
}

// badAttribute is an error of attribute validation, in Neutron's words.
func badAttribute(format string, args ...any) error {
	return model.Errf(model.KindInvalid, "HTTPBadRequest", format, args...)
}

// reason is why a value is refused; the engine puts the attribute's name to it.
type reason string

func (r reason) Error() string { return string(r) }

func reasonf(format string, args ...any) error { return reason(fmt.Sprintf(format, args...)) }

// named puts the attribute's name to a reason; other errors stay.
func named(attr string, err error) error {
	var r reason
	if errors.As(err, &r) {
		return badAttribute("Invalid input for %s. Reason: %s.", attr, string(r))
	}
	return err
}

type errorBody struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Detail  string `json:"detail"`
}

// WriteError answers with the Neutron error body for err. Errors that are not of
// the domain are logged and told as an internal error only.
func (a *API) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	var e *model.Error
	if !errors.As(err, &e) {
		switch {
		case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
			// net/http says so where the client has closed its side; nobody may be
			// there to read this.
			e = model.Errf(model.KindInvalid, "RequestCanceled", "The client ended the request before it was answered.")
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			e = model.Errf(model.KindUnavailable, "ServiceUnavailable", "The request was not finished in time.")
		default:
			a.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "request_id", w.Header().Get(requestIDHeader), "error", err)
			e = model.Errf(model.KindInternal, "HTTPInternalServerError", "Request Failed: internal server error while processing your request.")
		}
	}
	status, known := statusOf[e.Kind]
	if !known {
		status = http.StatusInternalServerError
	}
	if e == errMethod {
		status = http.StatusMethodNotAllowed
	}
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		retryAfter(w.Header(), time.Second)
	}
	if e.Kind == model.KindUnauthenticated {
		a.writeUnauthenticated(w)
		return
	}
	a.WriteJSON(w, status, map[string]errorBody{"NeutronError": {e.Type, e.Message, ""}})
}

// WriteJSON answers with v.
func (a *API) WriteJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		a.log.Error("encode a reply", "error", err)
		status, b = http.StatusInternalServerError, []byte(`{"NeutronError":{"type":"HTTPInternalServerError","message":"Request Failed: internal server error while processing your request.","detail":""}}`)
	}
	a.writeBody(w, status, b)
}

func (a *API) writeBody(w http.ResponseWriter, status int, b []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	if rec, ok := w.(*recorder); ok {
		rec.load.done() // who reads slowly holds up nobody
	}
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client has gone if this fails
}
