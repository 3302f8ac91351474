package uploads

import "time"

const (
	// maxUnderWay bounds the uploads whose bytes are coming in; each holds a
	// piece and what is on its way in gRPC, about 400 KB.
	maxUnderWay = 256
	// busyRetry is when to come back after that: uploads take a while.
	busyRetry = 10 * time.Second

	// maxSize is the contract's (CreateUploadRequest.size), 8 GiB.
	maxSize = 8 << 30

	// pieceSize is how much is passed on at a time: large enough for the
	// overhead of a message not to count, small enough for many uploads.
	pieceSize = 256 << 10

	// patience is how long a client may send nothing. After that what has arrived
	// is kept, and the client goes on from there when it is back.
	patience = 30 * time.Second
	// answerTimeout is how long the answer may take to be written.
	answerTimeout = 30 * time.Second
	// stallTimeout bounds how long the logic tier may take nothing.
	stallTimeout = 30 * time.Second
	// finishTimeout bounds how long the logic tier may take to keep the last
	// piece, and to compare checksums.
	finishTimeout = time.Minute

	// maxMetadata bounds what a client says of a file; headers are bounded to
	// about as much.
	maxMetadata = 8 << 10
)
