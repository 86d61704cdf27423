package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const attachmentsFile = "attachments.json"

// attachments are the interfaces with a program, kept in a file: an agent that
// starts must bring each of them up to date, those without a port as well.
type attachments struct {
	path string
	last []byte

	Life     string         `json:"life"`
	Workload map[int]string `json:"workload"` // index → name when last seen
	Underlay map[int]string `json:"underlay"`
	// Promiscuous are those that the agent made so.
	Promiscuous map[int]string `json:"promiscuous"`
}

func openAttachments(dir, life string) (*attachments, error) {
	at := &attachments{path: filepath.Join(dir, attachmentsFile)}
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
	return at, nil
}

func (a *attachments) has(index int) bool { _, ok := a.Workload[index]; return ok }

func (a *attachments) hasName(name string) bool {
	for _, n := range a.Workload {
		if n == name {
			return true
		}
	}
	return false
}

func (a *attachments) addWorkload(index int, name string) { a.Workload[index] = name }
func (a *attachments) dropWorkload(index int)             { delete(a.Workload, index) }
func (a *attachments) addUnderlay(index int, name string) { a.Underlay[index] = name }
func (a *attachments) dropUnderlay(index int)             { delete(a.Underlay, index) }

// save writes the file whole, where it differs from the last one. It is not
// synced: after a reboot it means nothing.
func (a *attachments) save() error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if bytes.Equal(b, a.last) {
		return nil
	}
	tmp := a.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, a.path); err != nil {
		return err
	}
	a.last = b
	return nil
}
