package clients

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// TestKeystone has everything that needs a Keystone, since one takes a while to make.
func TestKeystone(t *testing.T) {
	t.Parallel()
	k := startKeystone(t)
	k.stall(t) // before the others, who would wait for Keystone too
	// The longest ones come first.
	t.Run("revoked", func(t *testing.T) {
		t.Parallel()
		k.peerRevoked(t)
	})
	t.Run("peer", func(t *testing.T) {
		t.Parallel()
		k.peerAccounts(t)
	})
	t.Run("tempest", func(t *testing.T) {
		t.Parallel()
		k.tempest(t)
	})
	for _, file := range []string{"cli/neutron-guide", "cli/openstack-guide", "cli-keystone/openstack-projects"} {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k.cloud(t, "Region-"+name).runCommands(t, "testdata/"+file+".txt")
		})
	}
	t.Run("gophercloud", func(t *testing.T) {
		t.Parallel()
		k.gophercloud(t)
	})
	t.Run("users", func(t *testing.T) {
		t.Parallel()
		k.users(t)
	})
	t.Run("tokens", func(t *testing.T) {
		t.Parallel()
		k.tokens(t)
	})
}

// cloud is one whose clients are the administrator's, who finds the API in the
// catalog.
func (k *keystone) cloud(t *testing.T, region string) cloud {
	t.Helper()
	rec := newRecorder(t, k.controller(t))
	k.newRegion(t, region)
	k.endpoint(t, "network", region, rec.url)
	k.compute(t, region)
	return cloud{rec, []string{
		"OS_AUTH_URL=" + k.url, "OS_IDENTITY_API_VERSION=3", "OS_REGION_NAME=" + region,
		"OS_USERNAME=admin", "OS_PASSWORD=" + adminPassword, "OS_USER_DOMAIN_ID=default",
		"OS_PROJECT_NAME=admin", "OS_PROJECT_DOMAIN_ID=default",
	}, k.find(t, "project", "admin"), k.adminToken}
}

// users makes the requests of testdata/keystone.txt as the users it names.
func (k *keystone) users(t *testing.T) {
	url := k.controller(t)
	n := names{"URL": url, "NONE": "00000000-0000-4000-8000-000000000000"}
	tokens := map[string]string{"admin": k.adminToken, "nobody": "", "a stranger": "gAAAAABunknown"}
	for _, u := range []struct{ name, role string }{{"alice", "member"}, {"bob", "member"}, {"rita", "reader"}} {
		project := "project-of-" + u.name
		n[strings.ToUpper(u.name)] = k.addUser(t, u.name, u.name, project, u.role)
		tokens[u.name] = k.token(t, u.name, u.name, project)
	}
	for _, sec := range readSections(t, "testdata/keystone.txt") {
		t.Run(sec.name, func(t *testing.T) {
			for _, s := range sec.steps {
				replay(t, url, tokens, n, s)
			}
		})
	}
}

// tokens revokes tokens and takes Keystone away.
func (k *keystone) tokens(t *testing.T) {
	const believed = 2 * time.Second
	front := newRecorder(t, strings.TrimSuffix(k.url, "/v3"))
	url := k.controller(t, "--keystone-url", front.url+"/v3", "--keystone-cache-time", believed.String(), "--keystone-outage-time", "5m")
	k.addUser(t, "carol", "carol", "project-of-carol", "member")
	ask := func(token string) int {
		t.Helper()
		status, answer, _, err := send(t.Context(), http.MethodGet, url+"/v2.0/networks", "", token)
		if err != nil {
			t.Fatal(err)
		}
		if status/100 == 2 != strings.HasPrefix(answer, `{"networks":`) {
			t.Fatalf("%d with %s", status, answer)
		}
		return status
	}
	until := func(token string, want int) {
		t.Helper()
		start := time.Now()
		if err := process.Poll(t.Context(), 50*time.Millisecond, patience, "another answer", func() (bool, error) { return ask(token) == want, nil }); err != nil {
			t.Fatal(err)
		}
		// The rest is for Keystone, which has other tests to answer.
		if took := time.Since(start); took > believed+10*time.Second {
			t.Errorf("it took %v until the answer was %d", took, want)
		}
	}
	login := func() string { return k.token(t, "carol", "carol", "project-of-carol") }

	revoked := login()
	if got := ask(revoked); got != http.StatusOK {
		t.Fatalf("with a good token: %d", got)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, k.url+"/auth/tokens", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", k.adminToken)
	req.Header.Set("X-Subject-Token", revoked)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	until(revoked, http.StatusUnauthorized)

	known := login()
	if got := ask(known); got != http.StatusOK {
		t.Fatalf("with a new token: %d", got)
	}
	unknown := login()
	front.close()
	if got := ask(unknown); got != http.StatusServiceUnavailable {
		t.Errorf("a token that nobody has vouched for, without Keystone: %d", got)
	}
	// Past the time for which it is believed without asking.
	start := time.Now()
	if err := process.Poll(t.Context(), 100*time.Millisecond, patience, "the time to pass", func() (bool, error) {
		if got := ask(known); got != http.StatusOK {
			t.Errorf("a known token, without Keystone: %d after %v", got, time.Since(start))
		}
		return time.Since(start) > 2*believed, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// stall stops Keystone for longer than the API waits for it, and lets it go on. Tokens
// that it has vouched for work all the time, others get 503 meanwhile; afterwards all
// work again, new ones too.
func (k *keystone) stall(t *testing.T) {
	const stalled = 6 * time.Second
	url := k.controller(t, "--keystone-cache-time", "1s", "--keystone-outage-time", "5m")
	k.addUser(t, "dave", "dave", "project-of-dave", "member")
	login := func() string { return k.token(t, "dave", "dave", "project-of-dave") }
	ask := func(token string) (int, error) {
		status, _, _, err := send(t.Context(), http.MethodGet, url+"/v2.0/networks", "", token)
		return status, err
	}
	known, unknown := login(), login()
	if status, err := ask(known); err != nil || status != http.StatusOK {
		t.Fatalf("with a good token: %d, %v", status, err)
	}
	stop := func(s syscall.Signal) {
		if err := syscall.Kill(k.pid, s); err != nil {
			t.Fatal(err)
		}
	}
	stop(syscall.SIGSTOP)
	goOn := sync.OnceFunc(func() { stop(syscall.SIGCONT) })
	defer goOn()
	type answer struct {
		status int
		err    error
	}
	met := make(chan answer, 1)
	go func() {
		var a answer
		a.status, a.err = ask(unknown)
		met <- a
	}()
	start, asked := time.Now(), 0
	if err := process.Poll(t.Context(), 50*time.Millisecond, patience, "the stall to be over", func() (bool, error) {
		asked++
		status, err := ask(known)
		if err == nil && status != http.StatusOK {
			t.Errorf("a known token in the stall: %d", status)
		}
		return time.Since(start) > stalled, err
	}); err != nil {
		t.Fatal(err)
	}
	if a := testutil.Receive(t, "the answer to an unknown token", met); a.err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("a token that nobody has vouched for, in the stall: %d, %v", a.status, a.err)
	}
	goOn()
	for name, token := range map[string]string{"known": known, "unknown before": unknown, "new": login()} {
		if err := process.Poll(t.Context(), 50*time.Millisecond, patience, "Keystone's word on the "+name+" token", func() (bool, error) {
			status, err := ask(token)
			if err == nil && status != http.StatusOK && status != http.StatusServiceUnavailable {
				t.Errorf("the %s token after the stall: %d", name, status)
			}
			return status == http.StatusOK, err
		}); err != nil {
			t.Error(err)
		}
	}
	t.Logf("a known token was asked with %d times in the stall", asked)
}
