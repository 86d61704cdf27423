//go:build upgrade

package scenario

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// older is the environment variable with the path of an older release's program.
const older = "CAUSEWAY_OLDER"

// TestUpgrade begins with two sites of an older release, and brings them to this one under
// a flood, one process after the other; at the second site the new agent finds no controller
// at first. Not one packet is lost, and what the older release stored is there.
// (scripts/test-upgrade builds the older program.)
func TestUpgrade(t *testing.T) {
	from := os.Getenv(older)
	if from == "" {
		t.Fatalf("set %s to an older release's program", older)
	}
	ours := program
	program = filepath.Join(t.TempDir(), "causeway")
	t.Cleanup(func() { program = ours })
	install(t, from, program)

	p := newPair(t)
	p.sink(p.vmB, 9999)
	p.steadyNeighbours()
	restart := func(server string) {
		t.Helper()
		if err := p.Restart(t.Context(), server); err != nil {
			t.Fatal(err)
		}
	}
	sent, received := p.underFlood(t, func() {
		install(t, ours, program)
		restart("a1")
		p.waitSynced("a1")
		restart("site-a")
		p.waitSynced("a1")
		// The other agent finds no controller at first.
		if err := p.Kill("site-b"); err != nil {
			t.Fatal(err)
		}
		restart("b1")
		restart("site-b")
		p.waitSynced("b1")
	})
	t.Logf("%d sent, %d received", sent, received)
	if sent != received {
		t.Errorf("%d packets sent, %d received", sent, received)
	}
	p.mustPing(p.vmB, p.addrA)
	// Changes of what the older release stored.
	third := p.a.attach("vm-c", 4, "")
	p.reach(third, p.addrB)
}

// install puts a program into place in one step: what runs of the one before goes on.
func install(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}
