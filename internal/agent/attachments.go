package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const attachmentsFile = "attachments.json"

// attachments are the interfaces with a program, kept in a file: an agent that
// starts must bring each of them up to date, those without a port as well.
type attachments struct {
	path string
	// dirty tells that the file does not say all yet.
	dirty bool
	// byName are the indexes of Workload.
	byName map[string]map[int]struct{}

	Life     string         `json:"life"`
	Workload map[int]string `json:"workload"` // index → name when last seen
	Underlay map[int]string `json:"underlay"`
	// Promiscuous are those that the agent made so.
	Promiscuous map[int]string `json:"promiscuous"`
}

func openAttachments(dir, life string) (*attachments, error) {
	at := &attachments{path: filepath.Join(dir, attachmentsFile), dirty: true, byName: map[string]map[int]struct{}{}}
	b, err := os.ReadFile(at.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if err := json.Unmarshal(b, at); err != nil {
			return nil, fmt.Errorf("%s: %w", at.path, err)
		}
	}
	if at.Life != life || at.Workload == nil {
		at.Workload = map[int]string{}
	}
	if at.Life != life || at.Underlay == nil {
		at.Underlay = map[int]string{}
	}
	if at.Life != life || at.Promiscuous == nil {
		at.Promiscuous = map[int]string{}
	}
	at.Life = life
	for index, name := range at.Workload {
		at.byName[name] = add(at.byName[name], index)
	}
	return at, nil
}

func (a *attachments) has(index int) bool { _, ok := a.Workload[index]; return ok }

func (a *attachments) hasName(name string) bool { return len(a.byName[name]) > 0 }

// called are the indexes of the interfaces that had a name when last seen.
func (a *attachments) called(name string) []int { return slices.Sorted(maps.Keys(a.byName[name])) }

func (a *attachments) addWorkload(index int, name string) {
	if old, ok := a.Workload[index]; ok && old == name {
		return
	}
	a.dropWorkload(index)
	a.Workload[index] = name
	a.byName[name] = add(a.byName[name], index)
	a.dirty = true
}

func (a *attachments) dropWorkload(index int) {
	name, ok := a.Workload[index]
	if !ok {
		return
	}
	delete(a.Workload, index)
	if delete(a.byName[name], index); len(a.byName[name]) == 0 {
		delete(a.byName, name)
	}
	a.dirty = true
}

// holds tells whether an interface of that name has the underlay's program, or was made
// promiscuous.
func (a *attachments) holds(name string) bool {
	for _, m := range []map[int]string{a.Underlay, a.Promiscuous} {
		for _, n := range m {
			if n == name {
				return true
			}
		}
	}
	return false
}

func (a *attachments) addUnderlay(index int, name string)    { a.set(a.Underlay, index, name) }
func (a *attachments) dropUnderlay(index int)                { a.unset(a.Underlay, index) }
func (a *attachments) addPromiscuous(index int, name string) { a.set(a.Promiscuous, index, name) }
func (a *attachments) dropPromiscuous(index int)             { a.unset(a.Promiscuous, index) }

func (a *attachments) set(m map[int]string, index int, name string) {
	if m[index] != name {
		m[index], a.dirty = name, true
	}
}

func (a *attachments) unset(m map[int]string, index int) {
	if _, ok := m[index]; ok {
		delete(m, index)
		a.dirty = true
	}
}

// save writes the file whole, where it does not say all yet. It is not
// synced: after a reboot it means nothing.
func (a *attachments) save() error {
	if !a.dirty {
		return nil
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	tmp := a.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, a.path); err != nil {
		return err
	}
	a.dirty = false
	return nil
}
