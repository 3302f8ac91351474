package logicclient

import "time"

// How long the web tier waits. A person waits about three seconds before they
// try again; a form may take a little longer, because trying it again is worse.
const (
	// PageBudget is what all calls of a page have together.
	PageBudget = 3 * time.Second
	// FormBudget is what all calls of a form have together; hashing a password
	// waits for a core.
	FormBudget = 8 * time.Second
)

// What the logic tier may send ahead of who reads a file. gRPC would let a
// stream's window grow to 16 MB, and a slow browser would keep as much.
const (
	// streamWindow is one file's, while nothing of it is read: gRPC lets a piece through
	// when it is waited for. No smaller window exists.
	streamWindow = 64 << 10
	// bytesWindow is that of all files together: enough for a fast network.
	bytesWindow = 16 << 20
)
