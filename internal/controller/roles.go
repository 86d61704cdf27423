package controller

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/revocation"
)

// operators says of a request's certificate who asks. Where tokens say it, certificates
// open the connection and no more.
func operators(byAuthority bool) func(*http.Request) (identity.Caller, error) {
	return func(r *http.Request) (identity.Caller, error) {
		refused := func(format string, args ...any) error {
			return model.Errf(model.KindForbidden, "CertificateRefused", format, args...)
		}
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return identity.Caller{}, refused("The API wants a certificate of the role %s.", identity.RoleOperator)
		}
		name, err := identity.Holder(r.TLS.VerifiedChains[0][0], identity.RoleOperator, byAuthority)
		if err != nil {
			return identity.Caller{}, refused("The API: %s. Show another certificate; see \"Roles of certificates\" in docs/configuration.md.", err)
		}
		return identity.Caller{UserID: name, UserName: name, Method: "certificate"}, nil
	}
}

// revokedLists say whose certificates were taken back, for each listener; nil: nobody's.
type revokedLists struct{ api, agents *revocation.List }

func loadRevoked(c config.Controller, log *slog.Logger) (r revokedLists, err error) {
	if c.APITLS.CRL != "" {
		if r.api, err = revocation.Load(c.APITLS.CRL, c.APITLS.CA, log); err != nil {
			return r, fmt.Errorf("--api-tls-crl: %w", err)
		}
	}
	if c.AgentTLS.CRL != "" {
		if r.agents, err = revocation.Load(c.AgentTLS.CRL, c.AgentTLS.CA, log); err != nil {
			return r, fmt.Errorf("--agent-tls-crl: %w", err)
		}
	}
	return r, nil
}

// look looks at the files now.
func (r revokedLists) look() {
	r.api.Look()
	r.agents.Look()
}

// vet refuses a request whose connection's certificate was revoked, also since the
// connection is open.
func (r revokedLists) vet(q *http.Request) error {
	if r.api == nil || q.TLS == nil || len(q.TLS.VerifiedChains) == 0 {
		return nil
	}
	if err := r.api.Check(q.TLS.VerifiedChains[0]); err != nil {
		return model.Errf(model.KindForbidden, "CertificateRevoked", "The API: %s. Show another certificate.", err)
	}
	return nil
}

// distinctAuthorities sees to it that no authority gives both roles to whatever it
// signs: where an authority gives a role, it is not among those of the other listener.
func distinctAuthorities(c config.Controller) error {
	if c.APIRole != config.RoleByCA && c.AgentRole != config.RoleByCA || c.APITLS.CA == "" || c.AgentTLS.CA == "" {
		return nil
	}
	api, err := certificatesIn(c.APITLS.CA)
	if err != nil {
		return fmt.Errorf("--api-tls-ca: %w", err)
	}
	agents, err := certificatesIn(c.AgentTLS.CA)
	if err != nil {
		return fmt.Errorf("--agent-tls-ca: %w", err)
	}
	for _, a := range api {
		for _, b := range agents {
			if bytes.Equal(a, b) {
				return fmt.Errorf("--api-tls-ca %s and --agent-tls-ca %s share an authority, so it cannot give roles: "+
					"have one authority for each, or put roles into the certificates and leave --api-tls-role and --agent-tls-role as they are",
					c.APITLS.CA, c.AgentTLS.CA)
			}
		}
	}
	return nil
}

func certificatesIn(path string) (out [][]byte, err error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return out, nil
		}
		if b.Type == "CERTIFICATE" {
			out = append(out, b.Bytes)
		}
	}
}
