package main

// newest is the newest version of each module's schema that this program knows of: the
// number of its last migration in data-tier/schema. A test compares the two; the tiers
// themselves are not built into this program.
var newest = map[string]int64{
	"accounts": 3, "talks": 7, "following": 1, "notifications": 4, "media": 1, "transfers": 2, "operations": 2, "queue": 5,
}
