package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/bfd"
	"github.com/causeway-net/causeway/internal/liveness"
	"github.com/causeway-net/causeway/internal/yamlerr"
)

// Health holds the settings of "causeway health".
type Health struct {
	StateDir      string
	Means         string
	Interval      time.Duration
	Multiplier    int
	Remotes       string // file
	MetricsListen string
	Log           Log
}

// Bind puts the settings into s.
func (h *Health) Bind(s *Set) {
	f := s.flags
	f.StringVar(&h.StateDir, "state-dir", "/var/lib/causeway/agent", "`DIRECTORY` of the agent's --state-dir: the agent leaves there what is to be watched")
	f.StringVar(&h.Means, "means", string(liveness.Auto), "`HOW` remote VTEPs are watched: auto (S-BFD where that is answered, else ICMP echo), sbfd, bfd (single hop), bfd-multihop, icmp or none")
	f.DurationVar(&h.Interval, "interval", 300*time.Millisecond, "`TIME` between two packets of S-BFD and BFD, 50ms at least; ICMP echo is asked for once a second at most")
	f.IntVar(&h.Multiplier, "multiplier", 3, "how many packets without an answer make a remote VTEP down, 2 to 255")
	f.StringVar(&h.Remotes, "remotes", "", "YAML `FILE` of what differs for single remote VTEPs: means, interval, multiplier, authentication; empty: nothing does")
	f.StringVar(&h.MetricsListen, "metrics-listen", "127.0.0.1:9699", "`ADDRESS` of /metrics, or unix:PATH; empty: none")
	h.Log.bind(s)
}

// Finish says what is wrong.
func (h *Health) Finish(s *Set) error {
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	if !filepath.IsAbs(h.StateDir) {
		add(fmt.Errorf("%s: %q is not an absolute path", s.Name("state-dir"), h.StateDir))
	}
	if err := checkMeans(h.Means); err != nil {
		add(fmt.Errorf("%s: %w", s.Name("means"), err))
	}
	if err := checkInterval(h.Interval); err != nil {
		add(fmt.Errorf("%s: %w", s.Name("interval"), err))
	}
	if err := checkMultiplier(h.Multiplier); err != nil {
		add(fmt.Errorf("%s: %w", s.Name("multiplier"), err))
	}
	add(metricsAddr(s, h.MetricsListen))
	add(h.Log.validate(s))
	return errors.Join(errs...)
}

func checkMeans(m string) error {
	if !slices.Contains(liveness.AllMeans, liveness.Means(m)) {
		return fmt.Errorf("%q is none of auto, sbfd, bfd, bfd-multihop, icmp and none", m)
	}
	return nil
}

func checkInterval(d time.Duration) error {
	if d < liveness.MinInterval || d > liveness.MaxInterval {
		return fmt.Errorf("%v is not in %v…%v", d, liveness.MinInterval, liveness.MaxInterval)
	}
	return nil
}

func checkMultiplier(n int) error {
	if n < liveness.MinMult || n > liveness.MaxMult {
		return fmt.Errorf("%d is not in %d…%d", n, liveness.MinMult, liveness.MaxMult)
	}
	return nil
}

type remotesFile struct {
	Remotes []remoteRule `yaml:"remotes"`
}

type remoteRule struct {
	VTEP       string         `yaml:"vtep"`
	Means      string         `yaml:"means"`
	Interval   *time.Duration `yaml:"interval"`
	Multiplier *int           `yaml:"multiplier"`
	Auth       *remoteAuth    `yaml:"auth"`
}

type remoteAuth struct {
	Type    string `yaml:"type"`
	KeyID   uint8  `yaml:"key-id"`
	KeyFile string `yaml:"key-file"`
}

// Rules are how remotes are watched, with the file of --remotes and the keys that it names, read anew.
func (h *Health) Rules() (liveness.Rules, error) {
	r := liveness.Rules{Default: liveness.Settings{Means: liveness.Means(h.Means), Interval: h.Interval, Mult: uint8(h.Multiplier)}}
	if h.Remotes == "" {
		return r, nil
	}
	data, err := os.ReadFile(h.Remotes)
	if err != nil {
		return r, fmt.Errorf("--remotes: %w", err)
	}
	var doc remotesFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return r, fmt.Errorf("%s: %w", h.Remotes, yamlerr.Explain(data, err))
	}
	seen := map[netip.Prefix]bool{}
	for i, rule := range doc.Remotes {
		one, err := rule.settings(r.Default)
		if err == nil && seen[one.VTEPs] {
			err = fmt.Errorf("%s is there twice", one.VTEPs)
		}
		if err != nil {
			return r, fmt.Errorf("%s: remotes[%d]: %w", h.Remotes, i, err)
		}
		seen[one.VTEPs] = true
		r.Rules = append(r.Rules, one)
	}
	return r, nil
}

func (r remoteRule) settings(base liveness.Settings) (liveness.Rule, error) {
	out := liveness.Rule{Settings: base}
	ip, err := netip.ParseAddr(r.VTEP)
	if err == nil {
		out.VTEPs = netip.PrefixFrom(ip, ip.BitLen())
	} else if out.VTEPs, err = netip.ParsePrefix(r.VTEP); err != nil || out.VTEPs != out.VTEPs.Masked() {
		return out, fmt.Errorf("vtep: %q is neither an IP address nor a prefix", r.VTEP)
	}
	if r.Means != "" {
		if err := checkMeans(r.Means); err != nil {
			return out, fmt.Errorf("means: %w", err)
		}
		out.Means = liveness.Means(r.Means)
	}
	if r.Interval != nil {
		if err := checkInterval(*r.Interval); err != nil {
			return out, fmt.Errorf("interval: %w", err)
		}
		out.Interval = *r.Interval
	}
	if r.Multiplier != nil {
		if err := checkMultiplier(*r.Multiplier); err != nil {
			return out, fmt.Errorf("multiplier: %w", err)
		}
		out.Mult = uint8(*r.Multiplier)
	}
	if r.Auth == nil {
		return out, nil
	}
	if out.Means != liveness.BFD && out.Means != liveness.BFDMultihop {
		return out, fmt.Errorf("auth: means %s has no authentication: it is for bfd and bfd-multihop", out.Means)
	}
	key, err := r.Auth.key()
	if err != nil {
		return out, fmt.Errorf("auth: %w", err)
	}
	out.Key = *key
	return out, nil
}

// maxKeyFile bounds what is read of a file with a key, bytes.
const maxKeyFile = 4096

func (a remoteAuth) key() (*bfd.Key, error) {
	types := map[string]bfd.AuthType{"keyed-sha1": bfd.KeyedSHA1, "meticulous-keyed-sha1": bfd.MeticulousKeyedSHA1}
	t, ok := types[a.Type]
	if !ok {
		return nil, fmt.Errorf("type %q is neither keyed-sha1 nor meticulous-keyed-sha1", a.Type)
	}
	f, err := os.Open(a.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("key-file: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("key-file: %w", err)
	} else if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key-file: %s may be read by others than its owner (mode %04o): run chmod 600", a.KeyFile, st.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("key-file: %w", err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	secret := []byte(text)
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		if secret, err = hex.DecodeString(digits); err != nil {
			return nil, fmt.Errorf("key-file: %s begins with 0x and has other than hexadecimal digits after it", a.KeyFile)
		}
	}
	k, err := bfd.NewKey(t, a.KeyID, secret)
	if err != nil {
		return nil, fmt.Errorf("key-file: %w", err)
	}
	return k, nil
}
