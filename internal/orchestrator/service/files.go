package service

import (
	"errors"
	"fmt"

	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// files reads the peerings, and remembers what each file said when it could last be read: one that
// is being written, or has a mistake, ends no peering and holds up no other file.
type files struct {
	paths []string
	said  map[string][]peering.Peering // by file
}

// read gives the peerings of all files. The error names those that could not be read; ok is false
// where not even the files' names could be, so that nothing is known.
func (f *files) read() (specs []peering.Peering, ok bool, err error) {
	var names []string
	for _, p := range f.paths {
		some, err := peering.Files(p)
		if err != nil {
			return nil, false, err
		}
		names = append(names, some...)
	}
	var errs []error
	said := map[string][]peering.Peering{}
	where := map[string]string{}
	for _, name := range names {
		now, err := peering.ReadFile(name, nil)
		if err == nil && len(now) == 0 {
			err = fmt.Errorf("%s: no peering in it", name) // it is being written, say
		}
		if err != nil {
			errs = append(errs, err)
			now = f.said[name]
		}
		said[name] = now
		for _, p := range now {
			if other, twice := where[p.Name]; twice {
				errs = append(errs, fmt.Errorf("%s: a peering %s is in %s already", p.Place, p.Name, other))
				continue
			}
			where[p.Name] = p.Place
			specs = append(specs, p)
		}
	}
	f.said = said
	return specs, true, errors.Join(errs...)
}
