// Package trace is the pipeline of docs/PIPELINE.md as pure functions over
// hoststate.State: what the eBPF programs do with a frame, and why, in words.
//
// A Pipeline is immutable and may be used from many goroutines. FromWorkload,
// FromUnderlay, FromVXLAN and FromSlow stand for the four programs; the
// differential test (dataplane/difftest) holds them against the real ones. Trace
// and TraceTunnel answer "what becomes of a packet from this port" for people.
package trace
