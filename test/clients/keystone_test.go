package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// python is Debian's, whatever else is on the caller's PATH: it has OpenStack.
const python = "/usr/bin/python3"

const (
	region        = "RegionOne" // Keystone's own, and tempest's
	adminPassword = "secret"
	serviceUser   = "neutron" // and its password; validates tokens
)

// keystone is a real one, with its data in a directory of the test.
type keystone struct {
	dir string
	url string // with /v3
	// adminToken is of the user admin in the project admin.
	adminToken string
	pid        int

	mu       sync.Mutex
	services map[string]string // by kind: their ids
}

// keystoneConf has Keystone's cache on, as operators have it: five times the answers.
const keystoneConf = `[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///DIR/keystone.sqlite
[token]
provider = fernet
[fernet_tokens]
key_repository = DIR/fernet
[fernet_receipts]
key_repository = DIR/receipts
[credential]
key_repository = DIR/cred
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
`

// startKeystone makes one from nothing and waits until it gives out tokens.
func startKeystone(t *testing.T) *keystone {
	t.Helper()
	testutil.RequireTool(t, "/usr/bin/keystone-manage", "/usr/bin/keystone-wsgi-public")
	testutil.RequireRoot(t) // keystone-manage gives its keys an owner
	dir := tempDir(t)
	conf := filepath.Join(dir, "keystone.conf")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(keystoneConf, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"fernet", "receipts", "cred"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	addr := freePort(t)
	k := &keystone{dir: dir, url: "http://" + addr + "/v3", services: map[string]string{}}
	manage := func(args ...string) {
		t.Helper()
		runTool(t, "/usr/bin/keystone-manage", append([]string{"--config-file", conf}, args...)...)
	}
	manage("db_sync")
	manage("fernet_setup", "--keystone-user", "root", "--keystone-group", "root")
	manage("credential_setup", "--keystone-user", "root", "--keystone-group", "root")
	manage("bootstrap", "--bootstrap-password", adminPassword, "--bootstrap-username", "admin", "--bootstrap-project-name", "admin",
		"--bootstrap-role-name", "admin", "--bootstrap-service-name", "keystone", "--bootstrap-region-id", region,
		"--bootstrap-admin-url", k.url+"/", "--bootstrap-public-url", k.url+"/", "--bootstrap-internal-url", k.url+"/")
	// Readers and the writer of one sqlite file get in each other's way otherwise.
	runTool(t, python, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA journal_mode=WAL')", filepath.Join(dir, "keystone.sqlite"))
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	// It is one process that all tests wait for, so that it goes before them.
	cmd := exec.Command("/usr/bin/nice", "-n", "-10", "/usr/bin/keystone-wsgi-public", "--host", host, "--port", port)
	cmd.Env = append(os.Environ(), "OS_KEYSTONE_CONFIG_FILES="+conf)
	p := run(t, cmd, filepath.Join(dir, "keystone.log"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Answers(ctx, 50*time.Millisecond, k.url+"/"); err != nil {
		t.Fatalf("%v\n%s", err, p.Tail())
	}
	k.pid = p.PID()
	k.adminToken = k.token(t, "admin", adminPassword, "admin")
	k.addUser(t, serviceUser, serviceUser, "service", "admin")
	return k
}

func runTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

type object = map[string]any

// token logs a user in to a project.
func (k *keystone) token(t *testing.T, user, password, project string) string {
	t.Helper()
	domain := object{"id": "default"}
	_, header := k.call(t, http.MethodPost, "/auth/tokens", object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": user, "domain": domain, "password": password}}},
		"scope":    object{"project": object{"name": project, "domain": domain}},
	}})
	return header.Get("X-Subject-Token")
}

// call makes a request as admin; anything but a 2xx ends the test.
func (k *keystone) call(t *testing.T, method, path string, body object) (object, http.Header) {
	t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, k.url+path, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Auth-Token", k.adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s: %s (%v)", method, path, resp.Status, b, err)
	}
	var out object
	if len(b) > 0 {
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, b)
		}
	}
	return out, resp.Header
}

// create makes one of Keystone's things and returns its id.
func (k *keystone) create(t *testing.T, kind string, attrs object) string {
	t.Helper()
	out, _ := k.call(t, http.MethodPost, "/"+kind+"s", object{kind: attrs})
	made, _ := out[kind].(map[string]any)
	id, _ := made["id"].(string)
	if id == "" {
		t.Fatalf("%s without an id: %v", kind, out)
	}
	return id
}

// find returns the id of what has a name.
func (k *keystone) find(t *testing.T, kind, name string) string {
	t.Helper()
	out, _ := k.call(t, http.MethodGet, "/"+kind+"s?name="+name, nil)
	list, _ := out[kind+"s"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d %ss called %s", len(list), kind, name)
	}
	one, _ := list[0].(map[string]any)
	return fmt.Sprint(one["id"])
}

// addUser makes a user with a role in a project, both of them too if they are not
// there.
func (k *keystone) addUser(t *testing.T, user, password, project, role string) (projectID string) {
	t.Helper()
	projectID = k.create(t, "project", object{"name": project, "domain_id": "default"})
	userID := k.create(t, "user", object{"name": user, "password": password, "domain_id": "default"})
	k.call(t, http.MethodPut, "/projects/"+projectID+"/users/"+userID+"/roles/"+k.find(t, "role", role), nil)
	return projectID
}

// compute puts a compute service into the catalog that has one hypervisor: tempest
// asks for its name before it binds ports to it, and the openstack client does nothing
// with quotas where the catalog has none.
func (k *keystone) compute(t *testing.T, region string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"hypervisors":[{"id":1,"hypervisor_hostname":"host","state":"up","status":"enabled"}]}`)
	}))
	t.Cleanup(s.Close)
	k.endpoint(t, "compute", region, s.URL)
}

// newRegion makes a region with an identity service.
func (k *keystone) newRegion(t *testing.T, region string) {
	t.Helper()
	k.call(t, http.MethodPost, "/regions", object{"region": object{"id": region}})
	k.endpointOf(t, k.find(t, "service", "keystone"), region, k.url+"/")
}

// endpoint puts a service of a region into the catalog. All regions have one service of a
// kind: of several, tempest takes any, whatever its region.
func (k *keystone) endpoint(t *testing.T, kind, region, url string) {
	t.Helper()
	k.endpointOf(t, k.service(t, kind), region, url)
}

// service is the one of its kind, made if there is none.
func (k *keystone) service(t *testing.T, kind string) string {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.services[kind] == "" {
		k.services[kind] = k.create(t, "service", object{"type": kind, "name": kind})
	}
	return k.services[kind]
}

func (k *keystone) endpointOf(t *testing.T, service, region, url string) {
	t.Helper()
	for _, i := range []string{"public", "internal", "admin"} {
		k.create(t, "endpoint", object{"service_id": service, "interface": i, "region_id": region, "url": url})
	}
}

// controller starts a controller that takes this Keystone's tokens and returns its
// URL.
func (k *keystone) controller(t *testing.T, args ...string) string {
	t.Helper()
	password := filepath.Join(tempDir(t), "password")
	if err := os.WriteFile(password, []byte(serviceUser+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return newController(t, append([]string{"--auth", "keystone", "--keystone-url", k.url, "--keystone-user", serviceUser, "--keystone-password-file", password}, args...)...)
}
