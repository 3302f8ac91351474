package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// chunkStore stores the bytes of files. The store holds everything else about a file. The
// interface is small so that an object store can replace the database.
type chunkStore interface {
	// write stores data at offset when tx commits. data must not cross a chunk boundary. An
	// implementation without transactions stores it at once: bytes beyond a file's committed
	// size are never read, and the next append overwrites them.
	write(ctx context.Context, tx *postgres.Tx, file, offset int64, data []byte) error
	// read returns at most limit bytes from offset to the end of the chunk, and none if the
	// file's bytes have been deleted.
	read(ctx context.Context, file, offset int64, limit int) ([]byte, error)
	// delete deletes a batch of a file's chunks. It reports whether none are left.
	delete(ctx context.Context, tx *postgres.Tx, file int64) (bool, error)
}

// chunkRemainder returns the number of bytes from offset to the end of its chunk.
func chunkRemainder(offset int64) int { return chunkSize - int(offset%chunkSize) }
