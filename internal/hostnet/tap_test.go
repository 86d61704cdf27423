package hostnet

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/testutil"
)

// A descriptor of the tap that another process is about to let go is waited for; one
// that stays is an error in words.
func TestTapIsWaitedFor(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	if err := makeTap(); err != nil {
		t.Fatal(err)
	}
	holder, err := tryAttachTap()
	if err != nil {
		t.Fatal(err)
	}
	if fd, err := attachTap(); err == nil {
		unix.Close(fd)
		t.Fatal("the tap was attached to twice")
	}
	time.AfterFunc(50*time.Millisecond, func() { unix.Close(holder) })
	fd, err := attachTap()
	if err != nil {
		t.Fatalf("the holder has let go: %v", err)
	}
	unix.Close(fd)
}
