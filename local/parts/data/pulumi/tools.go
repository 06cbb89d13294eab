//go:build tools

// Package tools gives the Go tool a module to build in; the engine is named on the command line.
package tools
