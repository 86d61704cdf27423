package trace

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/reason"
)

// TestPathWords: the hop into a tunnel says what is known of the underlay's path, and what is
// known decides.
func TestPathWords(t *testing.T) {
	vtep := netip.MustParseAddr("200.200.0.2")
	env := Env{PathMTU: map[netip.Addr]int{vtep: 1400}, PathWhy: map[netip.Addr]string{vtep: "proven: the peer's router answers"}}
	res := New(siteA(), env).FromWorkload("vm", Frame{Data: unhex(t, vmFrame)})
	var words string
	for _, h := range res.Hops {
		words += h.Decision + "\n"
	}
	if res.Verdict != Tunnel || !strings.Contains(words, "takes packets of up to 1400 bytes, proven: the peer's router answers") {
		t.Errorf("%s: %s", res.Verdict, words)
	}
	env.PathMTU[vtep] = 60
	if res := New(siteA(), env).FromWorkload("vm", Frame{Data: unhex(t, vmFrame)}); res.Reason != reason.FragmentationNeeded {
		t.Errorf("over a path that takes less: %s %s", res.Verdict, res.Reason)
	}
}
