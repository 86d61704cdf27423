package hostsync

import (
	"context"
	"errors"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/probe"
)

// Rows are what rows a host has, as its agent finds them when it is asked.
type Rows struct {
	Digests  hoststate.Digests
	Revision int64 // that they are at
	Applied  int64 // of what is in the maps
}

// RowTeller is a Sink that says what rows it has, when the controller asks.
type RowTeller interface {
	Rows(ctx context.Context) (Rows, error)
}

// ErrNoRows says that an agent does not say what rows it has.
var ErrNoRows = errors.New("the host's agent is of a release that does not say what rows it has: upgrade it")

// Rows asks the agent what rows it has.
func (q *Queue) Rows(ctx context.Context) (Rows, error) {
	a, err := q.answer(ctx, func(id uint64) *pb.Probe { return &pb.Probe{Id: id, Rows: true} })
	if errors.Is(err, probe.ErrRequest) {
		return Rows{}, ErrNoRows // it took the question for one about packets
	}
	return a.rows, err
}

// tellRows answers a question for what rows there are.
func (p *probing) tellRows(ctx context.Context) (*pb.ProbeResult, error) {
	if p.teller == nil {
		return nil, probe.ErrRequest // as older agents say
	}
	rows, err := p.teller.Rows(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.ProbeResult{Rows: encodeHave(rows.Digests, true).Groups, Revision: rows.Revision, Applied: rows.Applied}, nil
}

func decodeRows(m *pb.ProbeResult) (Rows, error) {
	ds, err := decodeHave(&pb.Have{Groups: m.Rows})
	return Rows{Digests: ds, Revision: m.Revision, Applied: m.Applied}, err
}
