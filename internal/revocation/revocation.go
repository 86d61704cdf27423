// Package revocation says which certificates their authorities have taken back. It reads
// certificate revocation lists (RFC 5280 §5) from a PEM file, and again whenever the file
// changes.
package revocation

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/filestamp"
)

// Interval is how often Watch looks at the files.
const Interval = 2 * time.Second

// maxFile bounds what is read of a file, bytes: a list of some 500,000 certificates.
const maxFile = 32 << 20

// List is what the lists of one file say. A nil List says nothing of anybody.
type List struct {
	path, authorities string
	log               *slog.Logger

	mu      sync.Mutex
	now     *lists
	seen    [2]filestamp.Stamp // of both files, as now was made or the last time it was refused
	changed chan struct{}      // closed, and made anew, when now is another
}

// lists are sound: each is signed by one of the authorities, and each of these has one.
type lists struct {
	revoked map[string]map[string]time.Time // by issuer (DER of its name) and serial number
	until   time.Time                       // when the first of them should have been followed by another
}

// Load reads the lists in path. They must be sound: signed by the authorities in the file
// of that name, with a list of each of these.
func Load(path, authorities string, log *slog.Logger) (*List, error) {
	l := &List{path: path, authorities: authorities, log: log, changed: make(chan struct{})}
	l.seen = l.stamps()
	var err error
	if l.now, err = read(path, authorities); err != nil {
		return nil, err
	}
	l.warn(l.now)
	return l, nil
}

// Check returns an error that names the certificate, if one of the chain's was taken back or
// is of an authority that has no list. The chain is one that was verified, the authority last.
func (l *List) Check(chain []*x509.Certificate) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	now := l.now
	l.mu.Unlock()
	for i, c := range chain {
		if i == len(chain)-1 {
			return nil // the authority that is trusted, whoever signed it
		}
		serials, ok := now.revoked[string(c.RawIssuer)]
		if !ok {
			return fmt.Errorf("the certificate %s (number %x) was signed by %s, and %s has no revocation list of that authority", c.Subject, c.SerialNumber, c.Issuer, l.path)
		}
		if at, revoked := serials[string(c.SerialNumber.Bytes())]; revoked {
			return fmt.Errorf("the certificate %s (number %x) was revoked by its authority at %s", c.Subject, c.SerialNumber, at.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// Changed is closed when the lists are others than at this moment; of a nil List, never.
func (l *List) Changed() <-chan struct{} {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Watch looks at the files every Interval until ctx ends.
func (l *List) Watch(ctx context.Context) {
	if l == nil {
		return
	}
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.Look()
		}
	}
}

// Look looks at the files now. While they are not sound, as in the middle of a change, what
// they said before holds.
func (l *List) Look() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.stamps()
	if seen[0].Same(l.seen[0]) && seen[1].Same(l.seen[1]) {
		return
	}
	l.seen = seen
	now, err := read(l.path, l.authorities)
	if err != nil {
		l.log.Error("the changed revocation list is not sound: the one before holds", "list", l.path, "error", err)
		return
	}
	l.now = now
	close(l.changed)
	l.changed = make(chan struct{})
	n := 0
	for _, serials := range now.revoked {
		n += len(serials)
	}
	l.log.Info("the revocation list has changed", "list", l.path, "revoked", n, "next_update", now.until)
	l.warn(now)
}

// warn of a list that should have been followed by another. It still holds: nobody is the
// safer for a site that takes no certificate any more.
func (l *List) warn(now *lists) {
	if !now.until.IsZero() && time.Now().After(now.until) {
		l.log.Warn("the revocation list is out of date: who was revoked since is not known", "list", l.path, "next_update", now.until)
	}
}

func (l *List) stamps() [2]filestamp.Stamp {
	return [2]filestamp.Stamp{filestamp.Of(l.path), filestamp.Of(l.authorities)}
}

func read(path, authorities string) (*lists, error) {
	var signers []*x509.Certificate
	err := blocks(authorities, "CERTIFICATE", func(der []byte) error {
		c, err := x509.ParseCertificate(der)
		signers = append(signers, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &lists{revoked: map[string]map[string]time.Time{}}
	err = blocks(path, "X509 CRL", func(der []byte) error {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		return out.add(crl, signers)
	})
	if err != nil {
		return nil, err
	}
	for _, s := range signers {
		if _, ok := out.revoked[string(s.RawSubject)]; !ok {
			return nil, fmt.Errorf("%s: no revocation list of the authority %s, which %s names", path, s.Subject, authorities)
		}
	}
	return out, nil
}

func (ls *lists) add(crl *x509.RevocationList, signers []*x509.Certificate) error {
	err := fmt.Errorf("the list of %s is of no authority that is named", crl.Issuer)
	for _, s := range signers {
		if bytes.Equal(s.RawSubject, crl.RawIssuer) {
			if err = crl.CheckSignatureFrom(s); err == nil {
				break
			}
			err = fmt.Errorf("the list of %s: %w", crl.Issuer, err)
		}
	}
	if err != nil {
		return err
	}
	for _, x := range crl.Extensions {
		if x.Critical { // RFC 5280 §5.2
			return fmt.Errorf("the list of %s has a critical extension, %v, which is not known here: is it a part of a list, or the difference to one?", crl.Issuer, x.Id)
		}
	}
	serials := ls.revoked[string(crl.RawIssuer)]
	if serials == nil {
		serials = make(map[string]time.Time, len(crl.RevokedCertificateEntries))
		ls.revoked[string(crl.RawIssuer)] = serials
	}
	for _, e := range crl.RevokedCertificateEntries {
		serials[string(e.SerialNumber.Bytes())] = e.RevocationTime
	}
	if !crl.NextUpdate.IsZero() && (ls.until.IsZero() || crl.NextUpdate.Before(ls.until)) {
		ls.until = crl.NextUpdate
	}
	return nil
}

// blocks calls f for each PEM block of a kind in a file, which must have one.
func blocks(path, kind string, f func(der []byte) error) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.Size() > maxFile {
		return fmt.Errorf("%s has %d bytes; %d are read at most", path, st.Size(), maxFile)
	}
	rest, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	n := 0
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != kind {
			continue
		}
		n++
		if err := f(b.Bytes); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if n == 0 {
		return errors.New(path + " holds no " + kind + " in PEM")
	}
	return nil
}
