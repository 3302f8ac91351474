package uploads

import (
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

const (
	// busyRetryAfter is the Retry-After when no slot is free. Uploads hold their slots for long.
	busyRetryAfter = 10 * time.Second

	// maxSize is the contract's limit (CreateUploadRequest.size), 8 GiB.
	maxSize = 8 << 30

	// chunkSize is the size of the chunks sent to the logic tier: large enough to make the
	// overhead of a message negligible, small enough to buffer many uploads.
	chunkSize = 256 << 10

	// readTimeout is how long a client may take to send minProgress bytes: 270 bytes per
	// second, slower than any usable connection. A slower client is disconnected; it can
	// resume from the bytes that have arrived.
	readTimeout = 30 * time.Second
	minProgress = 8 << 10
	// respondedReadTimeout is how long a client may keep sending after the response.
	respondedReadTimeout = time.Second
	// writeTimeout limits how long writing the response may take.
	writeTimeout = 30 * time.Second
	// stallTimeout limits how long the logic tier may accept no bytes.
	stallTimeout = 30 * time.Second
	// finishTimeout limits how long the logic tier may take to store the last chunk and verify
	// the checksum.
	finishTimeout = time.Minute

	// maxMetadata limits the length of Upload-Metadata, in bytes. The server limits all headers
	// together to about the same size.
	maxMetadata = 8 << 10
)

// slotLimits limits the uploads in progress. Each holds a chunk and the data in flight in gRPC,
// about 400 KB. A browser sends one file per tab. The limit per address keeps a school or company
// behind one address from taking most slots.
var slotLimits = logicclient.SlotBounds{Total: 256, PerSession: 8, PerAddress: 64}
