package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostnet"
)

// Replace turns this process into a command in the namespace of a node or workload:
// terminal, signals and exit code are the command's. It returns only with an error.
func (l *Lab) Replace(name string, argv []string) error {
	if len(argv) == 0 {
		return errors.New("no command")
	}
	ns, err := l.openNode(name)
	if err != nil {
		return err
	}
	defer ns.Close()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("run in %s: %w", name, err)
	}
	return ns.Do(func() error {
		// execve makes the calling thread the process, and its namespace with it.
		return fmt.Errorf("run %s in %s: %w", path, name, unix.Exec(path, argv, l.execEnv()))
	})
}

// Start starts a command in the namespace of a node or workload.
func (l *Lab) Start(name string, cmd *exec.Cmd) error {
	ns, err := l.openNode(name)
	if err != nil {
		return err
	}
	defer ns.Close()
	if cmd.Env == nil {
		cmd.Env = l.execEnv()
	}
	if err := ns.Start(cmd); err != nil {
		return fmt.Errorf("run %s in %s: %w", cmd.Path, name, err)
	}
	return nil
}

// execEnv has the lab's token, so that what a command leaves running ends with the
// lab.
func (l *Lab) execEnv() []string { return append(os.Environ(), l.st.tokenEnv()) }

// Own makes cmd, which is not started yet, one of the lab's processes: where it is still there when
// the lab goes, it is ended with it, also after a crash of whoever started it.
func (l *Lab) Own(cmd *exec.Cmd) { cmd.Env = append(cmd.Environ(), l.st.tokenEnv()) }

func (l *Lab) openNode(name string) (*hostnet.NetNS, error) {
	if known := l.nodeNames(); !slices.Contains(known, name) {
		return nil, unknownf("lab %s has no node or workload %q; it has %s", l.Name(), name, strings.Join(known, ", "))
	}
	return l.NetNS(name)
}

func (l *Lab) nodeNames() []string {
	var out []string
	for _, n := range l.st.File.nodes() {
		out = append(out, n.Name)
	}
	for _, s := range l.st.File.Sites {
		out = append(out, s.controlNames()...)
	}
	for _, w := range l.st.Workloads {
		out = append(out, w.Name)
	}
	return out
}
