package uploads

import (
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

const (
	// busyRetry is when to come back after that: uploads take a while.
	busyRetry = 10 * time.Second

	// maxSize is the contract's (CreateUploadRequest.size), 8 GiB.
	maxSize = 8 << 30

	// pieceSize is how much is passed on at a time: large enough for the
	// overhead of a message not to count, small enough for many uploads.
	pieceSize = 256 << 10

	// patience is how long a client may take to send minProgress bytes: 270 bytes a
	// second, which any connection has. After that what has arrived is kept, and the
	// client continues from there when it is back.
	patience    = 30 * time.Second
	minProgress = 8 << 10
	// answeredPatience is how long it may still send once its request is answered.
	answeredPatience = time.Second
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

// slots bounds the uploads whose bytes are coming in; each holds a piece and what is on
// its way in gRPC, about 400 KB. A browser sends one file per tab. A school or a company
// behind one address leaves most slots to everyone else.
var slots = logicclient.SlotBounds{Total: 256, PerSession: 8, PerAddress: 64}
