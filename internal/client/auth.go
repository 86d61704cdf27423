// Package client speaks to a site's API as the OpenStack clients do: it finds the
// API and the token by the OS_* variables and clouds.yaml through gophercloud, and
// reads and writes resources by name or id.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"go.yaml.in/yaml/v3"
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
	// Timeout bounds one request; 60 s if zero.
	Timeout time.Duration
}

// Client speaks to one site's API.
type Client struct {
	sc *gophercloud.ServiceClient
}

// errNoSite is what New says when nothing tells where the API is.
var errNoSite = errors.New("nothing says where the site's API is")

// noSiteError carries the way out.
type noSiteError struct{ error }

func (noSiteError) Hint() string {
	return "Give --endpoint http://127.0.0.1:9696, or set OS_AUTH_TYPE=none and OS_ENDPOINT,\n" +
		"or OS_CLOUD for clouds.yaml, or OS_AUTH_URL and the credentials of Keystone."
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
	if o.Endpoint != "" {
		return fixed(o.Endpoint, o.Token, nil, timeout)
	}
	if o.Cloud == "" {
		o.Cloud = env("OS_CLOUD")
	}
	if o.Cloud != "" {
		return fromClouds(ctx, o.Cloud, env, timeout)
	}
	tlsConfig, err := tlsFromEnv(env)
	if err != nil {
		return nil, err
	}
	switch t := env("OS_AUTH_TYPE"); t {
	case "none", "noauth":
		if env("OS_ENDPOINT") == "" {
			return nil, noSiteError{errors.New("OS_AUTH_TYPE=none needs OS_ENDPOINT")}
		}
		return fixed(env("OS_ENDPOINT"), "", tlsConfig, timeout)
	case "admin_token":
		if env("OS_ENDPOINT") == "" || env("OS_TOKEN") == "" {
			return nil, noSiteError{errors.New("OS_AUTH_TYPE=admin_token needs OS_ENDPOINT and OS_TOKEN")}
		}
		return fixed(env("OS_ENDPOINT"), env("OS_TOKEN"), tlsConfig, timeout)
	case "", "password", "v3password", "token", "v3token", "v3applicationcredential":
	default:
		return nil, fmt.Errorf("OS_AUTH_TYPE=%s: not one of none, admin_token, password, token, v3applicationcredential", t)
	}
	if env("OS_AUTH_URL") == "" {
		return nil, noSiteError{errNoSite}
	}
	return withKeystone(ctx, optionsFromEnv(env), gophercloud.EndpointOpts{
		Region: env("OS_REGION_NAME"), Availability: availability(env("OS_INTERFACE")),
	}, tlsConfig, timeout)
}

// fixed uses an API whose place is known, with a token or none. The OpenStack
// clients send "notused" where there is none.
func fixed(endpoint, token string, tlsConfig *tls.Config, timeout time.Duration) (*Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("endpoint %q: not a URL like http://127.0.0.1:9696", endpoint)
	}
	pc := &gophercloud.ProviderClient{}
	if token == "" {
		token = "notused"
	}
	pc.SetToken(token)
	pc.HTTPClient = httpClient(tlsConfig, timeout)
	pc.UserAgent.Prepend("causeway")
	base := gophercloud.NormalizeURL(strings.TrimSuffix(strings.TrimSuffix(endpoint, "/"), "/v2.0"))
	return &Client{&gophercloud.ServiceClient{
		ProviderClient: pc, Endpoint: base, ResourceBase: base + "v2.0/", Type: "network",
	}}, nil
}

func httpClient(tlsConfig *tls.Config, timeout time.Duration) http.Client {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
	}
	return http.Client{Transport: t, Timeout: timeout}
}

func withKeystone(ctx context.Context, ao gophercloud.AuthOptions, eo gophercloud.EndpointOpts, tlsConfig *tls.Config, timeout time.Duration) (*Client, error) {
	ao.AllowReauth = true
	pc, err := config.NewProviderClient(ctx, ao, config.WithHTTPClient(httpClient(tlsConfig, timeout)))
	if err != nil {
		return nil, fmt.Errorf("take a token at %s: %w", ao.IdentityEndpoint, explain(err))
	}
	pc.UserAgent.Prepend("causeway")
	sc, err := openstack.NewNetworkV2(pc, eo)
	if err != nil {
		return nil, fmt.Errorf("find the network service in the catalog of %s: %w", ao.IdentityEndpoint, err)
	}
	return &Client{sc}, nil
}

// optionsFromEnv reads an openrc of Identity v3. gophercloud's own reader does not
// know the separate domains of user and project that every openrc has.
func optionsFromEnv(env func(string) string) gophercloud.AuthOptions {
	first := func(names ...string) string {
		for _, n := range names {
			if v := env(n); v != "" {
				return v
			}
		}
		return ""
	}
	ao := gophercloud.AuthOptions{
		IdentityEndpoint: env("OS_AUTH_URL"),
		Username:         env("OS_USERNAME"),
		UserID:           first("OS_USER_ID", "OS_USERID"),
		Password:         env("OS_PASSWORD"),
		TokenID:          env("OS_TOKEN"),

		ApplicationCredentialID:     env("OS_APPLICATION_CREDENTIAL_ID"),
		ApplicationCredentialName:   env("OS_APPLICATION_CREDENTIAL_NAME"),
		ApplicationCredentialSecret: env("OS_APPLICATION_CREDENTIAL_SECRET"),
	}
	if ao.TokenID == "" && ao.ApplicationCredentialID == "" {
		ao.DomainID = first("OS_USER_DOMAIN_ID", "OS_DOMAIN_ID", "OS_DEFAULT_DOMAIN_ID")
		if ao.DomainID == "" {
			ao.DomainName = first("OS_USER_DOMAIN_NAME", "OS_DOMAIN_NAME", "OS_DEFAULT_DOMAIN_NAME", "OS_DEFAULT_DOMAIN")
		}
	}
	project, name := first("OS_PROJECT_ID", "OS_TENANT_ID"), first("OS_PROJECT_NAME", "OS_TENANT_NAME")
	switch {
	case ao.ApplicationCredentialSecret != "": // is scoped by itself
	case env("OS_SYSTEM_SCOPE") == "all":
		ao.Scope = &gophercloud.AuthScope{System: true}
	case project != "":
		ao.Scope = &gophercloud.AuthScope{ProjectID: project}
	case name != "":
		ao.Scope = &gophercloud.AuthScope{ProjectName: name, DomainID: first("OS_PROJECT_DOMAIN_ID", "OS_DOMAIN_ID", "OS_DEFAULT_DOMAIN_ID")}
		if ao.Scope.DomainID == "" {
			ao.Scope.DomainName = first("OS_PROJECT_DOMAIN_NAME", "OS_DOMAIN_NAME", "OS_DEFAULT_DOMAIN_NAME", "OS_DEFAULT_DOMAIN")
		}
	}
	return ao
}

func availability(iface string) gophercloud.Availability {
	switch strings.TrimSuffix(iface, "URL") {
	case "internal":
		return gophercloud.AvailabilityInternal
	case "admin":
		return gophercloud.AvailabilityAdmin
	}
	return gophercloud.AvailabilityPublic
}

func tlsFromEnv(env func(string) string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := env("OS_CACERT"); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("OS_CACERT: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OS_CACERT %s: no certificate in it", path)
		}
	}
	if cert, key := env("OS_CERT"), env("OS_KEY"); cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("OS_CERT, OS_KEY: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	switch strings.ToLower(env("OS_INSECURE")) {
	case "1", "true", "yes":
		c.InsecureSkipVerify = true
	}
	return c, nil
}

// fromClouds uses clouds.yaml. The kinds without Keystone, which openstacksdk
// knows and gophercloud does not, are read here.
func fromClouds(ctx context.Context, cloud string, env func(string) string, timeout time.Duration) (*Client, error) {
	path, fixedAuth, err := readCloud(cloud, env)
	if err != nil {
		return nil, err
	}
	if fixedAuth.Auth == nil {
		// clouds.Parse would follow a nil pointer.
		return nil, fmt.Errorf("%s: cloud %s has no auth section (an empty one, auth: {}, will do where secure.yaml has it all)", path, cloud)
	}
	// gophercloud itself would read the variables of the process.
	opts := []clouds.ParseOption{clouds.WithCloudName(cloud), clouds.WithRegion(env("OS_REGION_NAME")), clouds.WithEndpointType(env("OS_INTERFACE"))}
	if env("OS_CACERT") == "" && fixedAuth.CACert != "" {
		opts = append(opts, clouds.WithCACertPath(fixedAuth.CACert))
	}
	if path != "" {
		opts = append(opts, clouds.WithLocations(path))
	}
	ao, eo, tlsConfig, err := clouds.Parse(opts...)
	if err != nil {
		return nil, fmt.Errorf("clouds.yaml: %w", err)
	}
	switch fixedAuth.Type {
	case "none", "noauth":
		if fixedAuth.Auth.Endpoint == "" {
			return nil, fmt.Errorf("%s: cloud %s: auth_type none needs auth.endpoint", path, cloud)
		}
		return fixed(fixedAuth.Auth.Endpoint, "", tlsConfig, timeout)
	case "admin_token":
		if fixedAuth.Auth.Endpoint == "" || fixedAuth.Auth.Token == "" {
			return nil, fmt.Errorf("%s: cloud %s: auth_type admin_token needs auth.endpoint and auth.token", path, cloud)
		}
		return fixed(fixedAuth.Auth.Endpoint, fixedAuth.Auth.Token, tlsConfig, timeout)
	}
	return withKeystone(ctx, ao, eo, tlsConfig, timeout)
}

type cloudEntry struct {
	Type   string `yaml:"auth_type"`
	CACert string `yaml:"cacert"`
	Auth   *struct {
		Endpoint string `yaml:"endpoint"`
		Token    string `yaml:"token"`
	} `yaml:"auth"`
}

// readCloud finds clouds.yaml where openstacksdk looks for it.
func readCloud(cloud string, env func(string) string) (string, cloudEntry, error) {
	var places []string
	if p := env("OS_CLIENT_CONFIG_FILE"); p != "" {
		places = []string{p}
	} else {
		userConfig := env("XDG_CONFIG_HOME")
		if userConfig == "" {
			userConfig = filepath.Join(env("HOME"), ".config")
		}
		places = []string{"clouds.yaml", filepath.Join(userConfig, "openstack", "clouds.yaml"), "/etc/openstack/clouds.yaml"}
	}
	for _, p := range places {
		b, err := os.ReadFile(p)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", cloudEntry{}, fmt.Errorf("clouds.yaml: %w", err)
		}
		var doc struct {
			Clouds map[string]cloudEntry `yaml:"clouds"`
		}
		if err := yaml.Unmarshal(b, &doc); err != nil {
			return "", cloudEntry{}, fmt.Errorf("%s: %w", p, err)
		}
		e, ok := doc.Clouds[cloud]
		if !ok {
			return "", cloudEntry{}, notFound{what: "cloud", name: cloud, where: p}
		}
		return p, e, nil
	}
	return "", cloudEntry{}, fmt.Errorf("cloud %s: no clouds.yaml in %s", cloud, strings.Join(places, ", "))
}
