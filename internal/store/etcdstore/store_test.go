package etcdstore_test

import (
	"testing"

	"github.com/causeway-net/causeway/internal/store/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, storetest.Embedded) }
