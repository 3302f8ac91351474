// Package schema holds the migrations: a folder a module, applied in order.
package schema

import "embed"

// Files are the migrations, "<module>/<number>_<name>.sql".
//
//go:embed */*.sql
var Files embed.FS

// Modules are the folders in the order in which they are migrated: the queue
// first, since its migration gives the modules leave to publish.
var Modules = []string{"queue", "accounts", "talks", "following", "notifications", "media", "transfers", "operations"}
