package media

import "time"

// chunkSize is how many bytes of a file are kept together: large enough that a
// commit for each costs little beside its bytes, small enough that a reader and a
// writer hold one of them in memory. The schema knows it too.
const chunkSize = 256 << 10

// operator is the account number of who has none: the operator.
const operator = 0

// Limits bounds what is kept. What an account may keep does not bound the operator.
type Limits struct {
	// Total is how many bytes all files together may have for uploads to be taken;
	// 0 means defaultTotal.
	Total int64
	// Stored is how many bytes of what it sent an account may keep, and as many
	// again of what was made for it; 0 means 20 GiB.
	Stored int64
	// Unfinished is how many of an account's uploads may not be whole; 0 means 20.
	Unfinished int
	// Uploads is how many uploads it may have altogether, whole and not used
	// included; 0 means 500.
	Uploads int
	// Upload is how many bytes one may have, the operator's too; 0 means 8 GiB.
	Upload int64
}

// defaultTotal leaves room for everything else on a disk of 100 GB, since the data
// tier's disk cannot be seen from here; a full disk stops every write of the site.
const defaultTotal = 50 << 30

func (l Limits) withDefaults() Limits {
	if l.Total == 0 {
		l.Total = defaultTotal
	}
	if l.Stored == 0 {
		l.Stored = 20 << 30
	}
	if l.Unfinished == 0 {
		l.Unfinished = 20
	}
	if l.Uploads == 0 {
		l.Uploads = 500
	}
	if l.Upload == 0 {
		l.Upload = 8 << 30
	}
	return l
}

const (
	// uploadLife is how long an upload is kept after it was last appended to,
	// unless it is used: a week away from a half-sent file is common.
	uploadLife = 7 * 24 * time.Hour
	// commitTimeout bounds the commit of a chunk. It outlives the call that sent
	// it: what has arrived stays, though its sender is gone.
	commitTimeout = 10 * time.Second
	// readTimeout bounds the reading of a piece.
	readTimeout = 10 * time.Second
)
