package main

// newestVersions are the schema versions that this program knows: by module, the number of the
// last migration in data-tier/schema. A test compares the two, since this program does not
// embed the migrations.
var newestVersions = map[string]int64{
	"accounts": 3, "talks": 7, "following": 1, "notifications": 4, "media": 1, "transfers": 2, "operations": 2, "queue": 5,
}
