package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/test/process"
)

// realHost is host 0 with a real agent: programs, maps and interfaces, in a network namespace of its own.
type realHost struct {
	site    *site
	ns      string
	pins    string
	process *process.Process
	ports   *ebpf.Map
}

const (
	pinRoot = "/sys/fs/bpf/cwbenchscale"
	// readyTime is how long the real agent may take until all its ports work.
	readyTime = 2 * time.Minute
)

func run(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// startReal makes the host with the interfaces of its ports and some for ports to come, and waits until its ports are ACTIVE.
func startReal(ctx context.Context, s *site, spare int) (_ *realHost, err error) {
	h := &realHost{site: s, ns: fmt.Sprint("cwbenchscale-", os.Getpid()), pins: filepath.Join(pinRoot, fmt.Sprint(os.Getpid()))}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if _, err := run("ip", "netns", "add", h.ns); err != nil {
		return nil, err
	}
	if err := h.interfaces(spare); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "real")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.Command("nsenter", "--net=/run/netns/"+h.ns, s.binary, "agent", "--controller", "unix://"+filepath.Join(s.sockets, "controller.sock"),
		"--pin-dir", h.pins, "--state-dir", dir, "--underlay-interface", "ul0", "--fabric-address", fabricAddr(0).String(), "--metrics-listen", "unix:"+filepath.Join(s.sockets, "agent.sock"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if h.process, err = process.Start(cmd, filepath.Join(dir, "agent.log")); err != nil {
		return nil, err
	}
	if err := h.active(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, h.process.Tail())
	}
	return h, h.openPorts()
}

// interfaces makes the host's side of its ports' interfaces, and an underlay.
func (h *realHost) interfaces(spare int) error {
	var b strings.Builder
	add := func(name string) {
		fmt.Fprintf(&b, "link add %s type veth peer name %s.vm\nlink set %s up\nlink set %s.vm up\n", name, name, name, name)
	}
	fmt.Fprintln(&b, "link set lo up")
	add("ul0")
	fmt.Fprintf(&b, "addr add %s/16 dev ul0\n", fabricAddr(0))
	p := 0
	for _, n := range h.site.drawing.Networks {
		for _, host := range n.ports {
			if host == 0 {
				add(interfaceName(p))
			}
			p++
		}
	}
	for i := range spare {
		add(spareName(i))
	}
	cmd := exec.Command("ip", "-n", h.ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the real host's interfaces: %w: %s", err, out)
	}
	return nil
}

func spareName(i int) string { return fmt.Sprint("spare", i) }

// active waits until all ports of the host are.
func (h *realHost) active(ctx context.Context) error {
	return process.Poll(ctx, 100*time.Millisecond, readyTime, "the real agent's ports", func() (bool, error) {
		var out struct{ Ports []struct{ Status string } }
		err := h.site.client.call(ctx, http.MethodGet, "ports?fields=status&binding:host_id="+hostName(0), nil, &out)
		for _, p := range out.Ports {
			if p.Status != "ACTIVE" {
				return false, errors.Join(err, h.process.Ended())
			}
		}
		return len(out.Ports) > 0, errors.Join(err, h.process.Ended())
	})
}

// openPorts opens the map of ports.
func (h *realHost) openPorts() error {
	return filepath.WalkDir(h.pins, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || h.ports != nil || d.Name() != "ports" {
			return err
		}
		h.ports, err = ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
		return err
	})
}

// indexes are those of the spare interfaces.
func (h *realHost) indexes(spare int) ([]uint32, error) {
	out, err := run("ip", "-n", h.ns, "-j", "link", "show")
	if err != nil {
		return nil, err
	}
	var links []struct {
		IfIndex uint32 `json:"ifindex"`
		IfName  string `json:"ifname"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, err
	}
	at := map[string]uint32{}
	for _, l := range links {
		at[l.IfName] = l.IfIndex
	}
	var all []uint32
	for i := range spare {
		all = append(all, at[spareName(i)])
	}
	return all, nil
}

// toMap makes ports on the host and times each from the request until its row is in the map.
func (h *realHost) toMap(ctx context.Context, spare int) (took []float64, err error) {
	if h.ports == nil {
		return nil, fmt.Errorf("no map of ports below %s", h.pins)
	}
	index, err := h.indexes(spare)
	if err != nil {
		return nil, err
	}
	for i := range spare {
		n := i % len(h.site.drawing.Networks)
		begin := time.Now()
		id, err := h.site.client.create(ctx, "port", boundPort(h.site.made.networks[n], hostName(0), spareName(i)))
		if err != nil {
			return nil, err
		}
		err = process.Poll(ctx, 200*time.Microsecond, time.Minute, "the port in the map", func() (bool, error) {
			v, err := h.ports.LookupBytes(index[i])
			return v != nil, errors.Join(err, h.process.Ended())
		})
		if err != nil {
			return nil, err
		}
		took = append(took, ms(time.Since(begin)))
		if err := h.site.client.call(ctx, http.MethodDelete, "ports/"+id, nil, nil); err != nil {
			return nil, err
		}
	}
	return took, nil
}

func (h *realHost) close() error {
	var errs []error
	if h.ports != nil {
		errs = append(errs, h.ports.Close())
	}
	if h.process != nil {
		errs = append(errs, h.process.Stop())
	}
	errs = append(errs, os.RemoveAll(h.pins))
	_ = os.Remove(pinRoot) // stays while another's pins are in it
	_, err := run("ip", "netns", "del", h.ns)
	return errors.Join(append(errs, err)...)
}
