package service

import (
	"os"
	"path/filepath"

	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// readFiles reads the peerings. A directory without files has none, which is no error
// here: they may come yet.
func readFiles(paths []string) ([]peering.Peering, error) {
	var full []string
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if st.IsDir() {
			yaml, err := filepath.Glob(filepath.Join(p, "[^.]*.y*ml"))
			if err != nil {
				return nil, err
			}
			if len(yaml) == 0 {
				continue
			}
		}
		full = append(full, p)
	}
	if len(full) == 0 {
		return nil, nil
	}
	return peering.ReadFiles(full, nil)
}
