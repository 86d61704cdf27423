package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/hostnet"
)

// Waits for servers: far beyond the usual second or two.
const serverDeadline = 90 * time.Second

// Lab is a lab that is up, or coming up.
type Lab struct {
	st       *state
	exe      string
	progress func(string)
}

// Options say how to bring a lab up.
type Options struct {
	// Exe is the causeway program that the servers run; this program if empty.
	Exe string
	// Owned ties the lab to the calling process: Sweep removes the lab once the
	// process is gone.
	Owned bool
	// Progress is told each step; nil: nobody.
	Progress func(string)
}

// ErrNoLab says that there is no such lab.
var ErrNoLab = errors.New("no such lab")

// ErrExists says that a lab of this name is up already.
var ErrExists = errors.New("a lab of this name exists")

// unknown says that a lab has nothing of a name.
type unknown struct{ words string }

func unknownf(format string, args ...any) error { return unknown{fmt.Sprintf(format, args...)} }

func (e unknown) Error() string { return e.words }

// ExitCode is that of commands to which something was named that does not exist.
func (unknown) ExitCode() int { return 3 }

// Open finds a lab that is up.
func Open(name string) (*Lab, error) {
	st, err := loadState(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w", name, ErrNoLab)
	}
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &Lab{st: st, exe: exe, progress: func(string) {}}, nil
}

// Name of the lab.
func (l *Lab) Name() string { return l.st.File.Lab }

// File is what the lab was made from.
func (l *Lab) File() File { return l.st.File }

// Workloads are those that Attach made.
func (l *Lab) Workloads() []Workload { return l.st.Workloads }

// NetNSName is the name that a node or workload has in /run/netns.
func (l *Lab) NetNSName(node string) string { return l.Name() + "-" + node }

// NetNS opens the namespace of a node or workload.
func (l *Lab) NetNS(node string) (*hostnet.NetNS, error) {
	return hostnet.OpenNetNS(l.NetNSName(node))
}

// Endpoint is the root URL of the API of a site, or of one of its controllers. Of several controllers of a
// site it is the first one's.
func (l *Lab) Endpoint(name string) (string, error) {
	for _, s := range l.st.File.Sites {
		for _, k := range s.controllers() {
			if s.Name == name || k.Name == name {
				return "http://" + k.API, nil
			}
		}
	}
	return "", unknownf("lab %s has no site or controller %q", l.Name(), name)
}

// Client speaks to the API of Endpoint.
func (l *Lab) Client(ctx context.Context, name string) (*client.Client, error) {
	endpoint, err := l.Endpoint(name)
	if err != nil {
		return nil, err
	}
	return client.New(ctx, client.Options{Endpoint: endpoint})
}

// PinDir is where the agent of a host pins its maps and links.
func (l *Lab) PinDir(host string) string { return filepath.Join(l.bpfDir(), host) }

// The lab has a BPF file system of its own: it shows the same in every mount of
// /sys ("ip netns exec" hides /sys/fs/bpf), and all pins go when it goes.
func (l *Lab) bpfDir() string { return filepath.Join(runDir(l.Name()), "bpf") }

// MetricsSocket is the unix socket of a server's /metrics; server is a site, a controller of several or a host.
func (l *Lab) MetricsSocket(server string) string {
	return filepath.Join(runDir(l.Name()), server+"-metrics.sock")
}

func (l *Lab) agentSocket(site string) string {
	return filepath.Join(runDir(l.Name()), site+"-agents.sock")
}

// DataDir is the directory of what a server keeps; server is a site, a host or an etcd member.
func (l *Lab) DataDir(server string) string { return filepath.Join(dataDir(l.Name()), server) }

// Up makes a lab. If it cannot, or ctx ends, it takes away what it has made.
func Up(ctx context.Context, f *File, o Options) (*Lab, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	if err := Preflight(); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(runDir(f.Lab)); err == nil {
		return nil, fmt.Errorf("lab %s: %w", f.Lab, ErrExists) // not: its ports are taken
	}
	if err := checkPorts(f); err != nil {
		return nil, err
	}
	l, lock, err := begin(f, o)
	if err != nil {
		return nil, err
	}
	defer lock.unlock()
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, remove(l.Name()))
	}
	return l, nil
}

// checkPorts finds out early, and in words, that somebody else has an API's port.
func checkPorts(f *File) error {
	for _, s := range f.Sites {
		for _, k := range s.controllers() {
			ln, err := listenAPI(s, k)
			if err != nil {
				return err
			}
			ln.Close()
		}
	}
	return nil
}

// listenAPI takes the port of a controller's API.
func listenAPI(s Site, k Controller) (*net.TCPListener, error) {
	ln, err := net.Listen("tcp", k.API)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("%s: another process listens on %s, which is to be its API's", s.called(k), k.API)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: its API cannot listen on %s: %w", s.called(k), k.API, err)
	}
	return ln.(*net.TCPListener), nil
}

// makeRunDir makes the lab's directory, which must be new: that decides who has
// the name.
func makeRunDir(lab string) error {
	for range 10 {
		if err := noteParents(); err != nil {
			return fmt.Errorf("make lab %s: %w", lab, err)
		}
		err := os.Mkdir(runDir(lab), 0o755)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("lab %s: %w", lab, ErrExists)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("make lab %s: %w", lab, err)
		}
		// The end of another lab has just taken the empty parent away.
	}
	return fmt.Errorf("make lab %s: %s does not stay", lab, runRoot)
}

// begin writes the first state of a lab.
func begin(f *File, o Options) (*Lab, *labLock, error) {
	if err := makeRunDir(f.Lab); err != nil {
		return nil, nil, err
	}
	lock, err := lockLab(context.Background(), f.Lab, false)
	if err != nil {
		return nil, nil, err
	}
	l := &Lab{exe: o.Exe, progress: o.Progress}
	if l.progress == nil {
		l.progress = func(string) {}
	}
	fail := func(err error) (*Lab, *labLock, error) {
		lock.unlock()
		return nil, nil, errors.Join(err, os.RemoveAll(runDir(f.Lab)))
	}
	if l.exe == "" {
		if l.exe, err = os.Executable(); err != nil {
			return fail(fmt.Errorf("find this program: %w", err))
		}
	}
	token, err := newToken()
	if err != nil {
		return fail(err)
	}
	l.st = &state{Format: stateFormat, File: *f, Token: token}
	if o.Owned {
		l.st.Owner = &item{Kind: itemProcess, Name: "owner", PID: os.Getpid(), Start: startTime(os.Getpid())}
	}
	if err := l.st.save(); err != nil {
		return fail(err)
	}
	return l, lock, nil
}

func (l *Lab) build(ctx context.Context) error {
	f := &l.st.File
	if err := l.makeDirs(); err != nil {
		return err
	}
	if err := l.makeControl(ctx); err != nil {
		return err
	}
	for _, s := range f.Sites {
		for _, k := range s.controllers() {
			l.progress(fmt.Sprintf("start the controller %s on %s", k.Name, k.API))
			if err := l.startController(s, k); err != nil {
				return err
			}
		}
	}
	// The namespaces are made while the controllers start.
	for _, n := range f.nodes() {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.progress("make node " + n.Name)
		if err := l.makeNode(n, f.isRouter(n.Name)); err != nil {
			return err
		}
	}
	for _, link := range f.Links {
		l.progress(fmt.Sprintf("link %s and %s", link.Ends[0].Node, link.Ends[1].Node))
		if err := l.makeLink(link); err != nil {
			return err
		}
	}
	if err := l.joinHosts(); err != nil {
		return err
	}
	for _, n := range f.nodes() {
		if err := l.addRoutes(n.Name, f.Routes[n.Name]); err != nil {
			return err
		}
	}
	for _, s := range f.Sites {
		for _, k := range s.controllers() {
			if err := l.awaitAPI(ctx, k); err != nil {
				return err
			}
		}
	}
	for _, s := range f.Sites {
		for _, h := range s.Hosts {
			l.progress("start the agent of " + h.Name)
			if err := l.startAgent(s, h); err != nil {
				return err
			}
		}
	}
	for _, s := range f.Sites {
		for _, h := range s.Hosts {
			if err := l.awaitAgent(ctx, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lab) makeDirs() error {
	if err := os.MkdirAll(dataRoot, 0o755); err != nil {
		return fmt.Errorf("make the lab's directories: %w", err)
	}
	data := dataDir(l.Name())
	if _, err := os.Stat(data); err == nil {
		return fmt.Errorf("make the lab's directories: %s exists and is not this lab's; move it away", data)
	}
	if _, err := l.st.note(item{Kind: itemDir, Name: data}); err != nil {
		return err
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		return fmt.Errorf("make the lab's directories: %w", err)
	}
	if err := os.Mkdir(l.bpfDir(), 0o700); err != nil {
		return fmt.Errorf("make the lab's directories: %w", err)
	}
	if _, err := l.st.note(item{Kind: itemMount, Name: l.bpfDir()}); err != nil {
		return err
	}
	if err := unix.Mount("bpf", l.bpfDir(), "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount a BPF file system on %s: %w", l.bpfDir(), err)
	}
	return nil
}

// makeNetNS makes a namespace that is written down before and recognised after.
func (l *Lab) makeNetNS(node string) (*hostnet.NetNS, error) {
	name := l.NetNSName(node)
	if ino, err := hostnet.NetNSInode(name); err != nil || ino != 0 {
		return nil, errors.Join(err, fmt.Errorf("network namespace %s exists and is not this lab's", name))
	}
	i, err := l.st.note(item{Kind: itemNetNS, Name: name})
	if err != nil {
		return nil, err
	}
	ns, err := hostnet.CreateNetNS(name)
	if err != nil {
		return nil, err
	}
	if l.st.Items[i].Inode, err = hostnet.NetNSInode(name); err == nil {
		err = l.st.save()
	}
	// Nothing in a lab speaks IPv6 unless a file or a person says so: router
	// solicitations would stand among the packets that one wants to see.
	for _, d := range []string{"all", "default"} {
		if err == nil {
			err = ns.SetSysctl("net.ipv6.conf."+d+".disable_ipv6", "1")
		}
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

func (l *Lab) makeNode(n Node, router bool) error {
	ns, err := l.makeNetNS(n.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	if router {
		if err := ns.SetSysctl("net.ipv4.ip_forward", "1"); err != nil {
			return err
		}
	}
	for _, k := range sortedKeys(n.Sysctls) {
		if err := ns.SetSysctl(k, n.Sysctls[k]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) makeLink(link Link) error {
	var ends [2]hostnet.VethEnd
	for i, e := range link.Ends {
		ns, err := l.NetNS(e.Node)
		if err != nil {
			return err
		}
		defer ns.Close()
		ends[i] = hostnet.VethEnd{NetNS: ns, Name: e.Interface}
	}
	if err := hostnet.AddVeth(ends[0], ends[1], link.mtu()); err != nil {
		return err
	}
	for i, e := range link.Ends {
		if e.Address.IsValid() {
			if err := ends[i].NetNS.AddAddr(e.Interface, e.Address); err != nil {
				return err
			}
		}
		if err := ends[i].NetNS.SetUp(e.Interface); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) addRoutes(node string, routes []Route) error {
	if len(routes) == 0 {
		return nil
	}
	ns, err := l.NetNS(node)
	if err != nil {
		return err
	}
	defer ns.Close()
	for _, r := range routes {
		if err := ns.AddRoute(r.To, r.Via, ""); err != nil {
			return err
		}
	}
	return nil
}
