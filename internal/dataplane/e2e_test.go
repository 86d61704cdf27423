package dataplane

import (
	"testing"

	"github.com/causeway-net/causeway/internal/reason"
)

func reasonName(r int) string { return reason.Reason(r).String() }

func TestPing(t *testing.T) {
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.1")
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.1.3")
	l.exec("vB", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.3")
	l.exec("vB", "ping -c 3 -i 0.2 -W 2 -q 192.168.0.1")
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 192.168.0.2")
}
