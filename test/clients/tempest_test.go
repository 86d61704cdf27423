package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// tempestModules are OpenStack's own tests that are run, all of each.
var tempestModules = []string{
	"test_networks", "test_networks_negative", "test_ports", "test_routers", "test_routers_negative", "test_tags", "test_versions",
	"test_extensions", "test_subnetpools_extensions", "test_allowed_address_pair", "admin.test_routers", "admin.test_ports", "admin.test_quotas",
}

// tempestShares is how many processes share the tests.
const tempestShares = 2

// tempestPatience is for all of tempest, on a machine that is busy with other tests.
const tempestPatience = 12 * time.Minute

const tempestConf = `[DEFAULT]
log_file = DIR/tempest.log
[auth]
use_dynamic_credentials = true
admin_username = admin
admin_password = PASSWORD
admin_project_name = admin
admin_domain_name = Default
create_isolated_networks = false
[identity]
uri_v3 = KEYSTONE
auth_version = v3
region = REGION
[identity-feature-enabled]
api_v2 = false
[network]
build_interval = 1
[network-feature-enabled]
api_extensions = EXTENSIONS
ipv6 = false
[service_available]
neutron = true
nova = true
glance = false
cinder = false
swift = false
[oslo_concurrency]
lock_path = DIR
`

// outcome is what became of one of tempest's tests.
type outcome struct{ Test, Outcome, Detail string }

// tempest runs OpenStack's tests and holds what becomes of them to the list.
func (k *keystone) tempest(t *testing.T) {
	testutil.RequireTool(t, "/usr/bin/tempest")
	url := k.controller(t)
	k.endpoint(t, "network", region, url)
	k.compute(t, region)
	dir := tempDir(t)
	conf := strings.NewReplacer("DIR", dir, "PASSWORD", adminPassword, "KEYSTONE", k.url, "REGION", region,
		"EXTENSIONS", strings.Join(k.extensions(t, url), ",")).Replace(tempestConf)
	if err := os.WriteFile(filepath.Join(dir, "tempest.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := map[string]outcome{}
	var shares sync.WaitGroup
	for i := range tempestShares {
		shares.Go(func() {
			out, err := runTempest(t.Context(), dir, i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("share %d: %v", i, err)
			}
			for _, o := range out {
				got[o.Test] = o
			}
		})
	}
	testutil.Wait(t, "tempest", shares.Wait)
	b, err := os.ReadFile("testdata/tempest/not-passing.txt")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := readNotPassing(string(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range judge(got, listed) {
		t.Error(problem)
	}
	t.Logf("%d tests, %d of them listed as not passing", len(got), len(listed))
}

// extensions are the aliases that the controller says it has.
func (k *keystone) extensions(t *testing.T, url string) []string {
	t.Helper()
	status, answer, _, err := send(t.Context(), http.MethodGet, url+"/v2.0/extensions", "", k.adminToken)
	var out struct{ Extensions []struct{ Alias string } }
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal([]byte(answer), &out)
	}
	if err != nil || len(out.Extensions) == 0 {
		t.Fatalf("extensions: %d %s, %v", status, answer, err)
	}
	// tempest asks for the tags of networks by a name that Neutron has given up.
	aliases := []string{"tag"}
	for _, e := range out.Extensions {
		aliases = append(aliases, e.Alias)
	}
	return aliases
}

// runTempest runs one share of the tests.
func runTempest(ctx context.Context, dir string, share int) ([]outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, tempestPatience)
	defer cancel()
	script, err := filepath.Abs("testdata/tempest/run.py")
	if err != nil {
		return nil, err
	}
	args := []string{script, strconv.Itoa(share), strconv.Itoa(tempestShares)}
	for _, m := range tempestModules {
		args = append(args, "tempest.api.network."+m)
	}
	cmd := exec.CommandContext(ctx, python, args...)
	cmd.Dir = dir
	cmd.Env = append(cloud{}.environment(dir), "TEMPEST_CONFIG_DIR="+dir, "TEMPEST_CONFIG=tempest.conf")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	return readOutcomes(text)
}

func readOutcomes(text []byte) ([]outcome, error) {
	var out []outcome
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), []byte("{")) {
			continue // what the tests print
		}
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, fmt.Errorf("%w: %s", err, lines.Bytes())
		}
		out = append(out, o)
	}
	return out, lines.Err()
}

var notPassingLine = regexp.MustCompile(`^(\S+): (\S.*)$`)

// readNotPassing reads lines of a test's name, without tempest.api.network, and the
// reason why it does not pass.
func readNotPassing(text string) (map[string]string, error) {
	out := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		m := notPassingLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %d: neither a comment nor NAME: REASON", i+1)
		}
		name := "tempest.api.network." + m[1]
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("line %d: %s is listed twice", i+1, m[1])
		}
		out[name] = m[2]
	}
	return out, nil
}

// judge says what is not as the list has it: each test passes or is listed, and what
// is listed does not pass.
func judge(got map[string]outcome, listed map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		o := got[name]
		_, known := listed[name]
		switch {
		case o.Outcome == "passed" && known:
			out = append(out, fmt.Sprintf("%s passes: take it off the list", name))
		case o.Outcome != "passed" && !known:
			out = append(out, fmt.Sprintf("%s %s, and is not listed:\n%s", name, o.Outcome, o.Detail))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if _, there := got[name]; !there {
			out = append(out, fmt.Sprintf("%s is listed, but there is no such test", name))
		}
	}
	return out
}

func TestJudge(t *testing.T) {
	listed, err := readNotPassing("# c\n\na.B.c: a feature\na.B.d: another\n")
	if err != nil || len(listed) != 2 || listed["tempest.api.network.a.B.d"] != "another" {
		t.Fatal(listed, err)
	}
	got, err := readOutcomes([]byte("words\n" + `{"test":"tempest.api.network.a.B.c","outcome":"passed"}` + "\n" + `{"test":"x","outcome":"skipped","detail":"why"}` + "\n"))
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	problems := judge(map[string]outcome{got[0].Test: got[0], "x": got[1], "y": {"y", "passed", ""}}, listed)
	if len(problems) != 3 || !strings.Contains(problems[0], "take it off") || !strings.Contains(problems[1], "why") || !strings.Contains(problems[2], "no such test") {
		t.Errorf("%q", problems)
	}
	for _, bad := range []string{"a.B.c\n", "a.B.c: \n", "a: b\na: c\n"} {
		if _, err := readNotPassing(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
