// Package app assembles the modules, the queue and the server into the logic tier's process.
//
// Start-up reads from top to bottom: Run parses the command line (command.go), run connects
// and starts everything (process.go), and assemble creates the modules (app.go).
package app
