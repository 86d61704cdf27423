package client

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

const (
	python = "/usr/bin/python3"
	// loader is openstacksdk's.
	loader = "/usr/lib/python3/dist-packages/openstack/config/loader.py"
)

// cloudCase is a cloud c of clouds.yaml.
type cloudCase struct {
	// entry are the lines of c; the credentials of usual come first where it begins with a +.
	entry   string
	head    string            // what stands before "clouds:"
	files   map[string]string // besides clouds.yaml
	env     map[string]string
	refused string // what we say instead, where openstacksdk goes on; or as it does
	only    bool   // openstacksdk refuses it too
	away    bool   // there is no clouds.yaml in the directory itself
}

const usual = `auth: {auth_url: "https://k/v3", username: u, password: p, project_name: admin, user_domain_name: Default, project_domain_name: Default}
`

var cloudCases = map[string]cloudCase{
	"usual":                 {entry: "+region_name: R"},
	"endpoint override":     {entry: "+network_endpoint_override: https://n:9696"},
	"endpoint":              {entry: "+network_endpoint: https://n:9696"},
	"endpoint, dashes":      {entry: "+network-endpoint-override: https://n:9696"},
	"another's endpoint":    {entry: "+compute_endpoint_override: https://c\nendpoint_override: https://x"},
	"interface":             {entry: "+interface: internal"},
	"interface URL":         {entry: "+interface: admin"},
	"endpoint type":         {entry: "+endpoint_type: internal"},
	"network interface":     {entry: "+interface: admin\nnetwork_interface: internal"},
	"network endpoint type": {entry: "+interface: admin\nnetwork_endpoint_type: internal"},
	"another's interface":   {entry: "+compute_interface: internal"},
	"wrong interface":       {entry: "+interface: inside", refused: `interface "inside" is not one of public, internal, admin`},
	"several interfaces":    {entry: "+interface: [internal, public]", refused: "interface: wanted a text"},

	"insecure":              {entry: "+insecure: true"},
	"insecure, yes":         {entry: "+insecure: yes"},
	"insecure, quoted":      {entry: `+insecure: "true"`},
	"insecure, Quoted":      {entry: `+insecure: "True"`},
	"insecure, quoted no":   {entry: `+insecure: "false"`},
	"insecure, quoted yes":  {entry: `+insecure: "yes"`, refused: `insecure: "yes" is neither true nor false`},
	"insecure, number":      {entry: "+insecure: 1", refused: `insecure: "1" is neither true nor false`, only: true},
	"verify":                {entry: "+verify: false"},
	"verify, yes":           {entry: "+verify: yes\ncacert: /ca.pem"},
	"verify, quoted":        {entry: `+verify: "false"`, refused: "verify: wanted true or false without quotes"},
	"both":                  {entry: "+verify: true\ninsecure: true\ncacert: /ca.pem"},
	"authority":             {entry: "+cacert: /ca.pem"},
	"authority at home":     {entry: "+cacert: ~/ca.pem"},
	"certificate":           {entry: "+cert: ~/c.pem\nkey: /k.pem"},
	"certificate and key":   {entry: "+cert: /both.pem"},
	"key alone":             {entry: "+key: /k.pem"},
	"another's bool broken": {entry: usual + "other: 1", head: "x: {insecure: \"yes\", list: [1, {a: \"no\"}]}\n"},

	"region":               {entry: "+regions: [A, B]"},
	"region, second":       {entry: "+regions: [A, B]", env: map[string]string{"OS_REGION_NAME": "B"}},
	"region, unknown":      {entry: "+regions: [A, B]", env: map[string]string{"OS_REGION_NAME": "C"}, refused: "has no region C (of OS_REGION_NAME); it has A, B", only: true},
	"region, another":      {entry: "+region_name: A", env: map[string]string{"OS_REGION_NAME": "B"}, refused: "has no region B (of OS_REGION_NAME); it has A", only: true},
	"region, from outside": {entry: "+", env: map[string]string{"OS_REGION_NAME": "B"}},
	"region, commas":       {entry: "+region_name: A,B", env: map[string]string{"OS_REGION_NAME": "B"}},
	"region, values":       {entry: "+interface: admin\nregions: [{name: A, values: {interface: internal, auth: {username: a}}}, {name: B, values: {network_endpoint_override: \"https://b\", auth: {auth_url: \"https://kb/v3\", project_name: pb}}}]", env: map[string]string{"OS_REGION_NAME": "B"}},
	"region, first values": {entry: "+interface: admin\nregions: [{name: A, values: {interface: internal, auth: {username: a}}}, {name: B}]"},
	"region, null value":   {entry: "+interface: admin\nregions: [{name: A, values: {interface: null}}]"},
	"region, own":          {entry: "profile: pub\nregion_name: B\n" + usual, files: publicRegions},
	"region, profile's":    {entry: "profile: pub\n" + usual, files: publicRegions},
	"region, of profile's": {entry: "profile: pub\n" + usual, files: publicRegions, env: map[string]string{"OS_REGION_NAME": "B"}},
	"region, own list":     {entry: "profile: pub\nregions: [D, B]\n" + usual, files: publicRegions},
	"region, own is none":  {entry: "profile: pub\nregions: []\nregion_name: B\n" + usual, files: publicRegions},
	"region, own unknown":  {entry: "profile: pub\nregion_name: D\n" + usual, files: publicRegions, env: map[string]string{"OS_REGION_NAME": "B"}, refused: "has no region B (of OS_REGION_NAME); it has D", only: true},
	"region, a no":         {entry: "+region_name: no", refused: "region_name: wanted a text, not false", only: true},
	"region, octal":        {entry: "+region_name: 010", refused: "region_name: wanted a text, not 010"},
	"regions are a text":   {entry: "+regions: A", refused: "regions: wanted a list"},
	"regions are nothing":  {entry: "+regions:", refused: "regions: wanted a list", only: true},
	"region, bad values":   {entry: "+regions: [{name: A, values: [x]}]", refused: "regions: the values of A: wanted keys and values", only: true},
	"region, bad":          {entry: "+regions: [{name: A, value: {}}]", refused: "a region has name and values, not value", only: true},
	"network's region":     {entry: "+region_name: A\nnetwork_region_name: N"},
	"service":              {entry: "+network_service_type: network2\nnetwork_service_name: neutron2"},
	"version":              {entry: "+network_api_version: 2"},
	"version, float":       {entry: "+network_api_version: 2.0"},
	"version, other":       {entry: "+network_api_version: 3", refused: "network_api_version 3: it is 2.0 here"},
	"Identity 2":           {entry: "+identity_api_version: 2.0", refused: "identity_api_version 2.0: only version 3"},
	"unknown of network":   {entry: "+network_mystery: 1", refused: "network_mystery is not taken here"},
	"for others":           {entry: "+compute_api_version: 2\nimage_format: raw\nfloating_ip_source: None\nvolume_api_version: 3\ndns_interface: admin\nnetworks: [{name: x}]\nprefer_ipv6: false\nconnect_retries: 3\nnetwork_status_code_retries: 2\nrate_limit: {network: 5}\nconcurrency: {network: 5}"},
	"no network service":   {entry: "+has_network: false", refused: "has_network: it says that the cloud has no network service", only: true},
	"a network service":    {entry: "+has_network: true"},

	"timeout":                {entry: "+api_timeout: 9"},
	"timeout, part":          {entry: "+api_timeout: 2.5"},
	"timeout, quoted":        {entry: `+api_timeout: " 9 "`},
	"timeout, dashes":        {entry: "+api-timeout: 9"},
	"timeout, null":          {entry: "+api_timeout:"},
	"timeout, in region":     {entry: "+api_timeout: 9\nregions: [{name: A, values: {api_timeout: 7}}]"},
	"timeout, of an older":   {entry: "+network_timeout: 9"},
	"timeout, of another":    {entry: "+compute_api_timeout: 9\napi_timeout: 5"},
	"timeout, of another no": {entry: "+compute_timeout:\napi_timeout: 5"},
	"timeout, of two":        {entry: "+compute_timeout: 9\nimage_timeout: 9\napi_timeout: 5"},
	"timeout, of two unlike": {entry: "+compute_timeout: 9\nimage_timeout: 8", refused: "compute_timeout and image_timeout say different things"},
	"timeout, unheeded":      {entry: "+timeout: 9"},
	"timeout, none":          {entry: "+api_timeout: 0", refused: "api_timeout 0: wanted seconds, more than none"},
	"timeout, words":         {entry: "+api_timeout: 9s", refused: "api_timeout 9s: wanted seconds", only: true},
	"timeout, a yes":         {entry: "+api_timeout: yes", refused: "api_timeout: wanted a text, not true"},
	"timeout, octal":         {entry: "+api_timeout: 010", refused: "api_timeout: 010 is a number in YAML"},
	"timeout, endless":       {entry: "+api_timeout: inf", refused: "api_timeout inf: wanted seconds"},

	"merge key":         {head: "x: &x {auth: {auth_url: \"https://k/v3\", username: u, password: p, project_name: admin, user_domain_id: d, project_domain_id: d}, interface: admin}\n", entry: "<<: *x\ninterface: internal"},
	"merge key in auth": {head: "x: &x {username: u, password: p}\n", entry: "auth: {<<: *x, auth_url: \"https://k/v3\", username: v, project_name: admin, user_domain_id: d, project_domain_id: d}"},
	"merge keys":        {head: "x: &x {interface: admin}\ny: &y {interface: internal, region_name: R}\n", entry: usual + "<<: [*x, *y]"},
	"alias":             {head: "x: &x {auth_url: \"https://k/v3\", username: u, password: p, project_id: q, user_domain_id: d}\n", entry: "auth: *x"},

	"secure":              {entry: "auth: {auth_url: \"https://k/v3\", username: u, project_name: admin, user_domain_id: d, project_domain_id: d}", files: map[string]string{"secure.yaml": "clouds: {c: {auth: {password: s}, interface: internal}}"}},
	"secure has all":      {entry: "{}", files: map[string]string{"secure.yaml": "clouds: {c: {" + strings.TrimSpace(usual) + "}}"}},
	"secure elsewhere":    {entry: "+", files: map[string]string{"other.yaml": "clouds: {c: {auth: {password: s}}}"}, env: map[string]string{"OS_CLIENT_SECURE_FILE": "other.yaml"}},
	"secure is not there": {entry: "+", env: map[string]string{"OS_CLIENT_SECURE_FILE": "none.yaml"}, refused: "OS_CLIENT_SECURE_FILE: no file none.yaml"},
	"profile":             {entry: "profile: pub\nauth: {username: u, password: p, project_name: admin}", files: map[string]string{"clouds-public.yaml": "public-clouds: {pub: {auth: {auth_url: \"https://pub/v3\", user_domain_name: D, project_domain_name: D}, interface: internal, region_name: PR}}"}},
	"profile, own wins":   {entry: "profile: pub\ninterface: admin\n" + usual, files: map[string]string{"clouds-public.yaml": "public-clouds: {pub: {auth: {auth_url: \"https://pub/v3\"}, interface: internal, auth_type: v3password}}"}},
	"profile of the SDK":  {entry: "profile: ovh\nauth: {username: u, password: p, project_name: admin}", refused: "profile ovh is not in clouds-public.yaml"},
	"profile, unknown":    {entry: "profile: nowhere\n" + usual, refused: "profile nowhere is not in clouds-public.yaml"},
	"named file is gone":  {entry: "+", env: map[string]string{"OS_CLIENT_CONFIG_FILE": "none.yaml"}, refused: "no clouds.yaml in none.yaml"},
	"XDG":                 {entry: "+", files: map[string]string{"xdg/openstack/secure.yml": "clouds: {c: {region_name: X}}"}, env: map[string]string{"XDG_CONFIG_HOME": "xdg"}},

	"XDG site":            {away: true, files: map[string]string{"site/openstack/clouds.yaml": siteCloud}, env: map[string]string{"XDG_CONFIG_DIRS": "site"}},
	"XDG sites":           {away: true, files: map[string]string{"two/openstack/clouds.yml": siteCloud}, env: map[string]string{"XDG_CONFIG_DIRS": "one:two"}, refused: "two/openstack/clouds.yml is not read, since openstacksdk does not read it where XDG_CONFIG_DIRS names several directories", only: true},
	"XDG sites as one":    {away: true, files: map[string]string{"one/openstack:two/openstack/clouds.json": `{"clouds": {"c": {"region_name": "J", "auth": {"auth_url": "https://k/v3", "user_id": "u", "password": "p"}}}}`}, env: map[string]string{"XDG_CONFIG_DIRS": "one/:two"}},
	"XDG at home":         {away: true, files: map[string]string{"snap/.config/openstack/clouds.yaml": siteCloud}, env: map[string]string{"SNAP_REAL_HOME": "snap"}},
	"XDG, own first":      {away: true, files: map[string]string{"snap/.config/openstack/clouds.yaml": "clouds: {c: {region_name: wrong}}", "own/openstack/clouds.yml": siteCloud}, env: map[string]string{"SNAP_REAL_HOME": "snap", "XDG_CONFIG_HOME": "own"}},
	"profile, none":       {entry: "profile:\ncloud: pub\n" + usual, files: publicRegions},
	"profile, older name": {entry: "cloud: pub\n" + usual, files: publicRegions},

	"tenant in auth":       {entry: "project_name: q\nauth: {auth_url: \"https://k/v3\", username: u, password: p, tenant_name: t, user_domain_id: d, project_domain_id: d}"},
	"project is nothing":   {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, project_name: , user_domain_id: d}", refused: "project_name: there is nothing behind it"},
	"project is empty":     {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, tenant_name: t, project_name: \"\", user_domain_id: d}"},
	"endpoint, password":   {entry: "auth: {auth_url: \"https://k/v3\", endpoint: \"http://n:9696\", username: u, password: p, user_domain_id: d}", refused: "auth: endpoint is no credential of auth_type password", only: true},
	"password and token":   {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, token: t, user_domain_id: d}", refused: "auth: token is no credential of auth_type password", only: true},
	"token beside":         {entry: "token: t\n" + usual, refused: "auth: token is no credential of auth_type password", only: true},
	"none with a token":    {entry: "auth_type: none\nauth: {endpoint: \"http://n:9696\", token: t}", refused: "auth: token is no credential of auth_type none", only: true},
	"user of a token":      {entry: "auth_type: token\nauth: {auth_url: \"https://k/v3\", token: t, username: u}", refused: "auth: username is no credential of auth_type token", only: true},
	"user beside a token":  {entry: "auth_type: token\nusername: u\nauth: {auth_url: \"https://k/v3\", token: t}"},
	"application, scoped":  {entry: "auth_type: v3applicationcredential\nauth: {auth_url: \"https://k/v3\", application_credential_id: i, application_credential_secret: s, project_id: other}", refused: "auth: project_id is no credential of auth_type v3applicationcredential"},
	"application, named":   {entry: "auth_type: v3applicationcredential\nauth: {auth_url: \"https://k/v3\", application_credential_name: i, application_credential_secret: s, username: u, user_domain_name: d, project_domain_name: d}"},
	"credentials beside":   {entry: "username: u\npassword: p\nauth_url: https://k/v3\nproject_name: admin\nuser_domain_id: d\nproject_domain_id: d\nauth: {}"},
	"auth wins":            {entry: "+username: other"},
	"tenants":              {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, tenant_name: t, user_domain_id: d, project_domain_id: d}"},
	"tenant id":            {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, tenant-id: t, user_domain_id: d}"},
	"project beats tenant": {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, tenant_name: t, project_name: q, user_domain_id: d, project_domain_id: d}"},
	"one domain":           {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, project_name: t, domain_name: D}"},
	"one domain, more":     {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, project_name: t, domain_id: D, user_domain_id: U}"},
	"domain's token":       {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, domain_id: D, user_domain_id: U}"},
	"system":               {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, system_scope: all, user_domain_id: U}"},
	"trust":                {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, trust_id: T, user_domain_id: U}"},
	"default domain":       {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: p, project_name: t, default_domain_id: D}"},
	"user's id":            {entry: "auth: {auth_url: \"https://k/v3\", user_id: u, password: p, project_id: t}"},
	"token":                {entry: "auth_type: token\nauth: {auth_url: \"https://k/v3\", token: t, project_id: q}"},
	"v3token":              {entry: "auth_type: v3token\nauth: {auth_url: \"https://k/v3\", token: t}"},
	"application":          {entry: "auth_type: v3applicationcredential\nauth: {auth_url: \"https://k/v3\", application_credential_id: i, application_credential_secret: s}"},
	"none":                 {entry: "auth_type: none\nauth: {endpoint: \"http://n:9696\"}"},
	"none, beside":         {entry: "auth_type: none\nendpoint: http://n:9696"},
	"none, null":           {entry: "auth_type: null\nauth: {endpoint: \"http://n:9696\"}"},
	"none, override":       {entry: "auth_type: none\nnetwork_endpoint_override: http://m:9696\nauth: {endpoint: \"http://n:9696\"}"},
	"admin token":          {entry: "auth_type: admin_token\nauth: {endpoint: \"http://n:9696\", token: t}"},
	"token endpoint":       {entry: "auth_type: token_endpoint\nauth: {endpoint: \"http://n:9696\", token: t}"},
	"no endpoint":          {entry: "auth_type: none", refused: "auth_type none needs auth.endpoint"},
	"v2":                   {entry: "+auth_type: v2password", refused: "auth_type v2password is not one of", only: true},
	"federated":            {entry: "+auth_type: v3oidcpassword", refused: "auth_type v3oidcpassword is not one of", only: true},
	"auth plugin":          {entry: "+auth_plugin: token", refused: "auth_plugin is not taken here"},
	"passcode":             {entry: "+passcode: 1", refused: "passcode is not taken here", only: true},
	"unknown credential":   {entry: "auth: {auth_url: \"https://k/v3\", identity_provider: x}", refused: "auth: identity_provider is not taken here", only: true},
	"auth is a text":       {entry: "auth: x", refused: "auth: wanted keys and values", only: true},
	"braces":               {entry: "region_name: R\nauth: {auth_url: \"https://{region_name}.k/v3\", username: u, password: p, project_id: q, user_domain_id: d}"},
	"braces elsewhere":     {entry: "+region_name: R\nnetwork-endpoint-override: \"https://{region_name}.n/{{x}}/{network_service_name}\"\nnetwork_service_name: s\ncacert: /{region_name}.pem"},
	"braces in a password": {entry: "auth: {auth_url: \"https://k/v3\", username: \"{u}\", password: \"{x}}\", project_id: q, user_domain_id: d}"},
	"braces, strange":      {entry: "+network_endpoint_override: \"https://{nothing}/\"", refused: "network_endpoint_override https://{nothing}/: there is no setting for what stands in braces", only: true},
	"braces, open":         {entry: "+network_endpoint_override: \"https://n/{\"", refused: "no setting for what stands in braces", only: true},
	"braces, closed":       {entry: "+network_endpoint_override: \"https://n/}\"", refused: "no setting for what stands in braces", only: true},
	"braces twice":         {entry: "+network_endpoint_override: \"https://{network_service_name}/\"\nnetwork_service_name: \"{region_name}\"\nregion_name: R", refused: "no setting for what stands in braces"},
	"strange braces":       {entry: "auth: {auth_url: \"https://{nothing}.k/v3\", username: u, password: p, project_id: q, user_domain_id: d}", refused: "no setting for what stands in braces", only: true},
	"numbers":              {entry: "auth: {auth_url: \"https://k/v3\", username: 17, password: 5.5, project_id: 123456789012345678901234567890, user_domain_id: d}"},
	"number, octal":        {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: 0123, project_id: q, user_domain_id: d}", refused: "password: 0123 is a number in YAML"},
	"number, by sixties":   {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: 1:20, project_id: q, user_domain_id: d}", refused: "password: 1:20 is a number in YAML"},
	"bool for a text":      {entry: "auth: {auth_url: \"https://k/v3\", username: u, password: no, project_id: q, user_domain_id: d}", refused: "password: wanted a text, not false"},
	"there twice":          {entry: "+interface: admin\ninterface: internal", refused: "interface is there twice"},
	"OS_ variables":        {entry: "+", env: map[string]string{"OS_USERNAME": "other", "OS_PASSWORD": "x", "OS_AUTH_URL": "https://other/v3", "OS_PROJECT_NAME": "other", "OS_AUTH_TYPE": "none", "OS_ENDPOINT": "https://other"}},
	"literal":              {entry: "+region_name: |-\n  R"},
	"tagged":               {entry: "+region_name: !!str 0123"},
	"empty":                {entry: "", refused: "has no settings", only: true},
}

// publicRegions are a profile with regions.
var publicRegions = map[string]string{"clouds-public.yaml": "public-clouds: {pub: {regions: [A, {name: B, values: {interface: internal}}, C]}}"}

const siteCloud = "clouds: {c: {region_name: X, auth: {auth_url: \"https://k/v3\", user_id: u, password: p, project_id: q}}}"

// answer is what is made of a case, in the words of both.
type cloudAnswer struct {
	AuthType    string            `json:"auth_type"`
	Auth        map[string]string `json:"auth"`
	Override    string            `json:"override"`
	Region      string            `json:"region"`
	Interface   string            `json:"interface"`
	ServiceType string            `json:"service_type"`
	ServiceName string            `json:"service_name"`
	Insecure    bool              `json:"insecure"`
	CA          string            `json:"ca"`
	Cert        string            `json:"cert"`
	Key         string            `json:"key"`
	Timeout     float64           `json:"timeout"` // seconds, 0: none
	Places      []string          `json:"places,omitempty"`
	Error       string            `json:"error,omitempty"`
}

// TestCloudsBesideOpenStackSDK holds each key of clouds.yaml to openstacksdk's own answer: what both
// take means the same, and what we do not take is refused by its name.
func TestCloudsBesideOpenStackSDK(t *testing.T) {
	testutil.RequireTool(t, python)
	testutil.RequireFile(t, loader)
	home := t.TempDir()
	t.Setenv("HOME", home)
	type question struct {
		Env   map[string]string `json:"env"`
		Dir   string            `json:"dir"`
		Cloud string            `json:"cloud"`
	}
	var names []string
	var questions []question
	for name, c := range cloudCases {
		dir := t.TempDir()
		writeCloud(t, dir, c)
		vars := map[string]string{"HOME": home, "OS_CLOUD": "c"}
		maps.Copy(vars, c.env)
		names = append(names, name)
		questions = append(questions, question{vars, dir, "c"})
	}
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/openstacksdk.py")
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs []cloudAnswer
	if err := json.Unmarshal(out, &theirs); err != nil || len(theirs) != len(names) {
		t.Fatalf("%d answers, %v", len(theirs), err)
	}
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Chdir(questions[i].Dir)
			a, err := find(Options{}, env(questions[i].Env))
			c := cloudCases[name]
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("it is to be refused: %+v, %v", a, err)
				}
				if (theirs[i].Error != "") != c.only {
					t.Errorf("openstacksdk says %+v", theirs[i])
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\nopenstacksdk says %+v", err, theirs[i])
			}
			if kind, ok := kindOf(theirs[i].AuthType); ok {
				theirs[i].AuthType = kind // one of its names
			}
			ours := answerOf(a)
			ours.Places = configDirs(env(questions[i].Env))[1:] // but for the present directory
			if !reflect.DeepEqual(ours, theirs[i]) {
				t.Errorf("ours   %+v\ntheirs %+v", ours, theirs[i])
			}
		})
	}
}

func writeCloud(t *testing.T, dir string, c cloudCase) {
	t.Helper()
	entry := c.entry
	if rest, ok := strings.CutPrefix(entry, "+"); ok {
		entry = usual + rest
	}
	files := map[string]string{"clouds.yaml": c.head + "clouds:\n  c:\n    " + strings.ReplaceAll(strings.TrimSpace(entry), "\n", "\n    ") + "\n"}
	if c.away {
		files = map[string]string{}
	}
	maps.Copy(files, c.files)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// answerOf puts settings into openstacksdk's words.
func answerOf(a access) cloudAnswer {
	out := cloudAnswer{Timeout: a.patience.Seconds(), AuthType: a.authType, Auth: map[string]string{}, Override: a.override, Region: a.region, Interface: a.iface,
		ServiceType: a.serviceType, ServiceName: a.service, Insecure: a.tls.insecure, CA: a.tls.ca, Cert: a.tls.cert, Key: a.tls.key}
	for k, v := range a.auth {
		if v != "" {
			out.Auth[k] = v
		}
	}
	if out.AuthType == "" {
		out.AuthType = authPassword
	}
	if out.AuthType == authNone && out.Override == "" {
		out.Override = a.auth["endpoint"]
	}
	if out.ServiceType == "" {
		out.ServiceType = "network"
	}
	if out.Insecure {
		out.CA = ""
	}
	if out.Key == "" {
		out.Key = out.Cert
	}
	return out
}

// FuzzClouds: whatever stands in a file, it is read or refused.
func FuzzClouds(f *testing.F) {
	for _, c := range cloudCases {
		entry := strings.Replace(c.entry, "+", usual, 1)
		f.Add(c.head + "clouds:\n  c:\n    " + strings.ReplaceAll(entry, "\n", "\n    ") + "\n")
	}
	f.Add("a: &a [*a]\nclouds: *a")
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := parseClouds([]byte(text))
		if err != nil {
			return
		}
		clouds, _ := doc["clouds"].(map[string]any)
		for _, v := range clouds {
			own, ok := v.(map[string]any)
			if !ok {
				continue
			}
			c := cloudEntry{}
			known, err := regionsOf(own, nil)
			if err == nil && c.merge(own) == nil && c.choose(known, "") == nil {
				if a, err := c.access(); err == nil && a.authType != authNone && a.auth["auth_url"] == "" && a.auth["endpoint"] == "" {
					t.Errorf("taken without a place: %q", text)
				}
			}
		}
	})
}
