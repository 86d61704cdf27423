package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/filestamp"
)

// checkEvery is how often at most the files are looked at.
const checkEvery = time.Second

// Certs are a certificate, its key and, if clients must show certificates, their
// authorities, in PEM files. Changed files are taken with the next connection.
// While they are not sound, as in the middle of a change, the old ones stay.
type Certs struct {
	cert, key, ca string
	log           *slog.Logger

	mu      sync.Mutex
	now     *tls.Config
	seen    [3]filestamp.Stamp // of the files that now was made of, or that were refused
	checked time.Time
}

// LoadCerts reads the files, which must be sound; ca may be empty.
func LoadCerts(cert, key, ca string, log *slog.Logger) (*Certs, error) {
	c := &Certs{cert: cert, key: key, ca: ca, log: log}
	c.seen = c.stamps()
	var err error
	if c.now, err = c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// config is that of a server: each connection asks for the present one.
func (c *Certs) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// Look looks at the files now.
func (c *Certs) Look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
}

func (c *Certs) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < checkEvery {
		return c.now
	}
	return c.look()
}

// look needs mu.
func (c *Certs) look() *tls.Config {
	c.checked = time.Now()
	seen := c.stamps()
	if seen[0].Same(c.seen[0]) && seen[1].Same(c.seen[1]) && seen[2].Same(c.seen[2]) {
		return c.now
	}
	// What is refused is looked at again when it has changed again.
	c.seen = seen
	now, err := c.load()
	if err != nil {
		c.log.Error("the API's changed certificate is not sound: the old one stays", "cert", c.cert, "error", err)
		return c.now
	}
	c.now = now
	c.log.Info("the API's certificate has changed", "cert", c.cert, "expires", now.Certificates[0].Leaf.NotAfter)
	return now
}

func (c *Certs) stamps() (out [3]filestamp.Stamp) {
	for i, path := range []string{c.cert, c.key, c.ca} {
		if path != "" {
			out[i] = filestamp.Of(path)
		}
	}
	return out
}

func (c *Certs) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{cert}}
	if c.ca == "" {
		return out, nil
	}
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", c.ca)
	}
	out.ClientAuth, out.ClientCAs = tls.RequireAndVerifyClientCert, pool
	return out, nil
}
