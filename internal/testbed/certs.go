package testbed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/causeway-net/causeway/internal/pki"
)

// authority is the directory of the certificate authority of a site with several hosts or controllers.
type authority string

// certDays is for how long a lab's certificates hold.
const certDays = 365

func (l *Lab) authority(s Site) authority {
	return authority(filepath.Join(dataDir(l.Name()), s.Name+"-pki"))
}

// certificates makes the authority of a site, where there is none yet, and the certificates of its
// controller and hosts. They go with the lab's data.
func (l *Lab) certificates(s Site) (authority, error) {
	dir := l.authority(s)
	if _, err := os.Stat(string(dir)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	a, err := pki.Create(string(dir), "Lab "+l.Name(), certDays)
	if err != nil {
		return dir, fmt.Errorf("certificates of site %s: %w", s.Name, err)
	}
	defer a.Close()
	var wanted []pki.Request
	for _, k := range s.controllers() {
		addr := "localhost" // as agents call the controller that they reach by a unix socket
		if s.clustered() {
			addr = l.controlIP(k.Name).String()
		}
		wanted = append(wanted, pki.Request{Kind: pki.Controller, Name: k.Name, Addresses: []string{addr}})
	}
	for _, h := range s.Hosts {
		wanted = append(wanted, pki.Request{Kind: pki.Host, Name: h.Name})
	}
	for _, r := range wanted {
		r.Days, r.Dir = certDays, string(dir)
		if _, err := a.Issue(r); err != nil {
			return dir, fmt.Errorf("certificates of site %s: %w", s.Name, err)
		}
	}
	return dir, nil
}

// flags name the files of one of them, and the authority.
func (a authority) flags(prefix string, kind pki.Kind, name string) []string {
	cert, key := pki.Certificate{Dir: string(a), Kind: kind, Name: name}.Files()
	return []string{prefix + "tls-cert", cert, prefix + "tls-key", key, prefix + "tls-ca", filepath.Join(string(a), pki.CAFile)}
}
