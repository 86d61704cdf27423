package hostsync

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/revocation"
)

// unixCredentials let in who is root or the same user as this process, as the
// kernel says (SO_PEERCRED, unix(7)). They are for unix sockets only.
type unixCredentials struct{ host model.HostName }

// unixInfo is the identity of a peer on a unix socket.
type unixInfo struct {
	credentials.CommonAuthInfo
	host model.HostName
}

func (unixInfo) AuthType() string { return "unix-peer" }

func (c unixCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("agents without TLS may come by unix sockets only, not by %s", conn.LocalAddr().Network())
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("peer of the agent socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, nil, fmt.Errorf("peer of the agent socket: %w", err)
	}
	if credErr != nil {
		return nil, nil, fmt.Errorf("peer credentials of the agent socket: %w", credErr)
	}
	if !admitted(cred.Uid, uint32(os.Geteuid())) {
		return nil, nil, fmt.Errorf("the agent socket is for root and user %d, not for user %d (process %d)", os.Geteuid(), cred.Uid, cred.Pid)
	}
	return conn, unixInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, c.host}, nil
}

func admitted(peer, own uint32) bool { return peer == 0 || peer == own }

func (c unixCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ok := conn.(*net.UnixConn); !ok {
		return nil, nil, fmt.Errorf("a controller at %s is reached by TLS only", conn.RemoteAddr())
	}
	return conn, unixInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (unixCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}
func (c unixCredentials) Clone() credentials.TransportCredentials { return c }
func (unixCredentials) OverrideServerName(string) error           { return nil }

// admission says which host a connection proves to be of.
type admission struct {
	byAuthority bool
	revoked     *revocation.List // nil: nobody is
}

// hostOf is the host that a stream's connection proves.
func (a admission) hostOf(ctx context.Context) (model.HostName, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", errors.New("the connection has no peer")
	}
	return a.hostOfInfo(p.AuthInfo)
}

func (a admission) hostOfInfo(info credentials.AuthInfo) (model.HostName, error) {
	switch info := info.(type) {
	case unixInfo:
		return info.host, nil
	case credentials.TLSInfo:
		if len(info.State.VerifiedChains) == 0 {
			return "", errors.New("the agent showed no certificate")
		}
		name, err := identity.Holder(info.State.VerifiedChains[0][0], identity.RoleHost, a.byAuthority)
		if err == nil {
			err = a.revoked.Check(info.State.VerifiedChains[0])
		}
		if err != nil {
			return "", fmt.Errorf("the agents' address of a controller: %w", err)
		}
		return model.HostName(name), nil
	}
	return "", errors.New("the connection does not prove who the agent is")
}

// TLSFiles are PEM files: this end's certificate and key, and the authorities
// that sign the other end's.
type TLSFiles struct {
	Cert, Key, CA string
	// Revoked says whom the authorities have taken back; nil: nobody.
	Revoked *revocation.List
}

// pool loads the authorities.
func (f TLSFiles) pool() (*x509.CertPool, error) {
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("load authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load authorities: %s holds no certificate in PEM", f.CA)
	}
	return pool, nil
}

// config loads the files. The certificate is read again for each handshake, so
// that a renewed one needs no restart.
func (f TLSFiles) config() (*tls.Config, *x509.CertPool, error) {
	load := func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("load certificate: %w", err)
		}
		return &c, nil
	}
	if _, err := load(); err != nil {
		return nil, nil, err
	}
	pool, err := f.pool()
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() },
	}, pool, nil
}

// server wants a certificate of every agent. The authorities, too, are read for each
// handshake; while they cannot be, those before stay.
func (f TLSFiles) server() (credentials.TransportCredentials, error) {
	cfg, pool, err := f.config()
	if err != nil {
		return nil, err
	}
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, pool
	cfg.NextProtos = []string{"h2"}
	each := cfg.Clone()
	var last atomic.Pointer[x509.CertPool]
	last.Store(pool)
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if now, err := f.pool(); err == nil {
			last.Store(now)
		}
		c := each.Clone()
		c.ClientCAs = last.Load()
		return c, nil
	}
	return credentials.NewTLS(cfg), nil
}

// client notes in chain what the controller shows.
func (f TLSFiles) client(chain *atomic.Pointer[[]*x509.Certificate]) (credentials.TransportCredentials, error) {
	cfg, pool, err := f.config()
	if err != nil {
		return nil, err
	}
	cfg.RootCAs = pool
	cfg.VerifyConnection = func(c tls.ConnectionState) error {
		if err := f.Revoked.Check(c.VerifiedChains[0]); err != nil {
			return fmt.Errorf("the controller: %w", err)
		}
		chain.Store(&c.VerifiedChains[0])
		return nil
	}
	return credentials.NewTLS(cfg), nil
}
