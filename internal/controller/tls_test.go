package controller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
)

// selfSigned is a certificate that is its own authority, for both ends of a
// connection, with the names of host h0 and of loopback.
func selfSigned(t testing.TB, dir string) config.TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "h0"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := config.TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "cert.pem")}
	for path, block := range map[string]*pem.Block{f.Cert: {Type: "CERTIFICATE", Bytes: cert}, f.Key: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestTLS: the API wants a certificate of its clients where it has authorities,
// and an agent comes over a network with one.
func TestTLS(t *testing.T) {
	dir := socketDir(t)
	files := selfSigned(t, dir)
	l := startWith(t, dir, func(c *config.Controller) {
		c.APITLS, c.AgentTLS, c.AgentListen, c.AgentSocket = files, files, "127.0.0.1:0", ""
	})
	cert, pool, err := loadTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	get := func(c *tls.Config) error {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c}, Timeout: deadline}
		defer client.CloseIdleConnections()
		resp, err := client.Get("https://" + l.addrs.API.String() + "/v2.0/networks")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := get(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}); err != nil {
		t.Error(err)
	}
	if err := get(&tls.Config{RootCAs: pool}); err == nil {
		t.Error("a client without a certificate was served")
	}
	client, err := hostsync.NewClient(hostsync.ClientOptions{
		Target: l.addrs.Agents.String(), TLS: &hostsync.TLSFiles{Cert: files.Cert, Key: files.Key, CA: files.CA}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{Client: client, updates: make(chan hostsync.Update, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx, a) }()
	a.until(t, "anything", func(hoststate.State) bool { return true })
	waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 1`)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
