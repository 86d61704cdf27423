package sites

import (
	"context"

	"github.com/causeway-net/causeway/internal/client"
)

// ahead is retry for what keeps a lease: it does not stand in line behind the work
// that the lease is for.
func (s *Conn) ahead(ctx context.Context, do func(context.Context) error) error {
	return s.again(ctx, s.opts.Attempts, do)
}

// RouterTags are a router's tags.
func (s *Conn) RouterTags(ctx context.Context, id string) (tags []string, err error) {
	err = s.ahead(ctx, func(ctx context.Context) (err error) {
		tags, err = s.api.Tags(ctx, client.Routers, id)
		return err
	})
	return tags, err
}

// TagRouter gives a router a tag; it may have it.
func (s *Conn) TagRouter(ctx context.Context, id, tag string) error {
	return s.ahead(ctx, func(ctx context.Context) error { return s.api.AddTag(ctx, client.Routers, id, tag) })
}

// UntagRouter takes a tag off a router and tells whether it was there at the first
// attempt. sure is false where an answer was lost, so that nobody knows.
func (s *Conn) UntagRouter(ctx context.Context, id, tag string) (was, sure bool, err error) {
	sure = true
	err = s.ahead(ctx, func(ctx context.Context) error {
		err := s.api.RemoveTag(ctx, client.Routers, id, tag)
		was = err == nil
		if client.IsNotFound(err) {
			return nil
		}
		sure = sure && !client.IsTemporary(err)
		return err
	})
	return was, sure, err
}
