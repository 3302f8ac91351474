package app

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
)

// schemas are the minimum schema versions of the modules. Newer versions work too: a
// migration only adds, and what the previous program needs is removed one version later.
var schemas = map[string]int64{
	"accounts": 3, "talks": 7, "following": 1, "notifications": 4, "media": 1, "transfers": 2, "operations": 2, "queue": 5,
}

// checkSchemas returns which schema is older than this program needs, or nil. err reports that
// a version could not be read.
func checkSchemas(ctx context.Context, opened map[string]*postgres.DB) (outdated, err error) {
	for module, db := range opened {
		version, err := db.SchemaVersion(ctx)
		if err != nil {
			return nil, fmt.Errorf("read version of schema %s: %w", module, err)
		}
		if version < schemas[module] {
			return fmt.Errorf("the schema %s has version %d, and this logic tier needs %d: migrate the data tier first (run data-tier migrate, or start the newer data tier)", module, version, schemas[module]), nil
		}
	}
	return nil, nil
}
