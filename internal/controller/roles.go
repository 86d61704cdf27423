package controller

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
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
