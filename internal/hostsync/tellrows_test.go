package hostsync

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
)

// tellingSink says what rows it has by a function.
type tellingSink struct {
	probingSink
	rows func(context.Context) (Rows, error)
}

func (s tellingSink) Rows(ctx context.Context) (Rows, error) { return s.rows(ctx) }

// TestRows: a controller gets what its agent says of its rows; one of an older release, which takes the question
// for one about packets, is told apart.
func TestRows(t *testing.T) {
	hosts := newFakeHosts()
	target, _ := serve(t, hosts)
	digest, _ := hoststate.DigestFrom(make([]byte, 32))
	digest[0] = 7
	want := Rows{Digests: hoststate.Digests{{Kind: hoststate.GroupHost}: digest, {Kind: hoststate.GroupRouter, Key: 5}: digest}, Revision: 9, Applied: 8}
	var fails error
	s := tellingSink{probingSink{newSink(), nil}, func(context.Context) (Rows, error) { return want, fails }}
	_, stop := connect(t, ClientOptions{Targets: []string{target}}, s)
	wait(t, s.updates, "first update")
	got, err := hosts.queue.Rows(t.Context())
	if err != nil || !maps.Equal(got.Digests, want.Digests) || got.Revision != 9 || got.Applied != 8 {
		t.Errorf("%+v, %v", got, err)
	}
	fails = errors.New("no")
	if _, err := hosts.queue.Rows(t.Context()); !errors.Is(err, errProbeFail) {
		t.Errorf("an agent that cannot say: %v", err)
	}
	stop()
	if _, err := hosts.queue.Rows(t.Context()); !errors.Is(err, ErrHostLeft) {
		t.Errorf("an agent that has gone: %v", err)
	}
	q, _ := probingHost(t, nil)
	if _, err := q.Rows(t.Context()); !errors.Is(err, ErrNoRows) {
		t.Errorf("an agent that does not know the question: %v", err)
	}
}
