//go:build tools

// Package tools gives the Go tool a module to build in; the linter is named on the command line.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
