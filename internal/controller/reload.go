package controller

import (
	"context"
	"log/slog"

	"github.com/causeway-net/causeway/internal/apiserver"
	"github.com/causeway-net/causeway/internal/audit"
)

// reload looks at the files anew whenever asked for it, until ctx ends. What is not sound
// is logged, and leaves things as they were. The agents' certificates need nothing: they
// are read for each connection.
func reload(ctx context.Context, asked <-chan struct{}, certs *apiserver.Certs, g gate, auditLog *audit.Log, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		log.Info("SIGHUP: reading the files of certificates and policy and opening the audit log again; settings are read at the start only")
		if certs != nil {
			certs.Look()
		}
		if g.policy != nil {
			select {
			case g.policy.now <- struct{}{}:
			default: // it is about to look
			}
		}
		if auditLog != nil {
			if err := auditLog.Reopen(); err != nil {
				log.Error("the old audit log is written on", "error", err)
			}
		}
	}
}
