// Package arch guards the architecture: who may import whom, one owner for each
// heavy dependency, and house rules that a reader relies on. Each rule carries
// its reason, which is what a failing test prints.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/causeway-net/causeway"

// file is a source file of the tree, by its path from the top with slashes.
type file struct {
	path      string
	content   []byte
	generated bool
	// Of Go files only:
	imports []string
	doc     string
	parsed  *ast.File
}

func (f *file) dir() string  { return path.Dir(f.path) }
func (f *file) isGo() bool   { return strings.HasSuffix(f.path, ".go") }
func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }
func (f *file) isC() bool    { return strings.HasSuffix(f.path, ".c") || strings.HasSuffix(f.path, ".h") }

var generatedLine = regexp.MustCompile(`(?m)^(//|/\*) Code generated .* DO NOT EDIT\.( \*/)?$`)

// load reads every text file under top that could be the project's.
func load(top string) ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", ".cache"}, rel) {
				return filepath.SkipDir
			}
			return nil
		}
		// In a work tree beside the clone, .git is a file.
		if !d.Type().IsRegular() || strings.HasSuffix(rel, ".o") || rel == ".git" {
			return nil
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := newFile(filepath.ToSlash(rel), content)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func newFile(path string, content []byte) (*file, error) {
	f := &file{path: path, content: content, generated: generatedLine.Match(content)}
	if !f.isGo() {
		return f, nil
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), path, content, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	f.parsed = parsed
	f.doc = parsed.Doc.Text()
	for _, i := range parsed.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("import %s of %s: %w", i.Path.Value, path, err)
		}
		f.imports = append(f.imports, name)
	}
	return f, nil
}

// packageDir turns an import path of this module into its directory; ok is
// false for others.
func packageDir(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// within tells whether the package directory or import path is at or below root.
func within(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, root+"/")
}
