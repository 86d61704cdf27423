//go:build race

package etcdstore

// raceDetector makes processes so slow to start that killing hundreds of them
// takes minutes.
const raceDetector = true
