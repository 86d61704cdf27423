package neutronapi

import (
	"context"
	"net/http"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
)

// Authenticator says who asks. Both methods may be called from many goroutines.
type Authenticator interface {
	// Authenticate reads a request's credentials. An error of
	// model.KindUnauthenticated says that they are missing or not valid.
	Authenticate(*http.Request) (identity.Caller, error)
	// Challenge is the WWW-Authenticate header of a 401.
	Challenge() string
}

// public are the paths that say nothing of the site, so that clients can read them
// before they have a token.
func public(r *http.Request) bool {
	return isPublic(r.Method, r.URL.Path)
}

func isPublic(method, path string) bool {
	switch path {
	case "/", descriptionPath:
		return method == http.MethodGet || method == http.MethodHead
	}
	return false
}

// Recognizer is an Authenticator that knows some callers without asking anybody.
type Recognizer interface {
	Recognize(*http.Request) (identity.Caller, bool)
}

// recognize finds out who asks, where that costs nothing.
func (a *API) recognize(r *http.Request) (identity.Caller, bool) {
	if known, ok := a.auth.(Recognizer); ok && !public(r) {
		return known.Recognize(r)
	}
	return identity.Caller{}, false
}

// identify puts whoever asks into the request's context.
func (a *API) identify(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	c := identity.Caller{Method: "none"}
	if a.auth == nil && a.certs != nil && !public(r) {
		var err error
		if c, err = a.certs(r); err != nil {
			return r, err
		}
	}
	c.ProjectID, c.Admin = a.project, true
	if a.auth != nil {
		if public(r) {
			return r, nil
		}
		var err error
		if c, err = a.auth.Authenticate(r); err != nil {
			return r, err
		}
	}
	return a.identified(w, r, c), nil
}

func (a *API) identified(w http.ResponseWriter, r *http.Request, c identity.Caller) *http.Request {
	c.RequestID = w.Header().Get(requestIDHeader)
	ctx := identity.With(r.Context(), c)
	if a.auth != nil {
		ctx = context.WithValue(ctx, deciderKey{}, a.policy().For(c))
	}
	return r.WithContext(ctx)
}

// ownerOf is the project that owns what a request creates, unless it says another.
func ownerOf(r *http.Request) model.ProjectID {
	c, _ := identity.From(r.Context())
	return c.ProjectID
}

// writeUnauthenticated answers as Keystone's middleware does.
func (a *API) writeUnauthenticated(w http.ResponseWriter) {
	if a.auth != nil {
		w.Header().Set("WWW-Authenticate", a.auth.Challenge())
	}
	a.WriteJSON(w, http.StatusUnauthorized, map[string]any{"error": map[string]any{
		"code": http.StatusUnauthorized, "title": "Unauthorized",
		"message": "The request you have made requires authentication.",
	}})
}
