// Package pb is the generated code of hostsync.proto. Only package hostsync
// imports it.
package pb

//go:generate sh gen.sh
