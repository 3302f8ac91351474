package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// storage keeps the bytes of files; what files there are and how long they are
// is kept elsewhere. It is as small as this so that an object store can stand in
// for the database.
type storage interface {
	// write keeps bytes of a file at offset, all of them in one chunk, when tx
	// commits. A store that knows no transactions keeps them at once: what is
	// beyond a file's committed end is nobody's, and is written over.
	write(ctx context.Context, tx *postgres.Tx, file, offset int64, bytes []byte) error
	// read returns the bytes from offset to the end of their chunk, at most so
	// many; none when they are not there any more.
	read(ctx context.Context, file, offset int64, most int) ([]byte, error)
	// remove removes some of a file's bytes; true when none are left.
	remove(ctx context.Context, tx *postgres.Tx, file int64) (bool, error)
}

// inChunk returns how many bytes there are from offset to the end of its chunk.
func inChunk(offset int64) int { return chunkSize - int(offset%chunkSize) }
