package keystone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
)

var (
	// errInvalid: Keystone does not know the token, or no longer.
	errInvalid = errors.New("token is not valid")
	// errAnswer: Keystone answers, and not what it should.
	errAnswer = errors.New("unexpected answer")
	// errCredentials: Keystone does not know the service user, or does not let it
	// validate tokens.
	errCredentials = errors.New("the service user is refused")
)

// maxAnswer bounds Keystone's answers, in bytes.
const maxAnswer = 1 << 20

// client speaks Identity API v3, as the service user.
type client struct {
	base string // ends in /v3
	http *http.Client
	auth []byte // body of the service user's own authentication

	// lock, with room for one, is held while token is looked at or made anew; who waits
	// for it can give up.
	lock  chan struct{}
	token string // the service user's
}

func newClient(o Options) (*client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the http or https URL of a Keystone", o.URL)
	}
	base := strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/")
	if !strings.HasSuffix(base, "/v3") {
		base += "/v3"
	}
	type domain struct {
		Name string `json:"name"`
	}
	auth := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": o.User, "domain": domain{o.UserDomain}, "password": o.Password},
		}},
		"scope": map[string]any{"project": map[string]any{"name": o.Project, "domain": domain{o.ProjectDomain}}},
	}}
	body, err := json.Marshal(auth)
	if err != nil {
		return nil, err
	}
	c := &client{base: base, http: o.HTTP, auth: body, lock: make(chan struct{}, 1)}
	if c.http == nil {
		c.http = &http.Client{}
	}
	// A redirect would take tokens and the password to another server.
	h := *c.http
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &h
	return c, nil
}

// validate asks about a token. The service user's own may have ended, or been
// revoked: then it is made anew, once.
func (c *client) validate(ctx context.Context, token string) (identity.Caller, error) {
	own, err := c.serviceToken(ctx, "")
	if err != nil {
		return identity.Caller{}, err
	}
	who, status, err := c.question(ctx, own, token)
	if err == nil && status == http.StatusUnauthorized {
		if own, err = c.serviceToken(ctx, own); err != nil {
			return identity.Caller{}, err
		}
		who, status, err = c.question(ctx, own, token)
	}
	if err != nil {
		return identity.Caller{}, err
	}
	switch status {
	case http.StatusOK:
		return who, nil
	case http.StatusNotFound:
		return identity.Caller{}, errInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		// Of the service user, or of this token alone: Keystone says so too of one by a
		// trust whose maker has lost the role.
		return identity.Caller{}, fmt.Errorf("validate a token: status %d: %w (%w)", status, errCredentials, errAnswer)
	}
	return identity.Caller{}, fmt.Errorf("validate a token: status %d: %w", status, errAnswer)
}

// answer is what Keystone says of a token.
type answer struct {
	Token struct {
		ExpiresAt time.Time `json:"expires_at"`
		User      struct {
			ID, Name string
			Domain   struct{ ID string }
		}
		Project *struct {
			ID, Name string
			Domain   struct{ ID string }
		}
		System *struct{ All bool }
		Roles  []struct{ Name string }
	}
}

// question is GET /v3/auth/tokens. Keystone keeps back tokens of application
// credentials with access rules, unless the header OpenStack-Identity-Access-Rules
// says that the asker applies them; it is not sent, so those tokens are refused.
func (c *client) question(ctx context.Context, own, token string) (identity.Caller, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/auth/tokens?nocatalog", nil)
	if err != nil {
		return identity.Caller{}, 0, err
	}
	req.Header.Set("X-Auth-Token", own)
	req.Header.Set("X-Subject-Token", token)
	req.Header.Set("Accept", "application/json")
	status, _, body, err := c.do(req)
	if err != nil || status != http.StatusOK {
		return identity.Caller{}, status, err
	}
	who, err := callerOf(body)
	return who, status, err
}

// callerOf reads Keystone's answer.
func callerOf(body []byte) (identity.Caller, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return identity.Caller{}, fmt.Errorf("validate a token: the answer is not JSON of a token: %w", errAnswer)
	}
	t := a.Token
	if t.User.ID == "" || t.ExpiresAt.IsZero() {
		return identity.Caller{}, fmt.Errorf("validate a token: the answer names no user or no end: %w", errAnswer)
	}
	who := identity.Caller{
		UserID: t.User.ID, UserName: t.User.Name, UserDomainID: t.User.Domain.ID,
		Method: "keystone", Expires: t.ExpiresAt, System: t.System != nil && t.System.All,
	}
	if t.Project != nil {
		who.ProjectID, who.ProjectName, who.ProjectDomainID = model.ProjectID(t.Project.ID), t.Project.Name, t.Project.Domain.ID
	}
	for _, r := range t.Roles {
		who.Roles = append(who.Roles, r.Name)
	}
	return who, nil
}

// serviceToken is the service user's token; another one than old.
func (c *client) serviceToken(ctx context.Context, old string) (string, error) {
	select {
	case c.lock <- struct{}{}:
		defer func() { <-c.lock }()
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the service user's token: %w", context.Cause(ctx))
	}
	if c.token != old {
		return c.token, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/auth/tokens?nocatalog", bytes.NewReader(c.auth))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	status, header, _, err := c.do(req)
	if err != nil {
		return "", err
	}
	token := header.Get("X-Subject-Token")
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "", fmt.Errorf("authenticate: status %d: %w", status, errCredentials)
	case status != http.StatusCreated || token == "":
		return "", fmt.Errorf("authenticate: status %d: %w", status, errAnswer)
	}
	c.token = token
	return token, nil
}

func (c *client) do(req *http.Request) (int, http.Header, []byte, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	return res.StatusCode, res.Header, body, nil
}
