package store

// Entry is an object or an index entry as a store keeps it.
type Entry struct {
	Kind Kind   // of an object
	ID   string // of an object
	// Index and Key are set for an index entry.
	Index Index
	Key   string
	// Value is an object's JSON, or an index entry's value.
	Value string
	// Gone is set, in what a Migration returns, for what is to be deleted.
	Gone bool
}

// Migration turns what one format of the state has into what the next one has: it
// is given everything, in order of the keys, and returns what is to be written. It
// is pure, and of what it was given with a part of what it returned already
// written, it must make the same: it runs again where it did not come to its end.
type Migration func(old []Entry) (changes []Entry, err error)
