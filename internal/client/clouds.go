package client

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// clouds.yaml is read as openstacksdk reads it (openstack/config/loader.py): what it takes means
// the same here, and what has no meaning here is refused by its name.

// fromClouds gives the settings of one cloud.
func fromClouds(name string, env func(string) string) (access, error) {
	f, err := readClouds(env)
	if err != nil {
		return access{}, err
	}
	entry, ok := f.clouds[name]
	if !ok {
		return access{}, notFound{what: "cloud", name: name, where: f.path}
	}
	wrong := func(format string, args ...any) error {
		return wrongf("%s: cloud %s: %w", f.path, name, fmt.Errorf(format, args...))
	}
	own, ok := entry.(map[string]any)
	if !ok {
		return access{}, wrong("has no settings")
	}
	profile, err := f.profile(own)
	if err != nil {
		return access{}, wrong("%w", err)
	}
	known, err := regionsOf(own, profile)
	if err != nil {
		return access{}, wrong("%w", err)
	}
	c := cloudEntry{}
	if err := c.merge(profile); err != nil {
		return access{}, wrong("%w", err)
	}
	if auth, there := own["auth"]; there && auth == nil {
		own = maps.Clone(own)
		delete(own, "auth")
	}
	if err := c.merge(own); err != nil {
		return access{}, wrong("%w", err)
	}
	if err := c.choose(known, env("OS_REGION_NAME")); err != nil {
		return access{}, wrong("%w", err)
	}
	if v := env("OS_INTERFACE"); v != "" {
		c["interface"] = v
		delete(c, "endpoint_type")
		delete(c, "endpoint-type")
	}
	a, err := c.access()
	if err != nil {
		return access{}, wrong("%w", err)
	}
	if a.tls.ca == "" {
		a.tls.ca = env("OS_CACERT")
	}
	return a, nil
}

// cloudFiles is what the files say together.
type cloudFiles struct {
	path   string         // of clouds.yaml
	clouds map[string]any // with what secure.yaml adds
	public map[string]any // of clouds-public.yaml
}

func readClouds(env func(string) string) (cloudFiles, error) {
	var f cloudFiles
	path, doc, err := readFirst("clouds", env("OS_CLIENT_CONFIG_FILE"), env)
	if err != nil {
		return f, err
	}
	if path == "" {
		where := env("OS_CLIENT_CONFIG_FILE")
		if where == "" {
			where = strings.Join(configDirs(env), ", ")
		}
		return f, misconfigured{fmt.Errorf("no clouds.yaml in %s%s", where, unread(env)), "Write one there, or have OS_CLIENT_CONFIG_FILE name it. Without one:\n" + envHint}
	}
	securePath, secure, err := readFirst("secure", env("OS_CLIENT_SECURE_FILE"), env)
	if err != nil {
		return f, err
	}
	if securePath == "" && env("OS_CLIENT_SECURE_FILE") != "" {
		return f, wrongf("OS_CLIENT_SECURE_FILE: no file %s", env("OS_CLIENT_SECURE_FILE"))
	}
	doc = deepMerge(doc, secure)
	_, public, err := readFirst("clouds-public", "", env)
	if err != nil {
		return f, err
	}
	f.path = path
	f.clouds, _ = doc["clouds"].(map[string]any)
	f.public, _ = public["public-clouds"].(map[string]any)
	return f, nil
}

// configDirs are where openstacksdk looks, in its order.
func configDirs(env func(string) string) []string {
	home := env("HOME")
	if home == "" {
		if u, err := user.Current(); err == nil {
			home = u.HomeDir
		}
	}
	own := env("XDG_CONFIG_HOME")
	if own == "" {
		own = filepath.Join(home, ".config")
	}
	if real := env("SNAP_REAL_HOME"); real != "" {
		home = real
	}
	var sites []string
	for _, dir := range siteDirs(env) {
		sites = append(sites, dir+"/openstack")
	}
	// Several of XDG_CONFIG_DIRS are one directory to openstacksdk, with colons in its name.
	site := strings.Join(sites, string(filepath.ListSeparator))
	return []string{".", filepath.Join(own, "openstack"), filepath.Join(home, ".config", "openstack"), site, "/etc/openstack"}
}

// siteDirs are those of XDG_CONFIG_DIRS.
func siteDirs(env func(string) string) []string {
	dirs := env("XDG_CONFIG_DIRS")
	if dirs == "" {
		dirs = "/etc/xdg"
	}
	var out []string
	for _, dir := range strings.Split(dirs, string(filepath.ListSeparator)) {
		out = append(out, expand(strings.TrimRight(dir, "/")))
	}
	return out
}

// unread names a file that is not read though XDG_CONFIG_DIRS leads to it.
func unread(env func(string) string) string {
	dirs := siteDirs(env)
	if len(dirs) < 2 || env("OS_CLIENT_CONFIG_FILE") != "" {
		return ""
	}
	for _, dir := range dirs {
		for _, ext := range suffixes {
			path := filepath.Join(dir, "openstack", "clouds"+ext)
			if _, err := os.Stat(path); err == nil {
				return fmt.Sprintf("; %s is not read, since openstacksdk does not read it where XDG_CONFIG_DIRS names several directories: name it in OS_CLIENT_CONFIG_FILE", path)
			}
		}
	}
	return ""
}

// suffixes are those of a file's name, in openstacksdk's order.
var suffixes = []string{".yaml", ".yml", ".json"}

// readFirst reads the first file of the name that there is; with one named there is no other: the
// next best might be another cloud.
func readFirst(name, named string, env func(string) string) (string, map[string]any, error) {
	places := []string{named}
	if named == "" {
		places = nil
		for _, dir := range configDirs(env) {
			for _, ext := range suffixes {
				places = append(places, filepath.Join(dir, name+ext))
			}
		}
	}
	for _, p := range places {
		b, err := readBounded(p)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, wrongf("%s.yaml: %w", name, err)
		}
		doc, err := parseClouds(b)
		if err != nil {
			return "", nil, wrongf("%s: %w", p, err)
		}
		return p, doc, nil
	}
	return "", nil, nil
}

// maxClouds bounds a file, in bytes.
const maxClouds = 4 << 20

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxClouds+1))
	if err == nil && len(b) > maxClouds {
		err = fmt.Errorf("%s: more than %d bytes", path, maxClouds)
	}
	return b, err
}

// deepMerge lays b over a, and mappings in it over mappings.
func deepMerge(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range b {
		over, ok := v.(map[string]any)
		under, both := out[k].(map[string]any)
		if ok && both {
			v = deepMerge(under, over)
		}
		out[k] = v
	}
	return out
}

// profile is what clouds-public.yaml says of the cloud's profile, which lies under what the
// cloud's own entry says.
func (f cloudFiles) profile(own map[string]any) (map[string]any, error) {
	v, named := own["profile"]
	if !named {
		v = own["cloud"] // its older name
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		if v == "" {
			return nil, nil
		}
		p, ok := f.public[v].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("profile %s is not in clouds-public.yaml, and the profiles that come with openstacksdk are not known here: write out what it says", v)
		}
		if _, hook := p["vendor_hook"]; hook {
			return nil, fmt.Errorf("profile %s: a vendor_hook is not run", v)
		}
		return p, nil
	}
	return nil, errors.New("profile: wanted a name")
}

// cloudEntry is one entry. Its keys are as they are written.
type cloudEntry map[string]any

// merge lays settings over those that there are; of auth, each one by itself.
func (c cloudEntry) merge(over map[string]any) error {
	for k, v := range over {
		if k != "auth" {
			c[k] = v
			continue
		}
		m, ok := v.(map[string]any)
		if !ok {
			return errors.New("auth: wanted keys and values")
		}
		have, _ := c["auth"].(map[string]any)
		both := maps.Clone(have)
		if both == nil {
			both = map[string]any{}
		}
		maps.Copy(both, m)
		c["auth"] = both
	}
	return nil
}

// region is one of a cloud's, with the values that hold in it alone.
type region struct {
	name   string
	values map[string]any
}

// regionsOf are the regions that a cloud may be asked in: those of its own entry, where that
// names any, else those of its profile.
func regionsOf(own, profile map[string]any) ([]region, error) {
	if v, ok := own["regions"]; ok {
		return regionList(v)
	}
	name, ok := own["region_name"]
	if dashed, also := own["region-name"]; also {
		name, ok = dashed, true
	}
	if ok {
		switch name := name.(type) {
		case string:
			var out []region
			for _, n := range strings.Split(name, ",") {
				out = append(out, region{name: n})
			}
			return out, nil
		case []any:
			return regionList(name)
		}
		return nil, fmt.Errorf("region_name: wanted a text, not %v", name)
	}
	if v, ok := profile["regions"]; ok {
		if list, err := regionList(v); err != nil || len(list) > 0 {
			return list, err
		}
	}
	switch name := profile["region_name"].(type) {
	case nil:
		return nil, nil
	case string:
		if name == "" {
			return nil, nil
		}
		return []region{{name: name}}, nil
	}
	return nil, errors.New("region_name of the profile: wanted a text")
}

func regionList(v any) ([]region, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("regions: wanted a list")
	}
	var out []region
	for _, x := range list {
		switch x := x.(type) {
		case string:
			out = append(out, region{name: x})
		case map[string]any:
			for k := range x {
				if k != "name" && k != "values" {
					return nil, fmt.Errorf("regions: a region has name and values, not %s", k)
				}
			}
			name, _ := x["name"].(string)
			if name == "" {
				return nil, errors.New("regions: a region without a name")
			}
			values, ok := x["values"].(map[string]any)
			if _, there := x["values"]; there && !ok {
				return nil, fmt.Errorf("regions: the values of %s: wanted keys and values", name)
			}
			out = append(out, region{name, values})
		default:
			return nil, errors.New("regions: wanted names, or name and values")
		}
	}
	return out, nil
}

// choose takes the region that is wanted, else the first, and lays its own values over the cloud's.
func (c cloudEntry) choose(known []region, wanted string) error {
	delete(c, "regions")
	delete(c, "region-name")
	if len(known) == 0 {
		c["region_name"] = wanted
		return nil
	}
	at := 0
	if wanted != "" {
		if at = slices.IndexFunc(known, func(r region) bool { return r.name == wanted }); at < 0 {
			var names []string
			for _, r := range known {
				names = append(names, r.name)
			}
			return fmt.Errorf("has no region %s (of OS_REGION_NAME); it has %s", wanted, strings.Join(names, ", "))
		}
	}
	for k, v := range known[at].values {
		if v == nil {
			continue
		}
		if err := c.merge(map[string]any{k: v}); err != nil {
			return fmt.Errorf("region %s: %w", known[at].name, err)
		}
	}
	c["region_name"] = known[at].name
	return nil
}

// underscored gives the keys one spelling.
func underscored(m map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(m))
	for k, v := range m {
		u := strings.ReplaceAll(k, "-", "_")
		if _, twice := out[u]; twice {
			return nil, fmt.Errorf("%s is there with - and with _", u)
		}
		out[u] = v
	}
	return out, nil
}
