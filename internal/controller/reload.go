package controller

import "context"

// reload looks at the files anew whenever asked for it, until ctx ends. What is not sound
// is logged, and leaves things as they were. The agents' certificates need nothing: they
// are read for each connection.
func reload(ctx context.Context, p *parts) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.cfg.Reload:
		}
		p.cfg.Service.Reloading()
		p.log.Info("SIGHUP: reading the files of certificates and policy and opening the audit log again; settings are read at the start only")
		if p.certs != nil {
			p.certs.Look()
		}
		p.revoked.look()
		if p.gate.policy != nil {
			select {
			case p.gate.policy.now <- struct{}{}:
			default: // it is about to look
			}
		}
		if p.audit != nil {
			if err := p.audit.Reopen(); err != nil {
				p.log.Error("the old audit log is written on", "error", err)
			}
		}
		p.cfg.Service.Ready()
	}
}
