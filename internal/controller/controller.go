// Package controller runs a site's controller: store, rules, API, and the streams
// to the agents of the site's hosts. Any number of controllers may share one etcd;
// each feeds the agents that are connected to it.
//
// A change goes from the API into the store, comes back by the store's watch, and
// from there to the hosts as a delta of what they must know. Agents' reports go
// the other way, in batches.
package controller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/revocation"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/systemd"
)

// Config configures Run.
type Config struct {
	config.Controller
	Version string
	Logger  *slog.Logger
	// Reload, if not nil, asks for the files of certificates, policy and audit log to
	// be looked at now.
	Reload <-chan struct{}
	// OnReady, if not nil, is called once when the API answers, with the addresses
	// in use (those of ports given as 0 are known only then).
	OnReady func(Addresses)
	// Service, if not nil, is told when the API and the agents' listeners serve, when
	// files are read again, and that the controller lives.
	Service *systemd.Service

	onStore      func(store.Store) // for tests: the store, once open
	letGo        time.Duration     // for tests: in place of letGoAfter
	questionWait time.Duration     // for tests: in place of takeTimeout
}

// Addresses are where a controller listens; nil where it does not.
type Addresses struct {
	API, Agents, Metrics net.Addr
}

// Run runs a controller until ctx ends, then ends it in order and returns nil; or
// until it cannot go on.
func Run(ctx context.Context, cfg Config) (err error) {
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	// Everything that another process may hold is taken first, so that a mistake
	// shows at once.
	ls, err := listen(cfg.Controller)
	if err != nil {
		return err
	}
	defer ls.close()
	certs, err := apiCerts(cfg.APITLS, log)
	if err != nil {
		return err
	}
	quotas, err := defaultQuotas(cfg.Controller)
	if err != nil {
		return err
	}
	connections, err := limitConnections(cfg.API.MaxConnections, log)
	if err != nil {
		return err
	}
	counts := metrics.NewController(cfg.Version)
	auditLog, err := openAudit(cfg.API.AuditLog, log, counts)
	if err != nil {
		return err
	}
	if auditLog != nil {
		defer func() {
			if cerr := auditLog.Close(); cerr != nil && err == nil {
				err = fmt.Errorf("close the audit log: %w", cerr)
			}
		}()
	}
	if err := distinctAuthorities(cfg.Controller); err != nil {
		return err
	}
	revoked, err := loadRevoked(cfg.Controller, log)
	if err != nil {
		return err
	}
	gate, err := openGate(cfg.Controller, counts, log)
	if err != nil {
		return err
	}
	defer gate.close()

	opts, err := storeOptions(cfg.Controller, log)
	if err != nil {
		return err
	}
	begin := time.Now()
	etcd, err := etcdstore.Open(ctx, opts)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() {
		if cerr := etcd.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close store: %w", cerr)
		}
	}()
	log.Info("store open", "took", time.Since(begin).Round(time.Millisecond))

	return (&parts{
		cfg: cfg, log: log, listeners: ls, certs: certs, quotas: quotas, connections: connections, counts: counts, audit: auditLog, gate: gate, revoked: revoked,
	}).run(ctx, countedStore{etcd, counts}, begin)
}

func storeOptions(c config.Controller, log *slog.Logger) (etcdstore.Options, error) {
	o := etcdstore.Options{Migrations: site.Migrations(), Logger: log}
	if len(c.EtcdEndpoints) == 0 {
		o.DataDir, o.ReadSocket = c.DataDir, true
		return o, nil
	}
	o.Endpoints, o.Prefix = c.EtcdEndpoints, c.EtcdPrefix
	if c.EtcdTLS.Any() {
		cert, pool, err := loadTLS(c.EtcdTLS)
		if err != nil {
			return o, fmt.Errorf("TLS to etcd: %w", err)
		}
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool}
	}
	if c.EtcdUser != "" {
		b, err := os.ReadFile(c.EtcdPassword)
		if err != nil {
			return o, fmt.Errorf("--etcd-password-file: %w", err)
		}
		o.Username, o.Password = c.EtcdUser, strings.TrimRight(string(b), "\r\n")
	}
	return o, nil
}

func loadTLS(f config.TLSFiles) (tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil || f.CA == "" {
		return cert, nil, err
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return cert, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return cert, nil, fmt.Errorf("%s holds no certificate in PEM", f.CA)
	}
	return cert, pool, nil
}

// apiCerts is nil without TLS. With authorities, clients must show a certificate.
func apiCerts(f config.TLSFiles, log *slog.Logger) (*apiserver.Certs, error) {
	if f.Cert == "" {
		return nil, nil
	}
	c, err := apiserver.LoadCerts(f.Cert, f.Key, f.CA, log)
	if err != nil {
		return nil, fmt.Errorf("TLS of the API: %w", err)
	}
	return c, nil
}

// defaultQuotas are the limits of projects that have none of their own. Where nobody
// authenticates, whoever asks is the operator, so that only --quota limits anything;
// under Keystone the limits that it does not name are Neutron's.
func defaultQuotas(c config.Controller) (map[string]int64, error) {
	limits, err := c.QuotaLimits()
	if err != nil {
		return nil, fmt.Errorf("--quota: %w", err)
	}
	for resource := range limits {
		if !slices.Contains(site.QuotaResources(), resource) {
			return nil, fmt.Errorf("--quota: there is no quota of %q; there is of %s", resource, strings.Join(site.QuotaResources(), ", "))
		}
	}
	if c.Auth.Method == config.AuthKeystone {
		out := site.NeutronQuotas()
		maps.Copy(out, limits)
		return out, nil
	}
	return limits, nil
}

func agentTLS(c config.Controller, revoked *revocation.List) *hostsync.TLSFiles {
	if c.AgentListen == "" {
		return nil
	}
	return &hostsync.TLSFiles{Cert: c.AgentTLS.Cert, Key: c.AgentTLS.Key, CA: c.AgentTLS.CA, Revoked: revoked}
}

func warnOpen(c config.Controller, log *slog.Logger) {
	switch {
	case !c.InsecureAPI:
	case c.Auth.Method == config.AuthKeystone && c.APITLS.Cert == "":
		log.Warn("tokens come to the API in the clear: who can listen can use them", "api", c.APIListen)
	case c.Auth.Method != config.AuthKeystone && c.APITLS.CA == "":
		log.Warn("the API asks nobody who they are: whoever reaches its address can change the site", "api", c.APIListen)
	}
}
