// Package client speaks to a site's API as the OpenStack clients do: it finds the
// API and the token by the OS_* variables and clouds.yaml, with gophercloud, and
// reads and writes resources by name or id.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"

	"github.com/causeway-net/causeway/internal/outbound"
)

// Options say where the API is. What is empty is taken from the environment.
type Options struct {
	// Endpoint is the API's root URL; with it no other authentication happens
	// than a token from Token.
	Endpoint string
	Token    string
	Cloud    string // a cloud of clouds.yaml (OS_CLOUD)
	// Getenv is os.Getenv if nil.
	Getenv func(string) string
	// KeyName says what the user knows a variable by, where Getenv gives what stands in a file;
	// nil: by its own name.
	KeyName func(string) string
	// Timeout bounds one request where the cloud has no api_timeout; 60 s if zero.
	Timeout time.Duration
	// TimeoutWins: it bounds one request whatever the cloud says.
	TimeoutWins bool
}

// Client speaks to one site's API.
type Client struct {
	sc      *gophercloud.ServiceClient
	timeout time.Duration
}

// misconfigured is what the user has to put right before anything can be asked.
type misconfigured struct {
	error
	hint string
}

func (e misconfigured) Unwrap() error { return e.error }
func (e misconfigured) Hint() string  { return e.hint }

// ExitCode is that of a wrong call.
func (misconfigured) ExitCode() int { return exitUsage }

func wrongf(format string, args ...any) error {
	return misconfigured{error: fmt.Errorf(format, args...)}
}

const envHint = "Give --endpoint http://127.0.0.1:9696, or set OS_AUTH_TYPE=none and OS_ENDPOINT,\n" +
	"or OS_CLOUD for clouds.yaml, or OS_AUTH_URL and the credentials of Keystone."

// access is all that says how a site is reached, and who asks.
type access struct {
	authType string
	auth     map[string]string // by the names that clouds.yaml has
	// override is the API's place where it is not the catalog that says it.
	override             string
	region, iface        string
	serviceType, service string // of the catalog; "network" and any
	tls                  tlsFiles
	// patience is how long the connection, the answer's begin, and each further piece of it are
	// waited for; 0: nothing says so.
	patience time.Duration
}

// New finds the API and, with Keystone, takes a token.
func New(ctx context.Context, o Options) (*Client, error) {
	env := o.Getenv
	if env == nil {
		env = os.Getenv
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	a, err := find(o, env)
	if err != nil {
		return nil, err
	}
	if o.TimeoutWins {
		a.patience = 0
	}
	return a.connect(ctx, max(timeout, wholePatience*a.patience))
}

// wholePatience bounds a whole request, in times of the patience for each part of it.
const wholePatience = 4

// find gathers the settings.
func find(o Options, env func(string) string) (access, error) {
	if o.Endpoint != "" {
		a := access{authType: authNone, auth: map[string]string{"endpoint": o.Endpoint, "token": o.Token}}
		if o.Token != "" {
			a.authType = authAdminToken
		}
		return a, nil
	}
	if o.Cloud == "" {
		o.Cloud = env("OS_CLOUD")
	}
	if o.Cloud != "" {
		return fromClouds(o.Cloud, env)
	}
	if o.KeyName == nil {
		return fromEnv(env, func(s string) string { return s }, envHint)
	}
	return fromEnv(env, o.KeyName, "")
}

// The kinds of authentication, as openstacksdk calls them.
const (
	authNone       = "none"
	authAdminToken = "admin_token"
	authPassword   = "password"
	authToken      = "token"
	authAppCred    = "v3applicationcredential"
)

// kindOf gives the kind by one of its names.
func kindOf(name string) (string, bool) {
	switch name {
	case "none", "noauth":
		return authNone, true
	case "admin_token", "token_endpoint":
		return authAdminToken, true
	case "password", "v3password":
		return authPassword, true
	case "token", "v3token":
		return authToken, true
	case "v3applicationcredential":
		return authAppCred, true
	}
	return "", false
}

// authKeys are the credentials and scopes that are understood.
var authKeys = []string{
	"auth_url", "endpoint", "token", "username", "user_id", "password", "user_domain_id", "user_domain_name",
	"project_id", "project_name", "project_domain_id", "project_domain_name", "domain_id", "domain_name",
	"default_domain_id", "default_domain_name", "system_scope", "trust_id",
	"application_credential_id", "application_credential_name", "application_credential_secret",
}

// fromEnv reads an openrc; key says what a variable is called where it was written.
func fromEnv(env, key func(string) string, hint string) (access, error) {
	a := access{auth: map[string]string{}, region: env("OS_REGION_NAME"), tls: tlsFiles{
		ca: env("OS_CACERT"), cert: env("OS_CERT"), key: env("OS_KEY"), insecure: slices.Contains([]string{"1", "true", "yes"}, strings.ToLower(env("OS_INSECURE"))),
	}}
	for _, k := range authKeys {
		a.auth[k] = env("OS_" + strings.ToUpper(k))
	}
	for new, old := range map[string]string{"user_id": "OS_USERID", "project_id": "OS_TENANT_ID", "project_name": "OS_TENANT_NAME", "default_domain_name": "OS_DEFAULT_DOMAIN"} {
		if a.auth[new] == "" {
			a.auth[new] = env(old)
		}
	}
	var err error
	if a.iface, err = interfaceOf(env("OS_INTERFACE")); err != nil {
		return a, wrongf("%s: %w", key("OS_INTERFACE"), err)
	}
	name := env("OS_AUTH_TYPE")
	kind, ok := kindOf(name)
	if name != "" && !ok {
		return a, wrongf("%s=%s: not one of none, admin_token, password, token, v3applicationcredential", key("OS_AUTH_TYPE"), name)
	}
	a.authType = kind
	switch {
	case kind == authNone && a.auth["endpoint"] == "":
		return a, misconfigured{fmt.Errorf("%s=none needs %s", key("OS_AUTH_TYPE"), key("OS_ENDPOINT")), hint}
	case kind == authAdminToken && (a.auth["endpoint"] == "" || a.auth["token"] == ""):
		return a, misconfigured{fmt.Errorf("%s=admin_token needs %s and %s", key("OS_AUTH_TYPE"), key("OS_ENDPOINT"), key("OS_TOKEN")), hint}
	case kind != authNone && kind != authAdminToken && a.auth["auth_url"] == "":
		return a, misconfigured{errors.New("nothing says where the site's API is"), hint}
	}
	return a, nil
}

// interfaceOf gives the interface of a catalog by one of its names; none is "public".
func interfaceOf(name string) (string, error) {
	switch s := strings.TrimSuffix(name, "URL"); s {
	case "":
		return "public", nil
	case "public", "internal", "admin":
		return s, nil
	}
	return "", fmt.Errorf("%q is not one of public, internal, admin", name)
}

// connect makes the client, and takes a token where one is to be taken.
func (a access) connect(ctx context.Context, timeout time.Duration) (*Client, error) {
	tlsConfig, err := a.tls.config()
	if err != nil {
		return nil, err
	}
	httpClient, guard := newHTTP(tlsConfig, timeout, a.patience)
	pc := &gophercloud.ProviderClient{HTTPClient: httpClient}
	sc := &gophercloud.ServiceClient{ProviderClient: pc, Type: "network"}
	switch a.authType {
	case authNone, authAdminToken:
		place := a.auth["endpoint"]
		if a.override != "" {
			place = a.override
		}
		u, err := parseURL("endpoint", place)
		if err != nil {
			return nil, err
		}
		// The OpenStack clients send "notused" where there is none.
		token := "notused"
		if a.authType == authAdminToken {
			token = a.auth["token"]
		}
		pc.SetToken(token)
		guard.Seal(u)
		sc.Endpoint = base(place)
	default:
		if pc, sc.Endpoint, err = a.logIn(ctx, httpClient, guard); err != nil {
			return nil, err
		}
		sc.ProviderClient = pc
	}
	pc.UserAgent.Prepend("causeway")
	sc.ResourceBase = sc.Endpoint + "v2.0/"
	return &Client{sc, timeout}, nil
}

// base is the API's root, with a slash at its end and no version.
func base(endpoint string) string {
	return gophercloud.NormalizeURL(strings.TrimSuffix(strings.TrimSuffix(endpoint, "/"), "/v2.0"))
}

func parseURL(what, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, wrongf("%s %q: not a URL like http://127.0.0.1:9696", what, s)
	}
	return u, nil
}

// logIn takes a token at Keystone and finds the API in its catalog. What begins with TLS goes on
// with it, and afterwards only the servers that were found are spoken to.
func (a access) logIn(ctx context.Context, h gopherHTTP, guard *outbound.Guard) (*gophercloud.ProviderClient, string, error) {
	where, err := parseURL("auth_url", a.auth["auth_url"])
	if err != nil {
		return nil, "", err
	}
	var override *url.URL
	if a.override != "" {
		if override, err = parseURL("network_endpoint_override", a.override); err != nil {
			return nil, "", err
		}
		guard.AllowPlain(override)
	}
	if where.Scheme == "https" {
		guard.Secure()
	}
	ao, err := a.options()
	if err != nil {
		return nil, "", err
	}
	pc, err := config.NewProviderClient(ctx, ao, config.WithHTTPClient(h))
	if err != nil {
		return nil, "", fmt.Errorf("take a token at %s: %w", ao.IdentityEndpoint, explainOf(keystone, err))
	}
	if override != nil {
		guard.Seal(override)
		return pc, base(a.override), nil
	}
	eo := gophercloud.EndpointOpts{Type: a.serviceType, Name: a.service, Region: a.region, Availability: gophercloud.Availability(a.iface)}
	sc, err := openstack.NewNetworkV2(pc, eo)
	if err != nil {
		return nil, "", a.notInCatalog(err)
	}
	found, err := parseURL("the catalog's endpoint", sc.Endpoint)
	if err != nil {
		return nil, "", err
	}
	guard.Seal(found)
	return pc, base(sc.Endpoint), nil
}

// notInCatalog says what was looked for.
func (a access) notInCatalog(err error) error {
	err = explain(err)
	var none gophercloud.ErrEndpointNotFound
	var nonePointer *gophercloud.ErrEndpointNotFound
	if !errors.As(err, &none) && !errors.As(err, &nonePointer) {
		return fmt.Errorf("find the network service in the catalog of %s: %w", a.auth["auth_url"], err)
	}
	what := a.iface + " endpoint of the network service"
	if a.region != "" {
		what += " in the region " + a.region
	}
	return misconfigured{fmt.Errorf("the catalog of %s has no %s", a.auth["auth_url"], what),
		"Check the region and the interface, or have the endpoint created: openstack endpoint list --service network"}
}

// options are gophercloud's of the credentials.
func (a access) options() (gophercloud.AuthOptions, error) {
	get := func(names ...string) string {
		for _, n := range names {
			if v := a.auth[n]; v != "" {
				return v
			}
		}
		return ""
	}
	ao := gophercloud.AuthOptions{IdentityEndpoint: a.auth["auth_url"], AllowReauth: true}
	kind := a.authType
	if kind == "" {
		kind = a.guess()
	}
	switch kind {
	case authToken:
		if ao.TokenID = get("token"); ao.TokenID == "" {
			return ao, wrongf("auth_type token needs a token")
		}
	case authAppCred:
		ao.ApplicationCredentialID, ao.ApplicationCredentialSecret = get("application_credential_id"), get("application_credential_secret")
		if ao.ApplicationCredentialID == "" {
			ao.ApplicationCredentialName = get("application_credential_name")
			a.user(&ao, get)
		}
		return ao, nil // is scoped by itself
	default:
		ao.Password = get("password")
		a.user(&ao, get)
	}
	var err error
	ao.Scope, err = a.scope(get)
	return ao, err
}

// guess is the kind that the credentials are for, where none is named.
func (a access) guess() string {
	switch {
	case a.auth["password"] != "":
		return authPassword
	case a.auth["application_credential_secret"] != "":
		return authAppCred
	case a.auth["token"] != "":
		return authToken
	}
	return authPassword
}

// user names the user: an id needs no domain.
func (access) user(ao *gophercloud.AuthOptions, get func(...string) string) {
	if ao.UserID = get("user_id"); ao.UserID != "" {
		return
	}
	ao.Username = get("username")
	if ao.DomainID = get("user_domain_id"); ao.DomainID != "" {
		return
	}
	if ao.DomainName = get("user_domain_name"); ao.DomainName != "" {
		return
	}
	if ao.DomainID = get("domain_id", "default_domain_id"); ao.DomainID == "" {
		ao.DomainName = get("domain_name", "default_domain_name")
	}
}

// scope is what the token is to be for; nil: what Keystone makes of the user.
func (access) scope(get func(...string) string) (*gophercloud.AuthScope, error) {
	project := get("project_id", "project_name") != ""
	domain := !project && get("domain_id", "domain_name") != ""
	system, trust := get("system_scope"), get("trust_id")
	n := 0
	for _, is := range []bool{project, domain, system != "", trust != ""} {
		if is {
			n++
		}
	}
	switch {
	case n > 1:
		return nil, wrongf("a token is for one of a project, a domain, a trust (trust_id) or the system (system_scope), and several are named")
	case system != "" && system != "all":
		return nil, wrongf("system_scope %q: only all is known", system)
	case system != "":
		return &gophercloud.AuthScope{System: true}, nil
	case trust != "":
		return &gophercloud.AuthScope{TrustID: trust}, nil
	case domain && get("domain_id") != "":
		return &gophercloud.AuthScope{DomainID: get("domain_id")}, nil
	case domain:
		return &gophercloud.AuthScope{DomainName: get("domain_name")}, nil
	case get("project_id") != "":
		return &gophercloud.AuthScope{ProjectID: get("project_id")}, nil
	case !project:
		return nil, nil
	}
	s := &gophercloud.AuthScope{ProjectName: get("project_name"), DomainID: get("project_domain_id")}
	if s.DomainID == "" {
		if s.DomainName = get("project_domain_name"); s.DomainName == "" {
			if s.DomainID = get("domain_id", "default_domain_id"); s.DomainID == "" {
				s.DomainName = get("domain_name", "default_domain_name")
			}
		}
	}
	return s, nil
}
