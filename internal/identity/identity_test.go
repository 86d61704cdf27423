package identity

import (
	"context"
	"testing"
)

func TestContext(t *testing.T) {
	if _, ok := From(context.Background()); ok {
		t.Error("a plain context has a caller")
	}
	ctx := With(context.Background(), Caller{UserID: "u", ProjectID: "p", Roles: []string{"member"}})
	c, ok := From(ctx)
	if !ok || c.UserID != "u" || c.ProjectID != "p" {
		t.Errorf("%+v, %v", c, ok)
	}
	if !c.HasRole("Member") || c.HasRole("admin") {
		t.Errorf("roles of %+v", c)
	}
}
