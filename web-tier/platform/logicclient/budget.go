package logicclient

import "time"

// How long the web tier waits for the logic tier. A visitor waits about three seconds
// before trying again; a form can take a little longer, because sending it again is worse.
const (
	// PageBudget bounds all calls of a page together.
	PageBudget = 3 * time.Second
	// FormBudget bounds all calls of a form together; hashing a password
	// waits for a core.
	FormBudget = 8 * time.Second
)

// Flow-control windows: how much of a file the logic tier can send ahead of its reader.
// gRPC would let a stream's window grow to 16 MB, and every slow browser would buffer as much.
const (
	// streamWindow is the window of one file. gRPC still delivers larger chunks once the
	// reader waits for them. No smaller window exists.
	streamWindow = 64 << 10
	// bytesWindow is the window of all files together: enough for a fast network.
	bytesWindow = 16 << 20
)
