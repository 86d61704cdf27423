package etcdstore

import (
	"context"
	"errors"

	"github.com/causeway-net/causeway/internal/model"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func unavailable(typ, format string, args ...any) error {
	return model.Errf(model.KindUnavailable, typ, format, args...)
}

var errClosed = errors.New("the store is closed")

// refused tells of err, which a transaction got, whether it is sure that the
// transaction has not been and will not be applied.
func refused(err error) bool {
	for _, e := range []error{
		rpctypes.ErrNoSpace, rpctypes.ErrTooManyRequests, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps,
		rpctypes.ErrDuplicateKey, rpctypes.ErrLeaseNotFound, rpctypes.ErrPermissionDenied,
		rpctypes.ErrUserEmpty, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthFailed, rpctypes.ErrAuthOldRevision,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// callerError is what the caller of the store gets for an error of etcd.
func (s *Store) callerError(ctx context.Context, what string, err error) error {
	var domain *model.Error
	switch {
	case errors.As(err, &domain):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, rpctypes.ErrNoSpace):
		s.maintain.wake()
		return unavailable("StoreFull", "the store is full: nothing can be written until space is freed (%s)", err)
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return model.Errf(model.KindTooLarge, "TransactionTooLarge",
			"the transaction has more operations than the etcd cluster accepts (its --max-txn-ops, assumed to be %d)", s.opt.MaxTxnOps)
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return model.Errf(model.KindTooLarge, "TransactionTooLarge",
			"the transaction is larger than the etcd cluster accepts (its --max-request-bytes, assumed to be %d)", s.opt.MaxRequestBytes)
	case errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrUserEmpty):
		return unavailable("StoreUnavailable", "%s: etcd refuses this controller's user: %s", what, err)
	}
	return unavailable("StoreUnavailable", "%s: %s", what, err)
}
