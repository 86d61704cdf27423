package client

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// access reads the settings that say how the network API is reached and who asks.
func (c cloudEntry) access() (access, error) {
	top, err := underscored(c)
	if err != nil {
		return access{}, err
	}
	// Older names.
	for k, v := range top {
		if old, ok := strings.CutSuffix(k, "endpoint_type"); ok {
			top[old+"interface"] = v
			delete(top, k)
		}
	}
	r := &settings{top: top}
	a := access{authType: r.kind()}
	a.auth = r.auth(a.authType)
	if err := r.refuse(); err != nil {
		return a, err
	}
	a.region = r.service("region_name")
	if a.region == "" {
		a.region = r.text("region_name")
	}
	a.serviceType, a.service = r.service("service_type"), r.service("service_name")
	iface := r.service("interface")
	if iface == "" {
		iface = r.text("interface")
	}
	if a.iface, err = interfaceOf(iface); err != nil {
		r.failf("interface %w", err)
	}
	if a.override = r.service("endpoint_override"); a.override == "" {
		a.override = r.service("endpoint")
	}
	if v := r.service("api_version"); v != "" && v != "2" && v != "2.0" {
		r.failf("network_api_version %s: it is 2.0 here", v)
	}
	a.tls, a.patience = r.tls(), r.patience()
	r.places(&a)
	return a, r.err
}

// settings reads values, and remembers the first that it cannot take.
type settings struct {
	top map[string]any
	err error
}

func (r *settings) failf(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// service is a setting for the network service.
func (r *settings) service(key string) string { return r.text("network_" + key) }

func (r *settings) text(key string) string { return r.braces(key, r.textOf(key, r.top[key])) }

// braces puts in what a text names in braces: another setting, as Python's str.format does.
func (r *settings) braces(key, text string) string {
	var out strings.Builder
	for rest := text; rest != ""; {
		at := strings.IndexAny(rest, "{}")
		if at < 0 {
			out.WriteString(rest)
			break
		}
		out.WriteString(rest[:at])
		if double := rest[at : at+1]; strings.HasPrefix(rest[at+1:], double) {
			out.WriteString(double)
			rest = rest[at+2:]
			continue
		}
		name, after, closed := strings.Cut(rest[at+1:], "}")
		v, ok := r.top[name].(string)
		if rest[at] == '}' || !closed || !ok || strings.ContainsAny(v, "{}") {
			r.failf("%s %s: there is no setting for what stands in braces", key, text)
			return text
		}
		out.WriteString(v)
		rest = after
	}
	return out.String()
}

func (r *settings) textOf(key string, v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		r.failf("%s: wanted a text, not %v", key, v)
	case unclear:
		r.failf("%s: %s is a number in YAML, which is not what is written: put it in quotes", key, string(v))
	default:
		r.failf("%s: wanted a text", key)
	}
	return ""
}

// patience is how long an answer is waited for, by api_timeout; 0: nothing says so. Any other key
// that ends in timeout is an older name of it, but for timeout itself, which openstacksdk does not heed.
func (r *settings) patience() time.Duration {
	said, by := r.top["api_timeout"], "api_timeout"
	older := ""
	for _, k := range slices.Sorted(keysOf(r.top)) {
		if !strings.HasSuffix(k, "timeout") || k == "timeout" || k == "api_timeout" {
			continue
		}
		v := r.top[k]
		if older != "" && !reflect.DeepEqual(v, r.top[older]) {
			r.failf("%s and %s say different things, and there is one timeout for all: name api_timeout alone", older, k)
			return 0
		}
		older = k
		if v != nil {
			said, by = v, k
		}
	}
	if said == nil {
		return 0
	}
	text := r.textOf(by, said)
	if r.err != nil {
		return 0
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if most := time.Duration(math.MaxInt64).Seconds() / 8; err != nil || !(seconds > 0 && seconds < most) {
		r.failf("%s %s: wanted seconds, more than none", by, text)
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// flag is a boolean as openstacksdk takes it: a text is true if it is the word.
func (r *settings) flag(key string) bool {
	switch v := r.top[key].(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true
		case "false", "":
			return false
		}
		r.failf("%s: %q is neither true nor false", key, v)
	default:
		r.failf("%s: wanted true or false", key)
	}
	return false
}

func (r *settings) tls() tlsFiles {
	f := tlsFiles{ca: expand(r.text("cacert")), cert: expand(r.text("cert")), key: expand(r.text("key")), insecure: r.flag("insecure")}
	switch v := r.top["verify"].(type) {
	case nil:
	case bool:
		f.insecure = f.insecure || !v
	default:
		// openstacksdk takes a text for the name of a file of authorities.
		r.failf("verify: wanted true or false without quotes; a file of authorities is cacert")
	}
	if f.cert == "" {
		f.key = "" // nothing to be the key of
	}
	return f
}

// expand is a path whose ~ is the home directory.
func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

// named are credentials that have older names, and may stand beside auth: of several the last that
// is there holds, whatever it says, and of each name the one in auth.
var named = []struct {
	key   string
	names []string
}{
	{"project_id", []string{"tenant_id", "project_id"}},
	{"project_name", []string{"tenant_name", "project_name"}},
	{"token", []string{"auth_token", "token"}},
	{"domain_id", []string{"domain_id"}},
	{"domain_name", []string{"domain_name"}},
	{"user_domain_id", []string{"user_domain_id"}},
	{"user_domain_name", []string{"user_domain_name"}},
	{"project_domain_id", []string{"project_domain_id"}},
	{"project_domain_name", []string{"project_domain_name"}},
}

// auth gathers the credentials: those beside auth too, and by their older names.
func (r *settings) auth(kind string) map[string]string {
	in, _ := r.top["auth"].(map[string]any)
	in, err := underscored(in)
	if err != nil {
		r.failf("auth: %w", err)
	}
	out, moved := map[string]string{}, map[string]bool{}
	for _, n := range named {
		for _, name := range n.names {
			for _, from := range []map[string]any{r.top, in} {
				v, there := from[name]
				if !there {
					continue
				}
				if v == nil {
					// openstacksdk takes it for the text None.
					r.failf("%s: there is nothing behind it: leave it out", name)
				}
				out[n.key], moved[n.key] = r.textOf(name, v), true
			}
		}
	}
	for _, key := range authKeys {
		names := []string{key}
		if key == "username" {
			names = []string{"user_name", key}
		}
		for _, from := range []map[string]any{r.top, in} {
			for _, name := range names {
				if v := r.textOf(name, from[name]); v != "" && !moved[key] {
					out[key] = v
				}
			}
		}
	}
	r.refuseAuth(kind, in, out, moved)
	if out["project_id"]+out["project_name"] == "" {
		return out
	}
	// One domain for user and project.
	for _, what := range []string{"id", "name"} {
		for _, of := range []string{"user_domain_", "project_domain_"} {
			if v := out["domain_"+what]; v != "" && out[of+what] == "" {
				out[of+what] = v
			}
		}
		delete(out, "domain_"+what)
	}
	return out
}

// The credentials that each kind of authentication is made of.
var (
	userKeys  = []string{"auth_url", "username", "user_id", "user_domain_id", "user_domain_name", "project_domain_id", "project_domain_name"}
	scopeKeys = []string{
		"project_id", "project_name", "project_domain_id", "project_domain_name", "domain_id", "domain_name",
		"default_domain_id", "default_domain_name", "system_scope", "trust_id",
	}
	kindKeys = map[string][]string{
		authNone:       {"endpoint"},
		authAdminToken: {"endpoint", "token"},
		authPassword:   slices.Concat(userKeys, scopeKeys, []string{"password"}),
		authToken:      slices.Concat([]string{"auth_url", "token"}, scopeKeys),
		authAppCred:    slices.Concat(userKeys, []string{"application_credential_id", "application_credential_name", "application_credential_secret"}),
	}
)

// refuseAuth names what stands in auth, or gets there, and is not a credential of the kind.
func (r *settings) refuseAuth(kind string, in map[string]any, out map[string]string, moved map[string]bool) {
	if kind == "" {
		kind = access{auth: out}.guess()
	}
	for _, key := range slices.Sorted(keysOf(in)) {
		older := slices.ContainsFunc(named, func(n struct {
			key   string
			names []string
		}) bool {
			return slices.Contains(n.names, key)
		})
		if !older && key != "user_name" && !slices.Contains(authKeys, key) {
			r.failf("auth: %s is not taken here; it may have %s", key, strings.Join(authKeys, ", "))
		}
	}
	for _, key := range slices.Sorted(keysOf(out)) {
		if out[key] == "" || slices.Contains(kindKeys[kind], key) {
			continue
		}
		if _, there := in[key]; !there && !moved[key] {
			delete(out, key) // what stands beside auth is for another kind
			continue
		}
		r.failf("auth: %s is no credential of auth_type %s, which has %s", key, kind, strings.Join(kindKeys[kind], ", "))
	}
}

func keysOf[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// kind is how it authenticates; "" where the entry leaves that to its credentials.
func (r *settings) kind() string {
	v, named := r.top["auth_type"]
	if !named {
		return ""
	}
	if v == nil || v == "" || v == "None" {
		return authNone
	}
	name := r.text("auth_type")
	kind, ok := kindOf(name)
	if !ok {
		r.failf("auth_type %s is not one of none, admin_token, password, token, v3applicationcredential", name)
	}
	return kind
}

// refuse names what openstacksdk takes and has no meaning here, though it would choose another
// account or another API. What is for other services does no harm.
func (r *settings) refuse() error {
	known := []string{"endpoint_override", "endpoint", "interface", "region_name", "service_type", "service_name", "api_version"}
	harmless := []string{"default_microversion", "min_version", "max_version", "connect_retries", "status_code_retries", "retriable_status_codes", "concurrency", "rate_limit"}
	for _, k := range slices.Sorted(keysOf(r.top)) {
		own, ok := strings.CutPrefix(k, "network_")
		if ok && !slices.Contains(known, own) && !slices.Contains(harmless, own) && !strings.HasSuffix(own, "timeout") {
			return fmt.Errorf("%s is not taken here; of the network service there are network_%s", k, strings.Join(known, ", network_"))
		}
	}
	if v, there := r.top["has_network"]; there && (v == nil || v == false || v == "") {
		return errors.New("has_network: it says that the cloud has no network service")
	}
	for k, why := range map[string]string{
		"auth_plugin":  "openstacksdk no longer heeds it; the name is auth_type",
		"vendor_hook":  "no code of a vendor is run",
		"auth_methods": "there is no authentication by several methods",
		"passcode":     "there is no authentication by several methods",
	} {
		if _, there := r.top[k]; there {
			return fmt.Errorf("%s is not taken here: %s", k, why)
		}
	}
	if v := r.text("identity_api_version"); v != "" && v != "3" && !strings.HasPrefix(v, "3.") {
		return fmt.Errorf("identity_api_version %s: only version 3 of the Identity API is known", v)
	}
	return r.err
}

// places checks that it says where the API is, and fills what braces name into auth_url.
func (r *settings) places(a *access) {
	switch a.authType {
	case authNone, authAdminToken:
		if a.override == "" && a.auth["endpoint"] == "" {
			r.failf("auth_type %s needs auth.endpoint", a.authType)
		}
		if a.authType == authAdminToken && a.auth["token"] == "" {
			r.failf("auth_type admin_token needs auth.endpoint and auth.token")
		}
		if a.authType == authAdminToken && a.auth["endpoint"] == "" {
			a.auth["endpoint"] = a.override
		}
		return
	}
	where := a.auth["auth_url"]
	if where == "" {
		r.failf("auth.auth_url is missing: Keystone's address")
	}
	where = r.braces("auth.auth_url", where)
	a.auth["auth_url"] = where
}
