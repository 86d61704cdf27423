//go:build !race

package etcdstore

const raceDetector = false
