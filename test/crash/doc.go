// Package crash holds tests of "causeway controller" as a process: killed at random
// moments under concurrent writes, and several of them on one etcd.
package crash
