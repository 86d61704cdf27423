package etcdstore

import (
	"strings"

	"github.com/causeway-net/causeway/internal/store"
)

// Within the mirror and transactions keys are relative: without the prefix and
// the version, as in "network/<id>" and "ix/<index>/<key>".
const (
	indexFamily = "ix/"
	metaFamily  = "meta/"
	headKey     = metaFamily + "head"
	goneKeys    = metaFamily + "gone/"
	yieldKey    = metaFamily + "yield"
)

type keys struct{ prefix string }

func (k keys) format() string           { return k.prefix + "format" }
func (k keys) data() string             { return k.prefix + "v1/" }
func (k keys) abs(rel string) string    { return k.prefix + "v1/" + rel }
func (k keys) rel(abs string) string    { return strings.TrimPrefix(abs, k.prefix+"v1/") }
func (k keys) session(id string) string { return k.prefix + "tx/" + id + "/" }

func objectKey(kind store.Kind, id string) string { return string(kind) + "/" + id }
func indexKey(ix store.Index, key string) string  { return indexFamily + string(ix) + "/" + key }
func kindPrefix(kind store.Kind) string           { return string(kind) + "/" }
func indexPrefix(ix store.Index, p string) string { return indexFamily + string(ix) + "/" + p }
func isIndexKey(rel string) bool                  { return strings.HasPrefix(rel, indexFamily) }
func isMetaKey(rel string) bool                   { return strings.HasPrefix(rel, metaFamily) }
func splitIndexKey(rel string) (ix, key string, ok bool) {
	rest, ok := strings.CutPrefix(rel, indexFamily)
	if !ok {
		return "", "", false
	}
	ix, key, ok = strings.Cut(rest, "/")
	return ix, key, ok
}

func splitObjectKey(rel string) (kind, id string) {
	kind, id, _ = strings.Cut(rel, "/")
	return kind, id
}

// goneKey is the key that is written where something of rel's family is deleted.
func goneKey(rel string) string {
	if rest, ok := strings.CutPrefix(rel, indexFamily); ok {
		ix, _, _ := strings.Cut(rest, "/")
		return goneKeys + indexFamily + ix
	}
	kind, _ := splitObjectKey(rel)
	return goneKeys + kind
}

// prefixEnd is the first key after all that start with p.
func prefixEnd(p string) string {
	b := []byte(p)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\x00" // etcd: no end
}
