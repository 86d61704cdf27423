package model

import (
	"errors"
	"fmt"
)

// ErrorKind sorts errors by what the caller can do about them. The API maps each
// to an HTTP status.
type ErrorKind uint8

const (
	KindInternal        ErrorKind = iota // a defect: 500
	KindInvalid                          // the request is wrong in itself: 400
	KindNotFound                         // what it names does not exist: 404
	KindConflict                         // it contradicts other resources: 409
	KindForbidden                        // the caller may not: 403
	KindUnsupported                      // it asks for what does not exist here: 400
	KindUnavailable                      // try again later: 503
	KindPrecondition                     // If-Match does not hold: 412
	KindTooLarge                         // beyond a stated limit: 413
	KindUnauthenticated                  // nobody knows who asks: 401
	KindTooMany                          // the client asks too often: 429
)

// Error is a domain error: Type is the Neutron exception name that clients know
// (NetworkNotFound, IpAddressAlreadyAllocated …), Message the text for people.
type Error struct {
	Kind    ErrorKind
	Type    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// Errf makes an Error.
func Errf(kind ErrorKind, typ, format string, args ...any) *Error {
	return &Error{Kind: kind, Type: typ, Message: fmt.Sprintf(format, args...)}
}

// KindOf is err's kind; KindInternal for errors that are not of the domain.
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}
