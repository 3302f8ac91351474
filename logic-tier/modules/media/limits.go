package media

import "time"

// chunkSize is the size of every chunk of a file but the last, in bytes: large enough that
// a commit per chunk costs little beside writing the bytes, small enough that each reader
// and writer can buffer one in memory. The schema has the same number.
const chunkSize = 256 << 10

// operatorAccount is the account number of the operator, who has no account.
const operatorAccount = 0

// Limits bounds what is stored. The per-account limits do not apply to the operator.
type Limits struct {
	// TotalBytes is the size of all files together above which uploads are rejected; 0
	// means defaultTotalBytes.
	TotalBytes int64
	// AccountBytes is the storage quota of an account for the files it uploads, and again
	// for the files generated for it; 0 means 20 GiB.
	AccountBytes int64
	// IncompleteUploads is the maximum number of incomplete uploads per account; 0 means 20.
	IncompleteUploads int
	// Uploads is the maximum number of uploads per account that have not become
	// recordings, complete or not; 0 means 500.
	Uploads int
	// UploadBytes is the maximum size of one upload, also for the operator; 0 means 8 GiB.
	UploadBytes int64
}

// defaultTotalBytes leaves room for all other data on a disk of 100 GB. The logic tier
// cannot see the data tier's disk, and a full disk stops every write of the site.
const defaultTotalBytes = 50 << 30

func (l Limits) withDefaults() Limits {
	if l.TotalBytes == 0 {
		l.TotalBytes = defaultTotalBytes
	}
	if l.AccountBytes == 0 {
		l.AccountBytes = 20 << 30
	}
	if l.IncompleteUploads == 0 {
		l.IncompleteUploads = 20
	}
	if l.Uploads == 0 {
		l.Uploads = 500
	}
	if l.UploadBytes == 0 {
		l.UploadBytes = 8 << 30
	}
	return l
}

const (
	// uploadLifetime is how long an unused upload is kept after the last append. Users
	// commonly leave a half-sent file for days.
	uploadLifetime = 7 * 24 * time.Hour
	// commitTimeout bounds the commit of a chunk. The commit does not end with the call
	// that sent the chunk: data received is stored even if the client disconnects.
	commitTimeout = 10 * time.Second
	// readTimeout bounds the read of a chunk.
	readTimeout = 10 * time.Second
)
