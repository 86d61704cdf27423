package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/journal"
	"github.com/causeway-net/causeway/internal/liveness"
)

// Cleanup takes away everything an agent with these settings ever added to this host:
// programs, maps and pins, devices, addresses, rules, routes, and what it
// remembers. Workload interfaces are free again after it. It is an error if such an
// agent is running.
func Cleanup(cfg Config) error {
	unlock, err := lock(cfg.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	// The programs first: while they are attached, packets go by devices and
	// addresses that would be missing.
	if _, err := os.Stat(cfg.PinDir); err == nil {
		dp, err := dataplane.Open(dataplane.Config{PinDir: cfg.PinDir})
		if err != nil {
			errs = append(errs, fmt.Errorf("open the dataplane: %w", err))
		} else if err := dp.Remove(); err != nil {
			errs = append(errs, fmt.Errorf("remove the dataplane: %w", err))
		}
	}
	host, err := hostnet.Open(cfg.StateDir, cfg.Log)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer host.Close()
	if err := endAllPromiscuous(cfg.StateDir, host); err != nil {
		errs = append(errs, err)
	}
	if err := host.Cleanup(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return errors.Join(errs...) // what it remembers says what is left to do
	}
	for _, f := range []string{journal.File, attachmentsFile, pathMTUFile, hostnet.LedgerFile, lockFile} {
		if err := os.Remove(filepath.Join(cfg.StateDir, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := liveness.Forget(cfg.StateDir); err != nil {
		errs = append(errs, err)
	}
	// The directory is not the agent's to remove where something else is in it.
	_ = os.Remove(cfg.StateDir)
	return errors.Join(errs...)
}
