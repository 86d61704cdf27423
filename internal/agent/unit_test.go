package agent

import (
	"os"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// namespaceOfTest is a process in the test's own namespace.
func namespaceOfTest() string { return itoa(os.Getpid()) }
