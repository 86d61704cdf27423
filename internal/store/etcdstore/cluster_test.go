package etcdstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

func freeURL(t testing.TB, scheme string) url.URL {
	t.Helper()
	addr, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return url.URL{Scheme: scheme, Host: addr}
}

// startCluster starts etcd as operators run it: n members with TLS, users and
// etcd's own limits.
func startCluster(t testing.TB, n int) (members []*embed.Etcd, opt Options) {
	t.Helper()
	cert := testutil.SelfSigned(t, t.TempDir(), "etcd")
	var cfgs []*embed.Config
	var initial []string
	for i := range n {
		cfg := embed.NewConfig()
		cfg.Name = fmt.Sprint("m", i)
		cfg.Dir = t.TempDir()
		cfg.TickMs, cfg.ElectionMs = 50, 500
		cfg.ListenClientUrls = []url.URL{freeURL(t, "https")}
		cfg.AdvertiseClientUrls = cfg.ListenClientUrls
		cfg.ListenPeerUrls = []url.URL{freeURL(t, "http")}
		cfg.AdvertisePeerUrls = cfg.ListenPeerUrls
		cfg.ClientTLSInfo = transport.TLSInfo{CertFile: cert.CertFile, KeyFile: cert.KeyFile}
		cfg.LogLevel = "fatal"
		initial = append(initial, cfg.Name+"="+cfg.ListenPeerUrls[0].String())
		opt.Endpoints = append(opt.Endpoints, cfg.ListenClientUrls[0].String())
		cfgs = append(cfgs, cfg)
	}
	for _, cfg := range cfgs {
		cfg.InitialCluster = strings.Join(initial, ",")
		e, err := embed.StartEtcd(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			select {
			case <-e.Server.StopNotify(): // by the test
			default:
				e.Close()
			}
		})
		members = append(members, e)
	}
	for _, e := range members {
		select {
		case <-e.Server.ReadyNotify():
		case <-time.After(time.Minute):
			t.Fatal("the cluster does not start")
		}
	}
	opt.TLS = &tls.Config{RootCAs: cert.CA, MinVersion: tls.VersionTLS12}
	admin, err := clientv3.New(clientv3.Config{Endpoints: opt.Endpoints, TLS: opt.TLS, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := admin.UserAdd(ctx, "root", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.UserGrantRole(ctx, "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.AuthEnable(ctx); err != nil {
		t.Fatal(err)
	}
	opt.Username, opt.Password = "root", "secret"
	opt.RequestTimeout = 30 * time.Second
	return members, opt
}

func TestClusterRefuses(t *testing.T) {
	t.Parallel()
	_, good := startCluster(t, 1)
	for name, change := range map[string]func(*Options){
		"wrong password": func(o *Options) { o.Password = "guess" },
		"no user":        func(o *Options) { o.Username, o.Password = "", "" },
		"no TLS":         func(o *Options) { o.TLS = nil },
		"other CA":       func(o *Options) { o.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12} },
		"nobody there":   func(o *Options) { o.Endpoints = []string{"https://127.0.0.1:1"} },
	} {
		opt := good
		opt.RequestTimeout = 2 * time.Second
		change(&opt)
		start := time.Now()
		s, err := Open(t.Context(), opt)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		t.Logf("%s: %v after %v", name, err, time.Since(start).Round(time.Millisecond))
		if !strings.Contains(err.Error(), opt.Endpoints[0]) {
			t.Errorf("%s: the error does not name the endpoint: %v", name, err)
		}
	}
	// The limits of etcd as it comes, refused before they are sent.
	s := openAt(t, good)
	_, err := s.Update(t.Context(), func(tx store.Tx) error {
		for i := range 130 {
			tx.SetIndex("i", fmt.Sprint(i), "")
		}
		return nil
	})
	if model.KindOf(err) != model.KindTooLarge || !strings.Contains(err.Error(), "128") {
		t.Errorf("too many operations: %v", err)
	}
	if _, err = s.Update(t.Context(), putNetwork("a", strings.Repeat("x", 800<<10))); model.KindOf(err) != model.KindTooLarge {
		t.Errorf("too many bytes: %v", err)
	}
	// And where the options promise more than the cluster takes.
	good.MaxTxnOps, good.MaxRequestBytes = 1000, 64<<20
	s = openAt(t, good)
	_, err = s.Update(t.Context(), func(tx store.Tx) error {
		for i := range 130 {
			tx.SetIndex("i", fmt.Sprint(i), "")
		}
		return nil
	})
	if model.KindOf(err) != model.KindTooLarge {
		t.Errorf("too many operations for the cluster: %v", err)
	}
	if _, err = s.Update(t.Context(), putNetwork("a", strings.Repeat("x", 800<<10))); model.KindOf(err) != model.KindTooLarge {
		t.Errorf("too many bytes for the cluster: %v", err)
	}
	put(t, s, "a", "fits")
}

// TestClusterLosesLeader stops members under load: what was acknowledged is
// there, and the stores go on.
func TestClusterLosesLeader(t *testing.T) {
	t.Parallel()
	members, opt := startCluster(t, 3)
	stores := []*Store{openAt(t, opt), openAt(t, opt)}
	stop := make(chan struct{})
	const writers = 4
	acked := make([]int, writers)
	progress := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := stores[w%2].Update(t.Context(), crashStep(w, n))
				switch {
				case err == nil:
					acked[w] = n
					select {
					case progress <- struct{}{}:
					default:
					}
				case strings.Contains(err.Error(), "is about to do"):
					t.Errorf("writer %d: %v", w, err)
					return
				case model.KindOf(err) == model.KindUnavailable && !strings.Contains(err.Error(), "could not be asked"):
					n-- // not done: again
				default:
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	wait := func(n int) {
		t.Helper()
		for range n {
			select {
			case <-progress:
			case <-time.After(time.Minute):
				t.Fatal("the writers stand still")
			}
		}
	}
	wait(20)
	for _, m := range members {
		if m.Server.MemberID() == m.Server.Leader() {
			m.Server.HardStop() // without handing over
			m.Close()
			break
		}
	}
	wait(50)
	close(stop)
	testutil.Wait(t, "the writers", wg.Wait)
	for i, s := range stores {
		v, err := s.view(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done, err := crashCheck(v)
		if err != nil {
			t.Errorf("store %d: %v", i, err)
		}
		for w := range acked {
			if done[w] != acked[w] {
				t.Errorf("store %d: writer %d was told of %d transactions, there are %d", i, w, acked[w], done[w])
			}
		}
	}
}
