// Package metrics names what controller and agent count, and serves it to
// Prometheus. The names are an interface to people: docs/metrics.md lists them.
package metrics
