package hwvtep

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestTLS: OVSDB goes by TLS, with certificates at both ends; a switch with a
// certificate of another authority is refused.
func TestTLS(t *testing.T) {
	o := prepareOVS(t)
	cert := testutil.SelfSigned(t, filepath.Dir(o.path("cert.pem")), "switch")
	o.more = []string{fmt.Sprintf("--remote=pssl:%d:127.0.0.1", o.address.Port()),
		"--private-key=" + cert.KeyFile, "--certificate=" + cert.CertFile, "--ca-cert=" + cert.CAFile}
	o.start()
	o.ctl("add-ps", "vt0", "--", "set", "Physical_Switch", "vt0", "tunnel_ips=10.8.0.1", "--", "add-port", "vt0", "p0", "--", "add-port", "vt0", "p1")
	alive := func(context.Context) error { return nil }
	site := newFakeSite()
	strange := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	targets, stop := driveWith(t, Options{Site: site, Driver: "strange", TLS: strange, Alive: alive})
	targets <- o.target(example())
	site.until(t, "the certificate is refused", func(s *fakeSite) bool {
		return !s.status.Connected && strings.Contains(s.status.Error, "certificate")
	})
	stop()
	good := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cert.CA, Certificates: []tls.Certificate{cert.TLS}}
	targets, _ = driveWith(t, Options{Site: site, Driver: "good", TLS: good, Alive: alive})
	targets <- o.target(example())
	site.until(t, "in sync", inSync)
}
