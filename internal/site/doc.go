// Package site holds the business rules of one site: what may be created, changed
// and deleted, and what each operation writes. Every operation is one transaction
// on the store, with its index entries: what must be unique is an index entry that
// two writers cannot both set, and what must exist is read in the transaction, so
// that its deletion makes the other writer run again.
//
// Errors for the caller are *model.Error with the exception names that Neutron's
// clients know.
package site
