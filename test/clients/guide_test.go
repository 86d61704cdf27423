package clients

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestGuideIsWhole wants every command of the operator's guide to be among those whose
// requests are compared, as the guide has them for Site A, in the guide's order.
func TestGuideIsWhole(t *testing.T) {
	page, err := os.ReadFile("../../docs/operator-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	site := strings.NewReplacer(
		"$TENANT", "10.0.0.0/24", "$VM", "10.0.0.3", "$PEER_IP", "192.168.0.1", "$PEER_MAC", "16:B7:B5:A4:57:75", "$TUNNEL_IP", "200.200.0.1",
		"$FAR_TENANT", "10.0.1.0/24", "$FAR_IP", "192.168.0.2", "$FAR_MAC", "6F:E4:5A:FA:8E:09", "$FAR_TUNNEL_IP", "200.200.0.2",
		"$(causeway l2-gateway-connection list --l2-gateway l2gw --network multi-site -f value -c id)", "$CONN",
	)
	var guide []string
	for _, block := range regexp.MustCompile("(?s)<!-- run: guide-(?:steps|down|down-rest) -->\n```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for line := range strings.SplitSeq(block[1], "\n") {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				guide = append(guide, site.Replace(command))
			}
		}
	}
	var compared []string
	for _, sec := range readSections(t, "testdata/cli/openstack-guide.txt") {
		for _, s := range sec.steps {
			compared = append(compared, s.command)
		}
	}
	if len(guide) < 20 {
		t.Fatalf("the guide has %d commands", len(guide))
	}
	at := 0
	for _, command := range guide {
		i := slices.Index(compared[at:], command)
		if i < 0 {
			t.Fatalf("%q of the guide is not compared, or out of order", command)
		}
		at += i + 1
	}
}
