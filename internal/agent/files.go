package agent

import (
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/journal"
	"github.com/causeway-net/causeway/internal/liveness"
)

// keepJournal notes what the controller said for the next start.
func (a *Agent) keepJournal(d hoststate.Delta) {
	a.kept(journal.File, a.journal.Add(d, a.state), "a restart will have to wait for the controller")
}

// keepPaths notes what is proven of paths.
func (a *Agent) keepPaths() {
	a.kept(pathMTUFile, a.pathMTU.save(), "after a restart the paths are searched anew")
}

// keepAttachments notes the interfaces with a program.
func (a *Agent) keepAttachments() {
	a.kept(attachmentsFile, a.attached.save(), "after a restart, programs may stay on interfaces that no port has")
}

// remotesFile is what "causeway health" watches, as an object.
const remotesFile = "remotes"

// keepRemotes tells "causeway health" which VTEPs to watch: those of tunnels that this host serves. What a host on the
// fabric is reached by is none of them.
func (a *Agent) keepRemotes() {
	if !a.known {
		return // what it was told before still holds
	}
	remotes := []liveness.Remote{}
	for v, rows := range a.remote.rows {
		if len(rows.fdb)+len(rows.peers) > 0 && v.Local.Is4() && v.Remote.Is4() {
			remotes = append(remotes, liveness.Remote{TunnelIP: v.Local, VTEP: v.Remote})
		}
	}
	a.kept(remotesFile, liveness.Tell(a.cfg.StateDir, remotes), "causeway health goes on with the VTEPs that it knows")
}

func (a *Agent) kept(file string, err error, words string) {
	if err == nil {
		a.objs.files.Done(file)
	} else if a.objs.files.Failed(file, err) {
		a.log.Warn(words, "file", file, "err", err)
	}
}

// reconcileFiles writes again what could not be written.
func (a *Agent) reconcileFiles() {
	for _, f := range a.objs.files.Take() {
		switch f {
		case journal.File:
			a.kept(f, a.journal.Begin(a.state, a.want), "a restart will have to wait for the controller")
		case pathMTUFile:
			a.keepPaths()
		case remotesFile:
			a.keepRemotes()
		}
	}
	a.keepAttachments()
}
