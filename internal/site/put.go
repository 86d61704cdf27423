package site

import (
	"reflect"
	"strings"

	"github.com/causeway-net/causeway/internal/store"
)

// Put is store.Tx's, which wants objects as JSON would give them back: without empty
// lists and maps where JSON leaves them out.
func (t *tx) Put(kind store.Kind, id string, o store.Object) {
	dropEmpty(reflect.ValueOf(o).Elem())
	t.Tx.Put(kind, id, o)
}

func dropEmpty(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			if v.Type().Field(i).Anonymous {
				dropEmpty(f)
			}
		case reflect.Slice, reflect.Map:
			if !f.IsNil() && f.Len() == 0 && strings.HasSuffix(v.Type().Field(i).Tag.Get("json"), ",omitempty") {
				f.SetZero()
			}
		}
	}
}
