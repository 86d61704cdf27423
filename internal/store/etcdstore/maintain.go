package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/causeway-net/causeway/internal/pause"
)

// maintainer keeps the database small: it compacts old revisions, gives their
// space back when the database is near its bound, and clears etcd's alarm when
// there is room again.
type maintainer struct {
	s   *Store
	now chan struct{} // has room for one
}

func newMaintainer(s *Store) *maintainer {
	return &maintainer{s: s, now: make(chan struct{}, 1)}
}

// wake asks for a look at the database now.
func (m *maintainer) wake() {
	select {
	case m.now <- struct{}{}:
	default:
	}
}

const (
	lookEvery     = time.Minute
	urgentPause   = time.Second
	reclaimAt     = 0.8 // of the quota
	alarmClearsAt = 0.95
	// A defragmentation rewrites the database and stops writes meanwhile; this
	// much of the file must be free for it to be worth that.
	defragFree = 0.25
)

// admit refuses transactions where the disk has no room, and those that would add to a
// database beyond its quota; frees says that it takes away more than it adds.
// Only the etcd inside this process is looked at: a cluster refuses by itself.
// What counts is the pages in use; those that compaction freed are used again.
func (m *maintainer) admit(frees bool) error {
	if m.s.server == nil {
		return nil
	}
	if err := m.s.server.disk.admit(); err != nil || frees {
		return err
	}
	quota := m.s.opt.QuotaBytes
	used := m.s.server.etcd.Backend().SizeInUse()
	if float64(used) > reclaimAt*float64(quota) {
		m.wake()
	}
	if used <= quota {
		return nil
	}
	return unavailable("StoreFull",
		"the store is full (%d of %d bytes): only deletions are possible until space is freed", used, quota)
}

func (m *maintainer) run(ctx context.Context) {
	t := time.NewTimer(lookEvery)
	defer t.Stop()
	type mark struct {
		at  time.Time
		rev int64
	}
	first, _ := m.s.mirror.current()
	marks := []mark{{time.Now(), first.rev}}
	if alarms, err := m.alarms(ctx); err == nil && len(alarms) > 0 {
		m.wake()
	}
	for {
		urgent := false
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-m.now:
			urgent = true
		}
		began := time.Now()
		if sv := m.s.server; sv != nil {
			if sv.disk.admit() != nil { // to make room takes room
				_ = pause.For(ctx, urgentPause)
				t.Reset(lookEvery)
				continue
			}
			if err := sv.disk.keep(); err != nil {
				m.s.log.Warn("no room is kept back for a start on a full disk", "error", err)
			}
		}
		cur, _ := m.s.mirror.current()
		marks = append(marks, mark{began, cur.rev})
		var upTo int64
		if m.s.opt.History > 0 {
			for len(marks) > 1 && time.Since(marks[0].at) >= m.s.opt.History {
				upTo = marks[0].rev
				marks = marks[1:]
			}
		}
		if urgent {
			upTo, marks = cur.rev, marks[len(marks)-1:]
		}
		if upTo > 0 {
			m.compact(ctx, upTo, urgent)
		}
		if err := m.reclaim(ctx, urgent); err != nil && ctx.Err() == nil {
			m.s.log.Warn("maintenance of the etcd database", "error", err)
		}
		if urgent {
			// However often it is asked for, most of the time goes to others.
			_ = pause.For(ctx, max(urgentPause, 10*time.Since(began)))
		}
		t.Reset(lookEvery)
	}
}

func (m *maintainer) compact(ctx context.Context, rev int64, wait bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var opts []clientv3.CompactOption
	if wait {
		opts = append(opts, clientv3.WithCompactPhysical())
	}
	_, err := m.s.client.Compact(ctx, rev, opts...)
	if err != nil && ctx.Err() == nil && !errors.Is(err, rpctypes.ErrCompacted) {
		m.s.log.Warn("compact etcd", "revision", rev, "error", err)
	}
}

// reclaim gives free pages of each member's database back where it is near its
// quota, and then clears the alarm.
func (m *maintainer) reclaim(ctx context.Context, urgent bool) error {
	room := true
	for _, ep := range m.members() {
		st, err := m.status(ctx, ep)
		if err != nil {
			return fmt.Errorf("status of %s: %w", ep, err)
		}
		quota := st.DbSizeQuota // where the alarm goes off
		if quota <= 0 {
			continue
		}
		near := float64(st.DbSize) > reclaimAt*float64(quota)
		if near && float64(st.DbSize-st.DbSizeInUse) > defragFree*float64(st.DbSize) {
			if sv := m.s.server; sv != nil && !sv.disk.roomToCopy() {
				return fmt.Errorf("the file system of %s has no room for a copy of the database, which would give its free pages back", m.s.opt.DataDir)
			}
			if err := m.defragment(ctx, ep); err != nil {
				return fmt.Errorf("defragment %s: %w", ep, err)
			}
			if st, err = m.status(ctx, ep); err != nil {
				return fmt.Errorf("status of %s: %w", ep, err)
			}
			m.s.log.Info("etcd database defragmented", "member", ep, "bytes", st.DbSize)
		}
		if float64(st.DbSize) > alarmClearsAt*float64(quota) {
			room = false
		}
	}
	if !room || !urgent {
		return nil
	}
	return m.clearAlarms(ctx)
}

// alarms are those of a database beyond its quota.
func (m *maintainer) alarms(ctx context.Context) ([]*clientv3.AlarmMember, error) {
	ctx, cancel := context.WithTimeout(ctx, m.s.opt.RequestTimeout)
	defer cancel()
	resp, err := m.s.client.AlarmList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list alarms: %w", err)
	}
	var out []*clientv3.AlarmMember
	for _, a := range resp.Alarms {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			out = append(out, (*clientv3.AlarmMember)(a))
		}
	}
	return out, nil
}

func (m *maintainer) clearAlarms(ctx context.Context) error {
	alarms, err := m.alarms(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.s.opt.RequestTimeout)
	defer cancel()
	for _, a := range alarms {
		if _, err := m.s.client.AlarmDisarm(ctx, a); err != nil {
			return fmt.Errorf("disarm the alarm: %w", err)
		}
		m.s.log.Info("there is room again; etcd's alarm is cleared")
	}
	return nil
}

// members are the endpoints to look after; the etcd inside this process is
// asked whatever the name.
func (m *maintainer) members() []string {
	if m.s.server != nil {
		return []string{memberName}
	}
	return m.s.client.Endpoints()
}

func (m *maintainer) status(ctx context.Context, ep string) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, m.s.opt.RequestTimeout)
	defer cancel()
	return m.s.client.Status(ctx, ep)
}

func (m *maintainer) defragment(ctx context.Context, ep string) error {
	if m.s.server != nil {
		// The call of a client goes through a health notifier, which only a
		// listening server has.
		return m.s.server.etcd.Backend().Defrag()
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	_, err := m.s.client.Defragment(ctx, ep)
	return err
}
