package site

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// The resources of which a project may have a limited number, by the names that
// quotas have for them.
const (
	QuotaNetwork    = "network"
	QuotaSubnet     = "subnet"
	QuotaPort       = "port"
	QuotaRouter     = "router"
	QuotaSubnetPool = "subnetpool"
	QuotaRBACPolicy = "rbac_policy"
	// Of these there are none yet. Clients set their limits together with others.
	QuotaFloatingIP        = "floatingip"
	QuotaSecurityGroup     = "security_group"
	QuotaSecurityGroupRule = "security_group_rule"
)

// Unlimited is the limit that is none.
const Unlimited = -1

// QuotaResources lists them.
func QuotaResources() []string {
	return []string{QuotaNetwork, QuotaSubnet, QuotaPort, QuotaRouter, QuotaSubnetPool, QuotaRBACPolicy,
		QuotaFloatingIP, QuotaSecurityGroup, QuotaSecurityGroupRule}
}

// NeutronQuotas are the limits that Neutron has where nobody sets any.
func NeutronQuotas() map[string]int64 {
	return map[string]int64{
		QuotaNetwork: 100, QuotaSubnet: 100, QuotaPort: 500, QuotaRouter: 10, QuotaSubnetPool: Unlimited, QuotaRBACPolicy: 10,
		QuotaFloatingIP: 50, QuotaSecurityGroup: 10, QuotaSecurityGroupRule: 100,
	}
}

// How quotas are kept. Each counted resource has an entry in ixOwned; what a
// project has is what stands there, and a deletion does no more than delete it. A
// creator that counted them all would depend on every other creator and deleter of
// the project, and its cost would grow with what exists. So the limit is dealt out
// to shards, by the first digits of the ids: a creator draws a shard, counts only
// that, and makes an id that belongs to it. What each shard may hold is written
// down once (ixQuota), when the first resource under a limit is made, and adds up
// to the limit; so no two creators can exceed it, whichever shards they draw. Where
// a few shards in a row are full the whole is counted once, which happens near the
// limit alone.

// shardTries is how many shards are drawn before all are counted.
const shardTries = 6

// shards is what ixQuota holds: how the limit is dealt out.
type shards struct {
	limit  int64
	digits int     // of an id, that tell its shard
	extra  []int64 // what each may hold beyond an equal share; nil: nothing
}

// shardDigits keeps the resources of a shard few, and the shards too.
func shardDigits(limit int64) int {
	switch {
	case limit <= 64:
		return 1
	case limit <= 16384:
		return 2
	}
	return 3
}

func (s *shards) count() int { return 1 << (4 * s.digits) }

// holds is what shard i may hold.
func (s *shards) holds(i int) int64 {
	if s.extra != nil {
		return s.extra[i]
	}
	n := int64(s.count())
	share := s.limit / n
	if int64(i) < s.limit%n {
		share++
	}
	return share
}

// text is LIMIT/DIGITS, followed by what each shard may hold where that is not the
// equal share.
func (s *shards) text() string {
	out := fmt.Sprintf("%d/%d", s.limit, s.digits)
	for i, n := range s.extra {
		sep := ","
		if i == 0 {
			sep = "/"
		}
		out += sep + strconv.FormatInt(n, 10)
	}
	return out
}

func parseShards(s string) (*shards, bool) {
	parts := strings.SplitN(s, "/", 3)
	if len(parts) < 2 {
		return nil, false
	}
	limit, err1 := strconv.ParseInt(parts[0], 10, 64)
	digits, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil || limit < 0 || digits < 1 || digits > 3 {
		return nil, false
	}
	out := &shards{limit: limit, digits: digits}
	if len(parts) == 2 {
		return out, true
	}
	for n := range strings.SplitSeq(parts[2], ",") {
		v, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return nil, false
		}
		out.extra = append(out.extra, v)
	}
	return out, len(out.extra) == out.count()
}

// deal deals a limit out to shards that hold used already, together no more than
// the limit.
func deal(limit int64, used []int64) *shards {
	s := &shards{limit: limit, digits: shardDigits(limit)}
	left, even := limit, true
	for i, n := range used {
		left -= n
		even = even && n <= s.holds(i)
	}
	if even {
		return s
	}
	n := int64(len(used))
	s.extra = make([]int64, n)
	for i := range used {
		s.extra[i] = used[i] + left/n
		if int64(i) < left%n {
			s.extra[i]++
		}
	}
	return s
}

func ownedPrefix(resource string, project model.ProjectID) string {
	return resource + "/" + projectKey(project) + "/"
}

// ownedEntry is the entry of a counted resource.
func ownedEntry(resource string, project model.ProjectID, id string) entry {
	return entry{ix: ixOwned, key: ownedPrefix(resource, project) + id}
}

// newID makes the id of a new resource of a project, within the project's quota.
// The caller writes the resource's ownedEntry before it makes another.
func (t *tx) newID(resource string, project model.ProjectID) (string, error) {
	id := uuid.NewString()
	limit := LimitOf(t, t.s.quotas, project, resource)
	prefix := ownedPrefix(resource, project)
	state, dealt := t.Lookup(ixQuota, prefix)
	if limit < 0 {
		if dealt {
			// What is made now is not counted against it.
			t.DeleteIndex(ixQuota, prefix)
		}
		return id, nil
	}
	s, ok := parseShards(state)
	if !dealt || !ok || s.limit != limit {
		used, total := t.countShards(prefix, limit, shardDigits(limit))
		if total >= limit {
			return "", overQuota(resource)
		}
		s = deal(limit, used)
		t.SetIndex(ixQuota, prefix, s.text())
	}
	for range shardTries {
		shard := rand.IntN(s.count())
		if t.shardHasRoom(prefix, s, shard) {
			return s.id(id, shard), nil
		}
	}
	used, _ := t.countShards(prefix, limit, s.digits)
	var free []int
	for i, n := range used {
		if n < s.holds(i) {
			free = append(free, i)
		}
	}
	if len(free) == 0 {
		return "", overQuota(resource)
	}
	return s.id(id, free[rand.IntN(len(free))]), nil
}

// id gives a random id the digits of its shard.
func (s *shards) id(random string, shard int) string {
	return fmt.Sprintf("%0*x%s", s.digits, shard, random[s.digits:])
}

func (t *tx) shardHasRoom(prefix string, s *shards, shard int) bool {
	room := s.holds(shard)
	if room == 0 {
		return false // without a look at it
	}
	for range t.Scan(ixOwned, fmt.Sprintf("%s%0*x", prefix, s.digits, shard)) {
		if room--; room == 0 {
			return false
		}
	}
	return true
}

// countShards counts what there is by shard; beyond most the rest is left out.
func (t *tx) countShards(prefix string, most int64, digits int) (used []int64, total int64) {
	used = make([]int64, 1<<(4*digits))
	for key := range t.Scan(ixOwned, prefix) {
		if total++; total > most {
			break
		}
		shard, err := strconv.ParseUint(key[len(prefix):len(prefix)+digits], 16, 32)
		if err == nil {
			used[shard]++
		}
	}
	return used, total
}

func overQuota(resource string) *model.Error {
	return conflict("OverQuota", "Quota exceeded for resources: ['%s'].", resource)
}

// LimitOf is the limit that holds for a project: its own, or the default.
func LimitOf(r store.Reader, defaults map[string]int64, project model.ProjectID, resource string) int64 {
	if q := store.Get(r, store.Quotas, string(project)); q != nil {
		if n, ok := q.Limits[resource]; ok {
			return n
		}
	}
	if n, ok := defaults[resource]; ok {
		return n
	}
	return Unlimited
}

// DefaultQuota is the limit of a resource for projects that have none of their own.
func (s *Site) DefaultQuota(resource string) int64 {
	if n, ok := s.quotas[resource]; ok {
		return n
	}
	return Unlimited
}

// Limit is the limit of a resource that holds for a project.
func (s *Site) Limit(r store.Reader, project model.ProjectID, resource string) int64 {
	return LimitOf(r, s.quotas, project, resource)
}

// Owned lists the ids of what a project has of a counted resource, in order.
func Owned(r store.Reader, project model.ProjectID, resource string) []string {
	return suffixes(r, ixOwned, ownedPrefix(resource, project))
}

// Used counts what a project has of a resource.
func Used(r store.Reader, project model.ProjectID, resource string) int64 {
	n := int64(0)
	for range r.Scan(ixOwned, ownedPrefix(resource, project)) {
		n++
	}
	return n
}

// SetQuota gives a project limits of its own. With checked set, a limit below what
// the project has is refused; else it only keeps more from being made.
func (s *Site) SetQuota(ctx context.Context, project model.ProjectID, limits map[string]int64, checked bool) error {
	return s.update(ctx, func(t *tx) error {
		q := model.Quota{ProjectID: project, Limits: map[string]int64{}}
		if old := store.Get(t, store.Quotas, string(project)); old != nil {
			maps.Copy(q.Limits, old.Limits)
		}
		for _, resource := range slices.Sorted(maps.Keys(limits)) {
			limit := limits[resource]
			if used := Used(t, project, resource); checked && limit >= 0 && used > limit {
				return model.Errf(model.KindInvalid, "HTTPBadRequest", "Quota limit %d for %s must be greater than or equal to already used %d", limit, resource, used)
			}
			q.Limits[resource] = limit
		}
		store.Put(t, store.Quotas, string(project), &q)
		return nil
	})
}

// DeleteQuota gives a project the default limits again.
func (s *Site) DeleteQuota(ctx context.Context, project model.ProjectID) error {
	return s.update(ctx, func(t *tx) error {
		if store.Get(t, store.Quotas, string(project)) == nil {
			return model.Errf(model.KindNotFound, "TenantQuotaNotFound", "Quota for tenant %s could not be found.", project)
		}
		store.Delete(t, store.Quotas, string(project))
		return nil
	})
}

// quotas makes sure that no shard holds more than it may, and that together they may
// hold the limit.
func (c *checker) quotas() {
	for prefix, state := range c.r.Scan(ixQuota, "") {
		s, ok := parseShards(state)
		if !ok {
			c.problem("%s %s = %q cannot be read", ixQuota, prefix, state)
			continue
		}
		sum := int64(0)
		for i := range s.count() {
			sum += s.holds(i)
			n := int64(0)
			for range c.r.Scan(ixOwned, fmt.Sprintf("%s%0*x", prefix, s.digits, i)) {
				n++
			}
			if n > s.holds(i) {
				c.problem("shard %d of quota %s holds %d, may hold %d", i, prefix, n, s.holds(i))
			}
		}
		if sum != s.limit {
			c.problem("the shards of quota %s may hold %d, its limit is %d", prefix, sum, s.limit)
		}
	}
}
