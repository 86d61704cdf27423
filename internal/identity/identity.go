// Package identity says who asks: the Caller that an authenticator makes of a
// request's credentials, and that the request's context carries from then on. It
// decides nothing; package policy says what a Caller may do.
package identity

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

// Caller is whoever asks. Its values are those of the credentials, never of the
// request's body.
type Caller struct {
	UserID       string
	UserName     string
	UserDomainID string
	// ProjectID is the project that the credentials are for: it owns what the
	// Caller creates. Empty where they are for no project.
	ProjectID       model.ProjectID
	ProjectName     string
	ProjectDomainID string
	// Roles are the names of the Caller's roles in that project.
	Roles []string
	// System tells that the credentials are for the whole cloud, not for a project.
	System bool
	// Admin is set where nobody authenticates, so that everybody is an admin. An
	// authenticated Caller is an admin by the policy's rule context_is_admin.
	Admin bool
	// Method says how the Caller was recognized, for the log: "none", "certificate",
	// "keystone".
	Method string
	// Expires is when the credentials end; zero: never.
	Expires time.Time
	// RequestID is that of the request.
	RequestID string
}

// HasRole compares as Keystone does, without regard to case.
func (c Caller) HasRole(role string) bool {
	return slices.ContainsFunc(c.Roles, func(r string) bool { return strings.EqualFold(r, role) })
}

type contextKey struct{}

// With makes a context that carries the Caller.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// From is the Caller that ctx carries. Without one the process itself is at work,
// and not for anybody.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(contextKey{}).(Caller)
	return c, ok
}
