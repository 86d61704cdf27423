package testbed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The least kernel: TCX links came with 6.6.
const (
	needMajor = 6
	needMinor = 6
)

// Preflight says what this machine lacks to hold a lab. It changes nothing.
func Preflight() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("root: namespaces and eBPF programs are made here (try: sudo causeway …)"))
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		errs = append(errs, fmt.Errorf("uname: %w", err))
	} else if r := unix.ByteSliceToString(u.Release[:]); !kernelAtLeast(r, needMajor, needMinor) {
		errs = append(errs, fmt.Errorf("kernel %d.%d or newer; this is %s", needMajor, needMinor, r))
	}
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(b, []byte("\tbpf\n")) {
		errs = append(errs, errors.New("a kernel with the BPF file system (CONFIG_BPF_SYSCALL)"))
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		errs = append(errs, errors.New("a kernel with BTF (CONFIG_DEBUG_INFO_BTF): /sys/kernel/btf/vmlinux"))
	}
	if len(errs) == 0 {
		return nil
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = "\n  - " + e.Error()
	}
	return fmt.Errorf("this machine cannot hold a lab, and nothing was changed; it needs:%s", strings.Join(lines, ""))
}

// kernelAtLeast reads releases like 6.12.43+deb13.
func kernelAtLeast(release string, major, minor int) bool {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return false
	}
	digits := func(s string) int {
		n, err := strconv.Atoi(s[:len(s)-len(strings.TrimLeft(s, "0123456789"))])
		if err != nil {
			return -1
		}
		return n
	}
	a, b := digits(parts[0]), digits(parts[1])
	return a > major || a == major && b >= minor
}
