package client

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
)

// TestNoNewToken: an account that Keystone no longer knows does not make the resource of
// the request one that does not exist.
func TestNoNewToken(t *testing.T) {
	gone := gophercloud.ErrUnexpectedResponseCode{Actual: http.StatusNotFound, Body: []byte(`{"error":{"code":404,"message":"Could not find Application Credential: x.","title":"Not Found"}}`)}
	err := explain(&gophercloud.ErrUnableToReauthenticate{ErrOriginal: gone, ErrReauth: gone})
	var code interface{ ExitCode() int }
	if IsNotFound(err) || !strings.Contains(err.Error(), "take a new token: Could not find Application Credential: x. (Unauthorized, HTTP 401)") {
		t.Errorf("%v, not found: %v", err, IsNotFound(err))
	}
	if !errors.As(err, &code) || code.ExitCode() != 1 {
		t.Errorf("exit code of %v", err)
	}
}
