package site

import (
	"context"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Bounds of the questions that wait: those to one host, as many as it takes from its own controller, and all.
const (
	maxQuestionsEach = 64
	maxQuestions     = 1024
)

// ErrBusyHost says that too many questions to hosts of other controllers wait.
var ErrBusyHost = model.Errf(model.KindUnavailable, "ServiceUnavailable", "Too many probes of hosts at other controllers are under way.")

// Ask leaves a question to a host for the controller that has it.
func (s *Site) Ask(ctx context.Context, q model.HostQuestion) error {
	return s.update(ctx, func(t *tx) error {
		all, each := 0, 0
		for o := range store.All(t, store.HostQuestions) {
			if all++; o.Host == q.Host {
				each++
			}
		}
		if all >= maxQuestions || each >= maxQuestionsEach {
			return ErrBusyHost
		}
		store.Put(t, store.HostQuestions, q.ID, &q)
		return nil
	})
}

// Answer changes a question that waits; where it is there no more nothing is done.
func (s *Site) Answer(ctx context.Context, id string, change func(*model.HostQuestion)) error {
	return s.update(ctx, func(t *tx) error {
		old := store.Get(t, store.HostQuestions, id)
		if old == nil {
			return nil
		}
		q := *old
		change(&q)
		store.Put(t, store.HostQuestions, id, &q)
		return nil
	})
}

// DropQuestion ends a question, answered or not.
func (s *Site) DropQuestion(ctx context.Context, id string) error {
	return s.update(ctx, func(t *tx) error {
		store.Delete(t, store.HostQuestions, id)
		return nil
	})
}
