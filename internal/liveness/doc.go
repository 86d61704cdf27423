// Package liveness is "causeway health": it watches whether the remote VTEPs of a host's tunnels are alive, by S-BFD, BFD
// and ICMP echo, and measures round trip and loss. It is a process of its own, so that it goes on while the agent is ended,
// replaced or busy. The agent leaves it a file of what is to be watched; it answers on a unix socket beside that
// file. One thread, in real time where that is allowed, does all that has to be in time, and makes no garbage.
package liveness

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/bfd"
)

// Remote is a remote VTEP as seen from a tunnel IP of this host.
type Remote struct {
	TunnelIP netip.Addr `json:"tunnel_ip"`
	VTEP     netip.Addr `json:"vtep"`
}

func (r Remote) compare(o Remote) int {
	return cmp.Or(r.VTEP.Compare(o.VTEP), r.TunnelIP.Compare(o.TunnelIP))
}

// Means says how a remote is watched.
type Means string

// Means.
const (
	Auto        Means = "auto" // S-BFD where that is answered, else ICMP echo
	SBFD        Means = "sbfd"
	BFD         Means = "bfd" // single hop
	BFDMultihop Means = "bfd-multihop"
	ICMP        Means = "icmp"
	None        Means = "none"
)

// AllMeans are those that a setting can have.
var AllMeans = []Means{Auto, SBFD, BFD, BFDMultihop, ICMP, None}

// Bounds of settings.
const (
	MinInterval, MaxInterval = 50 * time.Millisecond, 60 * time.Second
	MinMult, MaxMult         = 2, 255
	// MaxRemotes bounds how many are watched.
	MaxRemotes = 1024
	// echoInterval is the least between two ICMP echoes: many hosts and routers answer no more of them.
	echoInterval = time.Second
	// echoMult is how many echoes without answer are too many, at least.
	echoMult = 3
)

// Settings are how a remote is watched.
type Settings struct {
	Means    Means
	Interval time.Duration
	Mult     uint8
	Key      bfd.Key // of BFD; zero: no authentication
}

// Rule has the settings of the remotes in a prefix.
type Rule struct {
	VTEPs netip.Prefix
	Settings
}

// Rules are a host's: the longest prefix that has a remote decides, else Default.
type Rules struct {
	Default Settings
	Rules   []Rule
}

func (r Rules) of(vtep netip.Addr) Settings {
	best, bits := r.Default, -1
	for _, rule := range r.Rules {
		if rule.VTEPs.Contains(vtep) && rule.VTEPs.Bits() > bits {
			best, bits = rule.Settings, rule.VTEPs.Bits()
		}
	}
	return best
}

// Files in the state directory that the agent and this process share.
const (
	remotesFile = "remotes.json"
	socketFile  = "health.sock"
	subdir      = "health"
)

// Dir is where both have their files, below the agent's state directory.
func Dir(stateDir string) string { return filepath.Join(stateDir, subdir) }

type remotesDoc struct {
	Remotes []Remote `json:"remotes"`
}

// Tell writes what is to be watched, for the agent. What is there already is not written again.
func Tell(stateDir string, remotes []Remote) error {
	slices.SortFunc(remotes, Remote.compare)
	b, err := json.Marshal(remotesDoc{remotes})
	if err != nil {
		return err
	}
	dir := Dir(stateDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, remotesFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
		return nil
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Forget takes away what the agent has left there, and the directory unless a process uses it still.
func Forget(stateDir string) error {
	path := filepath.Join(Dir(stateDir), remotesFile)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	if c, err := net.Dial("unix", filepath.Join(Dir(stateDir), socketFile)); err == nil {
		c.Close()
		return nil // "causeway health" runs
	}
	_ = os.Remove(filepath.Join(Dir(stateDir), socketFile)) // left by one that was killed
	_ = os.Remove(Dir(stateDir))
	return nil
}

// told reads it; a file that is not there yet says that there is nothing.
func told(dir string) ([]Remote, error) {
	b, err := os.ReadFile(filepath.Join(dir, remotesFile))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var d remotesDoc
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", remotesFile, err)
	}
	for _, r := range d.Remotes {
		if !r.TunnelIP.Is4() || !r.VTEP.Is4() {
			return nil, fmt.Errorf("%s: from %s to %s: not IPv4 addresses", remotesFile, r.TunnelIP, r.VTEP)
		}
	}
	return d.Remotes, nil
}
