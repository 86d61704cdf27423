package controller

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"testing"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestTLS: the API wants a certificate of its clients where it has authorities,
// and an agent comes over a network with one.
func TestTLS(t *testing.T) {
	dir := socketDir(t)
	made := testutil.SelfSigned(t, dir, "h0")
	files := config.TLSFiles{Cert: made.CertFile, Key: made.KeyFile, CA: made.CAFile}
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
	if err := testutil.Receive(t, "the agent's end", done); err != nil {
		t.Error(err)
	}
}
