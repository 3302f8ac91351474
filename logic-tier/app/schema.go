package app

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
)

// schemas are the versions of the modules' schemas that this program was written for. A
// newer one serves too: what a version adds, the program before it does not know, and
// what that needs is removed a version later.
var schemas = map[string]int64{
	"accounts": 3, "talks": 7, "following": 1, "notifications": 4, "media": 1, "transfers": 2, "operations": 2, "queue": 5,
}

// migrated says which schema is older than this program needs; nil when none is.
func migrated(ctx context.Context, opened map[string]*postgres.DB) error {
	for module, db := range opened {
		is, err := db.SchemaVersion(ctx)
		if err != nil {
			return fmt.Errorf("version of the schema %s: %w", module, err)
		}
		if is < schemas[module] {
			return fmt.Errorf("the schema %s has version %d, and this logic tier needs %d: migrate the data tier first (data-tier migrate, or start its newer program)", module, is, schemas[module])
		}
	}
	return nil
}
