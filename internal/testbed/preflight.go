package testbed

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/causeway-net/causeway/internal/kernel"
)

// Preflight says what this machine lacks to hold a lab. It changes nothing.
func Preflight() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("root: namespaces and eBPF programs are made here (try: sudo causeway …)"))
	} else if err := kernel.Check(nil); err != nil {
		errs = append(errs, fmt.Errorf("another kernel: %w. Debian 12 has one in package linux-image-amd64 of bookworm-backports", err))
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
