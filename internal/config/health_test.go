package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/bfd"
	"github.com/causeway-net/causeway/internal/liveness"
)

func healthOf(t *testing.T, args ...string) (*Health, error) {
	t.Helper()
	set := NewSet("health")
	var h Health
	h.Bind(set)
	if err := set.Flags().Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := set.Resolve(nil); err != nil {
		return nil, err
	}
	return &h, h.Finish(set)
}

func TestHealthRefused(t *testing.T) {
	for arg, want := range map[string]string{
		"--state-dir=x": "not an absolute path", "--means=ping": "is none of auto", "--interval=49ms": "is not in 50ms", "--interval=61s": "is not in 50ms",
		"--multiplier=1": "is not in 2", "--multiplier=256": "is not in 2", "--metrics-listen=x": "metrics-listen",
	} {
		if _, err := healthOf(t, arg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
	if _, err := healthOf(t); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

// TestHealthRemotes: the file's rules take what they do not say from the flags; a mistake in it, or a key that others may
// read, is told with its place.
func TestHealthRemotes(t *testing.T) {
	dir := t.TempDir()
	key, open, bad := filepath.Join(dir, "key"), filepath.Join(dir, "open"), filepath.Join(dir, "bad")
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{key: {"0x736563726574\n", 0o600}, open: {"secret", 0o644}, bad: {"0xzz", 0o600}} {
		if err := os.WriteFile(name, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "remotes.yaml")
	rules := func(text string) (liveness.Rules, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := healthOf(t, "--interval=100ms", "--remotes="+file)
		if err != nil {
			t.Fatal(err)
		}
		return h.Rules()
	}
	got, err := rules("remotes:\n- {vtep: 203.0.113.7, means: bfd-multihop, interval: 50ms, multiplier: 5, auth: {type: meticulous-keyed-sha1, key-id: 3, key-file: " + key + "}}\n- {vtep: 198.51.100.0/24, means: icmp}\n")
	if err != nil {
		t.Fatal(err)
	}
	want, err := bfd.NewKey(bfd.MeticulousKeyedSHA1, 3, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Rules) != 2 ||
		got.Rules[0] != (liveness.Rule{VTEPs: netip.MustParsePrefix("203.0.113.7/32"), Settings: liveness.Settings{Means: liveness.BFDMultihop, Interval: 50 * time.Millisecond, Mult: 5, Key: *want}}) ||
		got.Rules[1] != (liveness.Rule{VTEPs: netip.MustParsePrefix("198.51.100.0/24"), Settings: liveness.Settings{Means: liveness.ICMP, Interval: 100 * time.Millisecond, Mult: 3}}) {
		t.Errorf("%+v", got)
	}
	if got, err := rules(""); err != nil || len(got.Rules) != 0 {
		t.Errorf("an empty file: %+v, %v", got, err)
	}
	auth := func(s string) string { return "{vtep: 1.2.3.4, means: bfd, auth: {" + s + "}}" }
	for one, want := range map[string]string{
		"{vtep: x}":                                 `"x" is neither an IP address nor a prefix`,
		"{vtep: 1.2.3.4/8}":                         "neither an IP address nor a prefix",
		"{vtep: 1.2.3.4, means: ping}":              "means: ",
		"{vtep: 1.2.3.4, interval: 1ms}":            "interval: ",
		"{vtep: 1.2.3.4, multiplier: 300}":          "multiplier: ",
		"{vtep: 1.2.3.4, nonsense: 1}":              "nonsense",
		"{vtep: 1.2.3.4}, {vtep: 1.2.3.4}":          "is there twice",
		auth("type: md5, key-file: " + key):         `type "md5"`,
		auth("type: keyed-sha1, key-file: x"):       "key-file: ",
		auth("type: keyed-sha1, key-file: " + open): "may be read by others",
		auth("type: keyed-sha1, key-file: " + bad):  "hexadecimal",
		"{vtep: 1.2.3.4, means: icmp, auth: {type: keyed-sha1, key-file: " + key + "}}": "has no authentication",
	} {
		if _, err := rules("remotes: [" + one + "]\n"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", one, err)
		}
	}
}
