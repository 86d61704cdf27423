// Package etcdstore keeps a site's state in etcd: one that runs inside this
// process with its data under one directory, or a cluster reached by its client
// API. From the client down both are the same code.
//
// Each Store holds the whole state decoded in memory (the mirror), fed by one
// watch. Reads cost no round trip beyond learning the revision they must reach;
// transactions are built against a snapshot of the mirror and committed as one
// etcd transaction that compares everything that was read.
//
// # Keys
//
//	/causeway/format            the format's number, see migrate.go
//	/causeway/v1/<kind>/<id>    a resource, JSON
//	/causeway/v1/ix/<index>/<key>   an index entry
//	/causeway/v1/meta/head      written by every transaction: its ModRevision is
//	                            the revision that a reader must have reached
//	/causeway/v1/meta/gone/<family> written where something of a kind or an index
//	                            is deleted, so that long scans can notice it
//	/causeway/v1/meta/yield     written by a store whose transaction meets conflict
//	                            after conflict: the others pause for a moment
//	/causeway/tx/<session>/<n>  commit slots, see commit.go
package etcdstore
