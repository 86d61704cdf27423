package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/maplimit"
)

// Log says how a process logs.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

func (l *Log) bind(s *Set) {
	s.flags.TextVar(&l.Level, "log-level", slog.LevelInfo, "least `LEVEL` logged: DEBUG, INFO, WARN or ERROR")
	s.flags.StringVar(&l.Format, "log-format", "text", "log `FORMAT`: text or json")
}

func (l *Log) validate(s *Set) error {
	if l.Format != "text" && l.Format != "json" {
		return fmt.Errorf("%s: %q is neither text nor json", s.Name("log-format"), l.Format)
	}
	return nil
}

// Logger writes to standard error as configured.
func (l Log) Logger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

// TLSFiles are PEM files.
type TLSFiles struct {
	Cert, Key, CA string
	CRL           string // revocation lists of the authorities in CA; only where bindCRL was called
}

// Any tells whether one of them is given.
func (t TLSFiles) Any() bool { return t.Cert != "" || t.Key != "" || t.CA != "" || t.CRL != "" }

func (t *TLSFiles) bind(s *Set, prefix, who, peers string) {
	s.flags.StringVar(&t.Cert, prefix+"tls-cert", "", "PEM `FILE` with "+who+" certificate")
	s.flags.StringVar(&t.Key, prefix+"tls-key", "", "PEM `FILE` with its private key")
	s.flags.StringVar(&t.CA, prefix+"tls-ca", "", "PEM `FILE` with the authorities of "+peers)
}

func (t *TLSFiles) bindCRL(s *Set, prefix string) {
	s.flags.StringVar(&t.CRL, prefix+"tls-crl", "", "PEM `FILE` with the revocation lists of the authorities of --"+prefix+"tls-ca: whom one names is refused, open connections included; read again when it changes")
}

// crl says what is wrong with the revocation list.
func (t *TLSFiles) crl(prefix string) error {
	if t.CRL != "" && t.CA == "" {
		return fmt.Errorf("--%stls-crl needs --%stls-ca", prefix, prefix)
	}
	return nil
}

// all wants every file or, unless needed, none.
func (t *TLSFiles) all(s *Set, prefix string, needed bool, why string) error {
	if !needed && !t.Any() {
		return nil
	}
	var missing []string
	for _, f := range []struct{ name, value string }{{"tls-cert", t.Cert}, {"tls-key", t.Key}, {"tls-ca", t.CA}} {
		if f.value == "" {
			missing = append(missing, "--"+prefix+f.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", why, strings.Join(missing, ", ")+" missing")
}

// Where the role of a certificate's holder is.
const (
	RoleInCertificate = "certificate"
	RoleByCA          = "ca"
)

// Controller holds the settings of "causeway controller".
type Controller struct {
	APIListen     string
	APITLS        TLSFiles
	APIRole       string // RoleInCertificate or RoleByCA
	API           API
	InsecureAPI   bool
	Auth          Auth
	DataDir       string
	EtcdEndpoints []string
	EtcdTLS       TLSFiles
	EtcdUser      string
	EtcdPassword  string // file that holds it
	EtcdPrefix    string
	AgentSocket   string
	LocalHost     string
	AgentListen   string
	AgentTLS      TLSFiles
	AgentRole     string // RoleInCertificate or RoleByCA
	SwitchTLS     TLSFiles
	MetricsListen string
	UnderlayMTU   int
	HostTimeout   time.Duration
	GatewayLinger time.Duration
	Quotas        []string // RESOURCE=LIMIT
	Limits        ResourceLimits
	Log           Log
}

// Bind puts the settings into s.
func (c *Controller) Bind(s *Set) {
	f := s.flags
	f.StringVar(&c.APIListen, "api-listen", "127.0.0.1:9696", "`ADDRESS` of the API (Neutron v2.0), or fd:N: the listening TCP socket that this process was started with as file descriptor N")
	c.APITLS.bind(s, "api-", "the API's", "the API's clients, who then must show a certificate")
	c.APITLS.bindCRL(s, "api-")
	f.StringVar(&c.APIRole, "api-tls-role", RoleInCertificate, "`WHERE` the role operator of the API's clients is: certificate (a URI in it), or ca (all that --api-tls-ca signs have it)")
	f.BoolVar(&c.InsecureAPI, "insecure-api", false, "allow an API that whoever reaches its address may use, off loopback too")
	c.Auth.bind(s)
	c.API.bind(s)
	f.StringVar(&c.DataDir, "data-dir", "/var/lib/causeway/controller", "`DIRECTORY` of the embedded etcd's data")
	f.StringSliceVar(&c.EtcdEndpoints, "etcd-endpoints", nil, "`URL`s of an etcd cluster to use instead of the embedded one")
	c.EtcdTLS.bind(s, "etcd-", "the client's", "the cluster")
	f.StringVar(&c.EtcdUser, "etcd-user", "", "`NAME` at the etcd cluster")
	f.StringVar(&c.EtcdPassword, "etcd-password-file", "", "`FILE` with that user's password")
	f.StringVar(&c.EtcdPrefix, "etcd-prefix", "/causeway/", "`PREFIX` of this site's keys at the etcd cluster")
	f.StringVar(&c.AgentSocket, "agent-socket", "/run/causeway/controller.sock", "unix socket `PATH` for the agent of this machine; empty: none")
	f.StringVar(&c.LocalHost, "local-host", "", "host `NAME` of the agent that comes by the unix socket (default: the machine's host name)")
	f.StringVar(&c.AgentListen, "agent-listen", "", "`ADDRESS` for agents of other machines, or unix:PATH for those of other network namespaces, who prove their host by a certificate; empty: none")
	c.AgentTLS.bind(s, "agent-", "the controller's", "the agents")
	c.AgentTLS.bindCRL(s, "agent-")
	f.StringVar(&c.AgentRole, "agent-tls-role", RoleInCertificate, "`WHERE` the role host of agents is: certificate (a URI in it), or ca (all that --agent-tls-ca signs have it)")
	c.SwitchTLS.bind(s, "switch-", "the controller's", "the switches; with it OVSDB goes by TLS")
	f.StringVar(&c.MetricsListen, "metrics-listen", "127.0.0.1:9697", "`ADDRESS` of /metrics, or unix:PATH; empty: none")
	f.StringSliceVar(&c.Quotas, "quota", nil, "`RESOURCE=LIMIT`: how many a project may have that has no quota of its own, such as port=500; -1: any number; repeatable (default: any number of each; with Keystone, what Neutron has)")
	f.IntVar(&c.UnderlayMTU, "underlay-mtu", 1500, "largest IP packet, in `BYTES`, that the way between the sites takes")
	f.DurationVar(&c.HostTimeout, "host-timeout", 30*time.Second, "`TIME` after which a host whose agent is away is not alive, and its ports are DOWN")
	f.DurationVar(&c.GatewayLinger, "gateway-linger", 10*time.Second, "`TIME` for which the host that a gateway device leaves has its tunnel IP still, for what other sites send there: longer than their routes take to lead to the new host")
	c.Limits.bind(s)
	c.Log.bind(s)
}

// MaxGatewayLinger is the most of --gateway-linger.
const MaxGatewayLinger = 24 * time.Hour

// MinHostTimeout is the least of --host-timeout.
const MinHostTimeout = time.Second

// MTU limits of --underlay-mtu: an IPv4 path of 576 bytes is the least that
// leaves room for anything (RFC 791 §3.1), 65535 the most that IPv4 can say.
const (
	MinUnderlayMTU = 576
	MaxUnderlayMTU = 65535
)

// Finish fills in defaults that depend on the machine, and says what is wrong.
func (c *Controller) Finish(s *Set) error {
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	if c.LocalHost == "" {
		name, err := os.Hostname()
		if err != nil {
			add(fmt.Errorf("--local-host: no default: %w", err))
		}
		c.LocalHost = name
	}
	loopback, err := apiAddr(c.APIListen)
	if err != nil {
		add(fmt.Errorf("%s: %w", s.Name("api-listen"), err))
	} else if !loopback {
		add(c.exposed(s))
	}
	if (c.APITLS.Cert == "") != (c.APITLS.Key == "") || c.APITLS.CA != "" && c.APITLS.Cert == "" {
		add(errors.New("the API's TLS: --api-tls-cert and --api-tls-key go together, and --api-tls-ca needs both"))
	}
	if len(c.EtcdEndpoints) == 0 {
		if !filepath.IsAbs(c.DataDir) {
			add(fmt.Errorf("%s: %q is not an absolute path", s.Name("data-dir"), c.DataDir))
		}
		if c.EtcdTLS.Any() || c.EtcdUser != "" || c.EtcdPassword != "" {
			add(errors.New("--etcd-tls-*, --etcd-user and --etcd-password-file need --etcd-endpoints"))
		}
	} else {
		add(c.EtcdTLS.all(s, "etcd-", false, "TLS to etcd"))
	}
	if (c.EtcdUser == "") != (c.EtcdPassword == "") {
		add(errors.New("--etcd-user and --etcd-password-file go together"))
	}
	if c.AgentSocket != "" {
		add(socketPath(s.Name("agent-socket"), c.AgentSocket))
	}
	if path, ok := strings.CutPrefix(c.AgentListen, "unix:"); ok {
		add(socketPath(s.Name("agent-listen"), path))
		if path == c.AgentSocket {
			add(fmt.Errorf("%s: %s is --agent-socket already", s.Name("agent-listen"), path))
		}
	} else if c.AgentListen != "" {
		if _, err := listenAddr(c.AgentListen); err != nil {
			add(fmt.Errorf("%s: %w", s.Name("agent-listen"), err))
		}
	}
	for name, role := range map[string]string{"api-tls-role": c.APIRole, "agent-tls-role": c.AgentRole} {
		if role != RoleInCertificate && role != RoleByCA {
			add(fmt.Errorf("%s: %q is neither %s nor %s", s.Name(name), role, RoleInCertificate, RoleByCA))
		}
	}
	add(c.APITLS.crl("api-"))
	add(c.AgentTLS.crl("agent-"))
	add(c.SwitchTLS.all(s, "switch-", false, "TLS to switches"))
	add(c.AgentTLS.all(s, "agent-", c.AgentListen != "", s.Name("agent-listen")+" wants agents to prove who they are"))
	if c.AgentListen == "" && c.AgentSocket == "" {
		add(errors.New("--agent-socket and --agent-listen are both empty: no agent could come"))
	}
	add(metricsAddr(s, c.MetricsListen))
	add(c.API.validate(s))
	if c.UnderlayMTU < MinUnderlayMTU || c.UnderlayMTU > MaxUnderlayMTU {
		add(fmt.Errorf("%s: %d is not in %d…%d", s.Name("underlay-mtu"), c.UnderlayMTU, MinUnderlayMTU, MaxUnderlayMTU))
	}
	if c.HostTimeout < MinHostTimeout {
		add(fmt.Errorf("%s: %v is less than %v", s.Name("host-timeout"), c.HostTimeout, MinHostTimeout))
	}
	if c.GatewayLinger <= 0 || c.GatewayLinger > MaxGatewayLinger {
		add(fmt.Errorf("%s: %v is not more than 0 and at most %v", s.Name("gateway-linger"), c.GatewayLinger, MaxGatewayLinger))
	}
	if _, err := c.QuotaLimits(); err != nil {
		add(fmt.Errorf("%s: %w", s.Name("quota"), err))
	}
	add(c.Limits.validate(s))
	add(c.Auth.validate(s))
	add(c.Log.validate(s))
	return errors.Join(errs...)
}

// QuotaLimits are the limits of --quota by resource.
func (c *Controller) QuotaLimits() (map[string]int64, error) {
	out := map[string]int64{}
	for _, q := range c.Quotas {
		resource, text, ok := strings.Cut(q, "=")
		limit, err := strconv.ParseInt(text, 10, 32)
		if !ok || err != nil || limit < -1 {
			return nil, fmt.Errorf("%q is not RESOURCE=LIMIT with a limit of -1 or more", q)
		}
		out[resource] = limit
	}
	return out, nil
}

// Agent holds the settings of "causeway agent".
type Agent struct {
	Controllers        []string // each unix:///path, or host:port
	TLS                TLSFiles
	PinDir             string
	StateDir           string
	UnderlayInterfaces []string
	ReversePath        string // ReversePathStrict or ReversePathOff
	UnderlayMark       string // a number; see Mark
	FabricAddress      string // see Fabric
	FabricPort         uint16
	Gateway            bool
	GatewayPriority    int           // see Priority
	Output             string        // OutputDirect or OutputKernel
	WorkloadInterfaces []string      // patterns
	StopAfter          time.Duration // 0: never
	MetricsListen      string
	ICMPRate           uint32
	ICMPBurst          uint32
	FloodRate          uint32
	FloodBurst         uint32
	Limits             maplimit.Limits
	PathMTU            int
	PathMTUFloor       int
	PathMTUInterval    time.Duration
	Log                Log
}

// Values of --underlay-reverse-path and --underlay-output.
const (
	OutputDirect      = "direct"
	OutputKernel      = "kernel"
	ReversePathStrict = "strict"
	ReversePathOff    = "off"
)

// MinStopAfter is longer than an agent that works may take to write the largest state; MaxStopAfter, a month, than any
// outage.
const (
	MinStopAfter = 15 * time.Second
	MaxStopAfter = 30 * 24 * time.Hour
)

// DefaultGatewayPriority is the middle of 1 to 255.
const DefaultGatewayPriority = 100

// DefaultFabricPort is the fabric's UDP port, tunnelPort that of the tunnels between sites.
const (
	DefaultFabricPort = 4798
	tunnelPort        = 4789
)

// minPathMTU is what every path takes (RFC 791: 576 bytes, in fragments or whole).
const minPathMTU = 576

// bindRows puts the limits of maps into s.
func bindRows(l *maplimit.Limits, s *Set) {
	l.Each(func(value *uint32, flag string, def uint32, of, counts string) {
		s.flags.Uint32Var(value, flag, def, "most `ROWS` of the map "+of+": "+counts)
	})
}

func validateRows(l *maplimit.Limits, s *Set) error {
	var errs []error
	l.Each(func(value *uint32, flag string, _ uint32, _, _ string) {
		if *value < 1 || *value > maplimit.Most {
			errs = append(errs, fmt.Errorf("%s: %d is not in 1…%d", s.Name(flag), *value, maplimit.Most))
		}
	})
	return errors.Join(errs...)
}

// Bind puts the settings into s.
func (a *Agent) Bind(s *Set) {
	f := s.flags
	f.StringSliceVar(&a.Controllers, "controller", []string{"unix:///run/causeway/controller.sock"}, "a controller of the site: unix://`PATH` (with --tls-*: of its --agent-listen), or HOST:PORT (with --tls-*); repeatable: the agent stays with one of them, chosen at random, and goes on with another when that ends")
	a.TLS.bind(s, "", "this host's", "the controller")
	a.TLS.bindCRL(s, "")
	f.StringVar(&a.PinDir, "pin-dir", "/sys/fs/bpf/causeway", "`DIRECTORY` of a BPF file system for maps and links that outlive the agent")
	f.StringVar(&a.StateDir, "state-dir", "/var/lib/causeway/agent", "`DIRECTORY` of what the agent must remember")
	f.StringSliceVar(&a.UnderlayInterfaces, "underlay-interface", nil, "`INTERFACE` that carries tunnels; repeatable (default: those that routes to remote VTEPs lead by); uplinks of gateway devices carry them too")
	f.StringVar(&a.ReversePath, "underlay-reverse-path", ReversePathStrict, "`HOW` an interface is known to be right for a remote VTEP: strict (a route to it leads by it) or off (it is one of --underlay-interface, or an uplink)")
	f.StringVar(&a.Output, "underlay-output", OutputDirect, "`HOW` tunnel packets leave and come in: direct (in front of the host's firewall and IPsec) or kernel (through them)")
	f.StringVar(&a.UnderlayMark, "underlay-mark", "0x63770000", "`BITS` of the packet mark that tell tunnel packets of underlay interfaces from others within the kernel")
	f.StringVar(&a.FabricAddress, "fabric-address", "", "`IP` address of this host by which the other hosts of the site reach it; an interface of the host must have it; empty: the host is not on the fabric")
	f.Uint16Var(&a.FabricPort, "fabric-port", DefaultFabricPort, "UDP `PORT` of the fabric, the same on all hosts of a site; not 4789, which is that of the tunnels between sites")
	f.BoolVar(&a.Gateway, "gateway", false, "this host may serve gateway devices; where no host of the site says so, each of them may")
	f.IntVar(&a.GatewayPriority, "gateway-priority", DefaultGatewayPriority, "`N`, 1 to 255: of the hosts with --gateway those with the highest are chosen first for a gateway device that is bound to none")
	f.StringSliceVar(&a.WorkloadInterfaces, "workload-interface", nil, "`PATTERN` of interfaces that belong to workloads, such as 'tap*': what they send before a port is bound to them is dropped; repeatable")
	f.DurationVar(&a.StopAfter, "stop-after", 0, "for how long the host forwards on once its agent is dead (ended, killed or hanging), 15s at least, such as 5m; then it forwards nothing for workloads and tunnels until the agent runs again; 0: for good")
	f.StringVar(&a.MetricsListen, "metrics-listen", "127.0.0.1:9698", "`ADDRESS` of /metrics, or unix:PATH; empty: none")
	f.Uint32Var(&a.ICMPRate, "icmp-rate", 100, "ICMP errors a second that a router sends about one workload's packets, and as many that say that a packet is too big; 0: no limit")
	f.Uint32Var(&a.ICMPBurst, "icmp-burst", 50, "ICMP errors that a router sends about one workload's packets at once")
	f.Uint32Var(&a.FloodRate, "flood-rate", 50000, "copies a second that are made of one workload's broadcasts and frames to unknown MAC addresses; 0: no limit")
	f.Uint32Var(&a.FloodBurst, "flood-burst", 25000, "such copies that are made at once")
	f.IntVar(&a.PathMTU, "path-mtu", 0, "`BYTES` of the largest outer IP packet to every VTEP, instead of probing; 0: probe")
	f.IntVar(&a.PathMTUFloor, "path-mtu-floor", 1280, "`BYTES` below which no path's MTU is lowered")
	f.DurationVar(&a.PathMTUInterval, "path-mtu-interval", 5*time.Second, "how often the MTU of each path is confirmed by a packet")
	bindRows(&a.Limits, s)
	a.Log.bind(s)
}

func (a *Agent) finishControllers(s *Set, add func(error)) {
	name := s.Name("controller")
	if len(a.Controllers) == 0 {
		add(fmt.Errorf("%s: no controller is named", name))
	}
	network, socket := "", ""
	for i, c := range a.Controllers {
		if slices.Contains(a.Controllers[:i], c) {
			add(fmt.Errorf("%s: %q is there twice", name, c))
		}
		if path, ok := strings.CutPrefix(c, "unix://"); ok {
			add(socketPath(name, path))
			socket = c
		} else if host, port, err := net.SplitHostPort(c); err != nil || host == "" || port == "" {
			add(fmt.Errorf("%s: %q is neither unix:///PATH nor HOST:PORT", name, c))
		} else {
			network = c
		}
	}
	// The certificates are for all of them, and a controller's own socket takes none.
	if network != "" && socket != "" {
		add(fmt.Errorf("%s: %s is a socket, and %s is over a network with TLS, which the controller's --agent-socket does not speak: name the controller of this machine as HOST:PORT of its --agent-listen too", name, socket, network))
	}
	if network != "" {
		add(a.TLS.all(s, "", true, name+" over a network needs TLS"))
	} else {
		add(a.TLS.all(s, "", false, "TLS to the controller"))
	}
}

// Finish says what is wrong.
func (a *Agent) Finish(s *Set) error {
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	a.finishControllers(s, add)
	for _, d := range []struct{ name, value string }{{"pin-dir", a.PinDir}, {"state-dir", a.StateDir}} {
		if !filepath.IsAbs(d.value) {
			add(fmt.Errorf("%s: %q is not an absolute path", s.Name(d.name), d.value))
		}
	}
	add(metricsAddr(s, a.MetricsListen))
	if a.ReversePath != ReversePathStrict && a.ReversePath != ReversePathOff {
		add(fmt.Errorf("%s: %q is neither strict nor off", s.Name("underlay-reverse-path"), a.ReversePath))
	} else if a.ReversePath == ReversePathOff && len(a.UnderlayInterfaces) == 0 {
		add(fmt.Errorf("%s: off needs the interfaces that carry tunnels: name them with --underlay-interface", s.Name("underlay-reverse-path")))
	}
	if a.Output != OutputDirect && a.Output != OutputKernel {
		add(fmt.Errorf("%s: %q is neither direct nor kernel", s.Name("underlay-output"), a.Output))
	}
	if _, err := a.Mark(); err != nil {
		add(fmt.Errorf("%s: %w", s.Name("underlay-mark"), err))
	}
	if _, err := a.Fabric(); err != nil {
		add(fmt.Errorf("%s: %w", s.Name("fabric-address"), err))
	}
	switch a.FabricPort {
	case 0:
		add(fmt.Errorf("%s: 0 is no port", s.Name("fabric-port")))
	case tunnelPort:
		add(fmt.Errorf("%s: %d is the port of the tunnels between sites (VXLAN, RFC 7348): the fabric needs one of its own", s.Name("fabric-port"), tunnelPort))
	}
	switch {
	case a.GatewayPriority < 1 || a.GatewayPriority > math.MaxUint8:
		add(fmt.Errorf("%s: %d is not in 1…%d", s.Name("gateway-priority"), a.GatewayPriority, math.MaxUint8))
	case !a.Gateway && a.GatewayPriority != DefaultGatewayPriority:
		add(fmt.Errorf("%s: it is that of a host with --gateway, and this one has none", s.Name("gateway-priority")))
	}
	if a.ICMPRate != 0 && a.ICMPBurst == 0 {
		add(fmt.Errorf("%s: 0 would let no ICMP error out; --icmp-rate=0 lifts the limit", s.Name("icmp-burst")))
	}
	if a.PathMTU != 0 && (a.PathMTU < minPathMTU || a.PathMTU > 65535) {
		add(fmt.Errorf("%s: %d is neither 0 nor in %d…65535", s.Name("path-mtu"), a.PathMTU, minPathMTU))
	}
	if a.PathMTUFloor < minPathMTU || a.PathMTUFloor > 65535 {
		add(fmt.Errorf("%s: %d is not in %d…65535", s.Name("path-mtu-floor"), a.PathMTUFloor, minPathMTU))
	}
	if a.StopAfter != 0 && (a.StopAfter < MinStopAfter || a.StopAfter > MaxStopAfter) {
		add(fmt.Errorf("%s: %v is neither 0 nor in %v…%v", s.Name("stop-after"), a.StopAfter, MinStopAfter, MaxStopAfter))
	}
	if a.PathMTUInterval < time.Second || a.PathMTUInterval > time.Hour {
		add(fmt.Errorf("%s: %v is not in 1s…1h", s.Name("path-mtu-interval"), a.PathMTUInterval))
	}
	if a.FloodRate != 0 && a.FloodBurst == 0 {
		add(fmt.Errorf("%s: 0 would let no broadcast pass; --flood-rate=0 lifts the limit", s.Name("flood-burst")))
	}
	add(validateRows(&a.Limits, s))
	add(a.Log.validate(s))
	return errors.Join(errs...)
}

// Mark is UnderlayMark as a number.
func (a *Agent) Mark() (uint32, error) {
	n, err := strconv.ParseUint(a.UnderlayMark, 0, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no number of 32 bits such as 0x63770000, or it is 0", a.UnderlayMark)
	}
	return uint32(n), nil
}

// Fabric is FabricAddress as an address; the zero Addr: none.
func (a *Agent) Fabric() (netip.Addr, error) {
	if a.FabricAddress == "" {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(a.FabricAddress)
	if err != nil || !ip.Is4() {
		return netip.Addr{}, fmt.Errorf("%q is no IPv4 address", a.FabricAddress)
	}
	if ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, fmt.Errorf("%s is no address by which other hosts reach this one", ip)
	}
	return ip, nil
}

// apiAddr checks --api-listen. Of a socket that was opened by another process nothing is known here, so it
// is not taken for one that only this machine reaches.
func apiAddr(addr string) (loopback bool, err error) {
	if n, ok := strings.CutPrefix(addr, "fd:"); ok {
		if fd, err := strconv.ParseUint(n, 10, 16); err != nil || fd < 3 {
			return false, fmt.Errorf("%q is not fd:N with N of 3 or more", addr)
		}
		return false, nil
	}
	return listenAddr(addr)
}

// listenAddr checks HOST:PORT and tells whether only this machine reaches it.
func listenAddr(addr string) (loopback bool, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return false, fmt.Errorf("%q is not an ADDRESS:PORT", addr)
	}
	if host == "localhost" {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback(), nil
}

func metricsAddr(s *Set, addr string) error {
	if addr == "" {
		return nil
	}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return socketPath(s.Name("metrics-listen"), path)
	}
	if _, err := listenAddr(addr); err != nil {
		return fmt.Errorf("%s: %w", s.Name("metrics-listen"), err)
	}
	return nil
}

// maxSocketPath is what sun_path of sockaddr_un holds, less its final NUL (unix(7)).
const maxSocketPath = 107

func socketPath(name, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s: %q is not an absolute path", name, path)
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("%s: the path has %d bytes; a unix socket's has %d at most", name, len(path), maxSocketPath)
	}
	return nil
}

// Priority is what the controller is told of the host as a server of gateway devices; 0: it does not say that it
// may be one.
func (a *Agent) Priority() uint8 {
	if !a.Gateway {
		return 0
	}
	return uint8(a.GatewayPriority)
}
