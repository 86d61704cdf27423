// Package cli holds what the commands share and cobra has no part in: the error
// with its exit code and way out, and the output formats of the OpenStack client.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Exit codes. They are documented in the root command's help.
const (
	ExitOK       = 0
	ExitFailure  = 1
	ExitUsage    = 2
	ExitNotFound = 3 // what was named does not exist, or the name is ambiguous
	// The next three are those of "causeway peer".
	ExitChanges   = 4 // something is to be done, or has drifted
	ExitBlocked   = 5 // something stands in the way
	ExitLeased    = 6 // another run has the lease
	ExitInterrupt = 130
)

// Error is what a command ends with: What it was doing, the cause, and a way out.
type Error struct {
	What string // "gateway-device create"; may be empty
	Err  error
	Hint string // a sentence; may be empty
	Code int    // 0 means ExitFailure
}

func (e *Error) Error() string {
	if e.What == "" {
		return e.Err.Error()
	}
	return e.What + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Usagef is an error in how the command was called.
func Usagef(format string, args ...any) error {
	return &Error{Err: fmt.Errorf(format, args...), Code: ExitUsage}
}

// Hinted gives err a way out; nil stays nil.
func Hinted(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Hint: fmt.Sprintf(format, args...), Code: askedCode(err)}
}

// BadFile says that a file which the command was given cannot be read, or does not say what it
// should: the call was wrong. nil stays nil.
func BadFile(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Code: ExitUsage}
}

// Graver is the exit code that is worse: what was left undone counts less than what failed.
func Graver(a, b int) int {
	order := []int{ExitOK, ExitChanges, ExitBlocked, ExitLeased, ExitFailure}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// Exit is an exit code without words: the command has said everything itself, or
// passes on the code of a command that it ran.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// coder is what an error of another package implements to choose its exit code.
type coder interface{ ExitCode() int }

// codeOf is the first exit code that err or what it wraps asks for.
func codeOf(err error) int {
	if code := askedCode(err); code != 0 {
		return code
	}
	if errors.Is(err, context.Canceled) {
		return ExitInterrupt
	}
	return ExitFailure
}

func askedCode(err error) int {
	switch e := err.(type) {
	case *Error:
		if e.Code != 0 {
			return e.Code
		}
	case Exit:
		return int(e)
	case coder:
		return e.ExitCode()
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return askedCode(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if code := askedCode(one); code != 0 {
				return code
			}
		}
	}
	return 0
}

// Report writes err in the form "causeway: <what>: <cause>", with the hints below
// it, and returns the exit code.
func Report(w io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	var x Exit
	if errors.As(err, &x) {
		return int(x)
	}
	code := codeOf(err)
	if code == ExitInterrupt {
		fmt.Fprintln(w, "causeway: interrupted")
		return code
	}
	fmt.Fprintf(w, "causeway: %s\n", words(err))
	for _, h := range hints(err) {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(plainLines(h), "\n", "\n  "))
	}
	return code
}

// words are an error's. Of several joined errors each has its line; any other line that a text begins
// is set in, so that none passes for one of ours.
func words(err error) string {
	text := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		joined, ok := e.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		all := joined.Unwrap()
		before, after, found := strings.Cut(text, e.Error())
		var lines, plain []string
		for _, one := range all {
			lines, plain = append(lines, words(one)), append(plain, one.Error())
		}
		if found && strings.Join(plain, "\n") == e.Error() {
			return setIn(before) + strings.Join(lines, "\n") + setIn(after)
		}
	}
	return setIn(strings.TrimSpace(text))
}

func setIn(s string) string { return strings.ReplaceAll(plainLines(s), "\n", "\n    ") }

// hints collects the ways out of the chain, the outermost last: it knows most
// about what the user wanted.
func hints(err error) []string {
	type hinter interface{ Hint() string }
	var out []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		var h string
		switch v := e.(type) {
		case *Error:
			h = v.Hint
		case hinter:
			h = v.Hint()
		}
		if h != "" {
			out = append([]string{h}, out...)
		}
	}
	return out
}
